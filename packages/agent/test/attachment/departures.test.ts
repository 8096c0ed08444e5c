/** Ports that leave: a real ovsdb-server, and a real ovs-vswitchd that is away when it is told to. */
import assert from "node:assert/strict";
import { after, afterEach, before, beforeEach, describe, it } from "node:test";
import { OvsdbClient, type Cache } from "@beyondfabric/ovsdb";
import { OvsdbServer, until } from "../../../ovsdb/test/ovsdb-server.ts";
import { Departures } from "../../src/attachment/departures.ts";
import { insertPodPort, portOf, type PodPort } from "../../src/attachment/ports.ts";
import { createLogger } from "../../src/log.ts";
import { monitoredTables, type SwitchTables } from "../../src/switch/database.ts";

const soon = 20_000;

function podPort(number: number): PodPort {
  return {
    container: `container-${number}`,
    ifname: "eth0",
    netns: "",
    namespace: "shop",
    name: `web-${number}`,
    uid: `u${number}`,
    mac: "0a:58:0a:f4:01:05",
    addresses: [`10.244.1.${number}`],
    subnet: "default",
    hostInterface: `bf${number}`,
    ofport: 100 + number,
    mtu: 1450,
    created: 0,
    held: [],
    routed: [],
    claimed: false,
  };
}

describe("ports on their way out", () => {
  let server: OvsdbServer;
  let client: OvsdbClient;
  let cache: Cache<SwitchTables>;
  let departures: Departures;
  let gone: number[];

  before(async () => {
    server = await OvsdbServer.create();
    await server.start();
    await server.vsctl("--no-wait", "init");
    await server.startSwitch();
    await server.vsctl("add-br", "br-int", "--", "set", "bridge", "br-int", "datapath_type=dummy");
  });
  after(() => server?.destroy());

  beforeEach(async () => {
    client = new OvsdbClient({ address: server.address });
    cache = client.monitor<SwitchTables>(monitoredTables);
    await client.start({ timeoutMs: soon });
    gone = [];
    departures = new Departures({
      database: client,
      cache,
      bridge: "br-int",
      logger: createLogger("silent", "node-1"),
      onGone: (port) => gone.push(port.ofport),
    });
  });
  afterEach(() => client.stop());

  /** Ports that the switch itself has, whatever the database says. */
  const switchHas = async (...ports: PodPort[]): Promise<boolean[]> => {
    const shown = await server.appctl("dpif/show");
    return ports.map(({ hostInterface }) => shown.includes(` ${hostInterface} `));
  };

  const made = async (...ports: PodPort[]): Promise<void> => {
    for (const port of ports) await client.transactAndWait(insertPodPort(cache, "br-int", port));
    assert.deepEqual(
      await switchHas(...ports),
      ports.map(() => true),
    );
  };

  it("leave the database in one transaction, and are gone when the switch says so", async () => {
    const ports = [podPort(1), podPort(2), podPort(3)];
    await made(...ports);
    const updates: number[] = [];
    cache.on("update", () => updates.push(cache.filter("Port", (row) => row.name.startsWith("bf")).length));
    await Promise.all(ports.map(({ hostInterface }) => departures.remove(hostInterface)));
    assert.deepEqual(updates, [0], "one after another");
    for (const port of ports) departures.follow(port);
    assert.equal(await departures.gone(() => true, soon), true);
    assert.deepEqual(gone, [101, 102, 103]);
    assert.equal(departures.size, 0);
    assert.deepEqual(await switchHas(...ports), [false, false, false]);
  });

  it("leave the database while the switch is away, and are gone when it is back", async () => {
    const port = podPort(4);
    await made(port);
    await server.stopSwitch();
    await departures.remove(port.hostInterface);
    departures.follow(port);
    assert.equal(cache.filter("Interface", (row) => portOf(row) !== undefined).length, 0, "an agent would restore it");
    assert.equal(await departures.gone((leaving) => leaving === port, 300), false);
    assert.equal(await departures.gone((leaving) => leaving.ofport === 1, 300), true, "another port waits for it");
    assert.deepEqual(gone, []);
    await server.startSwitch();
    assert.equal(await departures.gone((leaving) => leaving === port, soon), true);
    assert.deepEqual(gone, [104]);
  });

  it("that are not there are removed without a word", async () => {
    await Promise.all([departures.remove("bf5"), departures.remove("bf6")]);
  });

  it("stay when the database is away: whoever asked is told", async () => {
    const port = podPort(7);
    await made(port);
    await server.kill();
    await assert.rejects(departures.remove(port.hostInterface), { code: /^OVSDB_/ });
    await server.start();
    await client.whenConnected({ timeoutMs: soon });
    await departures.remove(port.hostInterface);
    await until("the port is gone", async () => !(await switchHas(port))[0]);
  });
});

/** The neighbours of tunnels, in a real switch. Destinations are of 127.0.0.0/8: what provokes the kernel stays here. */
import assert from "node:assert/strict";
import { after, afterEach, before, describe, it } from "node:test";
import * as fc from "fast-check";
import { OvsdbServer, until } from "../../../ovsdb/test/ovsdb-server.ts";
import { AgentError } from "../../src/errors.ts";
import { parseNeighbours, parseRoute, TunnelNeighbours } from "../../src/switch/tunnel-neighbours.ts";

describe("a tunnel's neighbour", () => {
  let server: OvsdbServer;
  let neighbours: TunnelNeighbours | undefined;

  before(async () => {
    server = await OvsdbServer.create();
    await server.start();
    await server.vsctl("--no-wait", "init");
    await start();
  });
  afterEach(async () => {
    neighbours?.stop();
    neighbours = undefined;
    await server.appctl("tnl/neigh/flush");
  });
  after(() => server?.destroy());

  async function start(): Promise<void> {
    await server.startSwitch();
    await server.vsctl("--may-exist", "add-br", "br0");
    await server.appctl("netdev-dummy/ip4addr", "br0", "127.0.9.1/24");
    await server.appctl("ovs/route/add", "127.0.9.0/24", "br0");
    await server.appctl("ovs/route/add", "127.0.8.0/24", "br0", "127.0.9.254");
  }

  const shown = (): Promise<string> => server.appctl("tnl/neigh/show");

  /** What the node's kernel knows is what the test says; `asked` is what it was asked for. */
  function watch(kernel: Map<string, string>) {
    const heard = { ready: [] as string[], errors: [] as unknown[], asked: new Set<string>() };
    const watched = new TunnelNeighbours({
      runDirectory: server.directory,
      kernelNeighbour: (dev, address) => {
        heard.asked.add(`${address} on ${dev}`);
        return Promise.resolve(kernel.get(address));
      },
      onReady: (destination) => heard.ready.push(destination),
      onError: (error) => heard.errors.push(error),
    });
    neighbours = watched;
    return { neighbours: watched, ...heard };
  }

  it("that the kernel knows is told to the switch, and is ready from then on", async () => {
    const { neighbours: watched, ready, errors } = watch(new Map([["127.0.9.7", "02:00:00:00:00:09"]]));
    assert.equal(watched.ready("127.0.9.7"), false);
    await until("it is ready", () => ready.length > 0);
    assert.deepEqual(ready, ["127.0.9.7"]);
    assert.match(await shown(), /127\.0\.9\.7 +02:00:00:00:00:09 +br0/);
    assert.equal(watched.ready("127.0.9.7"), true);
    assert.deepEqual(errors, []);
  });

  it("behind a gateway is the gateway", async () => {
    const { neighbours: watched, ready, asked } = watch(new Map([["127.0.9.254", "02:00:00:00:00:fe"]]));
    assert.equal(watched.ready("127.0.8.7"), false);
    await until("it is ready", () => ready.length > 0);
    assert.deepEqual(ready, ["127.0.8.7"]);
    assert.deepEqual([...asked], ["127.0.9.254 on br0"]);
    assert.match(await shown(), /127\.0\.9\.254 +02:00:00:00:00:fe +br0/);
  });

  it("that the switch learned by itself is ready without the kernel", async () => {
    const { neighbours: watched, ready, asked } = watch(new Map());
    assert.equal(watched.ready("127.0.9.8"), false);
    await until("it is looked for", () => asked.size > 0);
    assert.deepEqual(ready, []);
    await server.appctl("tnl/neigh/set", "br0", "127.0.9.8", "02:00:00:00:00:08");
    await until("it is ready", () => ready.length > 0);
    assert.equal(watched.ready("127.0.9.8"), true);
  });

  it("that nobody knows is looked for until the attempt ends, and again with the next packet", async () => {
    const kernel = new Map<string, string>();
    const { neighbours: watched, ready, errors, asked } = watch(kernel);
    assert.equal(watched.ready("127.0.9.9"), false);
    let last = Date.now();
    await until("nobody asks for it any more", () => {
      if (asked.delete("127.0.9.9 on br0")) last = Date.now();
      return Date.now() - last > 1000;
    });
    kernel.set("127.0.9.9", "02:00:00:00:00:09");
    assert.deepEqual([ready, errors], [[], []]);
    assert.equal(watched.ready("127.0.9.9"), false);
    await until("it is ready", () => ready.length > 0);
  });

  it("without a route is reported by name, and takes nobody with it", async () => {
    const { neighbours: watched, ready, errors } = watch(new Map([["127.0.9.7", "02:00:00:00:00:09"]]));
    for (const destination of ["127.9.9.9", "127.0.9.7", "127.9.9.8"]) {
      assert.equal(watched.ready(destination), false);
    }
    await until("the one with a route is ready, the others reported", () => ready.length === 1 && errors.length === 2);
    assert.deepEqual(ready, ["127.0.9.7"]);
    for (const error of errors) {
      assert.ok(error instanceof AgentError);
      assert.equal(error.code, "AGENT_SWITCH_CONTROL");
      assert.match(error.message, /ovs\/route\/lookup 127\.9\.9\.[89]: Not found/);
    }
  });

  it("is asked for anew when the switch has started anew; until then packets wait", async () => {
    const { neighbours: watched, ready, errors } = watch(new Map([["127.0.9.7", "02:00:00:00:00:09"]]));
    watched.ready("127.0.9.7");
    await until("it is ready", () => ready.length === 1);
    await server.stopSwitch();
    watched.forgetAll(["127.0.9.7"]);
    assert.equal(watched.ready("127.0.9.7"), false);
    await until("the absent switch is reported", () => errors.length > 0);
    assert.equal((errors[0] as AgentError).code, "AGENT_SWITCH_CONTROL");
    await start();
    await until("the switch knows it again", () => watched.ready("127.0.9.7"));
    assert.match(await shown(), /127\.0\.9\.7 +02:00:00:00:00:09/);
    assert.deepEqual(new Set(ready), new Set(["127.0.9.7"]));
  });

  it("in use is asked for before the switch forgets it, and one that was just seen is not", async () => {
    const { neighbours: watched, ready, asked } = watch(new Map([["127.0.9.7", "02:00:00:00:00:09"]]));
    watched.refresh(["127.0.9.7"]);
    await until("it is ready", () => ready.length === 1);
    asked.clear();
    watched.refresh(["127.0.9.7"]);
    assert.equal(watched.ready("127.0.9.7"), true);
    watched.refresh(["127.0.9.6"]);
    await until("another is looked for", () => asked.has("127.0.9.6 on br0"));
    assert.ok(!asked.has("127.0.9.7 on br0"));
  });

  it("that is looked for when the agent stops is left alone", async () => {
    const { neighbours: watched, ready, errors, asked } = watch(new Map());
    watched.ready("127.0.9.9");
    await until("it is looked for", () => asked.size > 0);
    watched.stop();
    watched.ready("127.0.9.9");
    watched.refresh(["127.0.9.9"]);
    await new Promise((resolve) => setTimeout(resolve, 200));
    asked.clear();
    await new Promise((resolve) => setTimeout(resolve, 200));
    assert.deepEqual([ready, errors, asked.size], [[], [], 0]);
  });
});

describe("what the switch says", () => {
  it("about a route without a device is an error", () => {
    assert.throws(() => parseRoute("src ::\ngateway ::\n", "127.0.9.7"), { code: "AGENT_SWITCH_CONTROL" });
  });

  it("may be any text", () => {
    fc.assert(
      fc.property(fc.string({ unit: fc.constantFrom("dev", "gateway", " ", "\n", "::", "127.0.0.1", "=") }), (text) => {
        parseNeighbours(text);
        try {
          assert.ok(parseRoute(text, "127.0.9.7").hop.length > 0);
        } catch (error) {
          assert.ok(error instanceof AgentError, String(error));
        }
      }),
    );
  });
});

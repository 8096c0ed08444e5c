import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { after, before, describe, it } from "node:test";
import { echoServer, Lab, podObject, run, sleep, until, type PodInfo } from "./lab.ts";
import { Runtime, type Belongings, type CniAnswer } from "./runtime.ts";

const figure = (text: string): void => console.log(`       ${text}`);

/** Codes of SPEC.md section 5, and this plug-in's own. */
const code = {
  incompatibleVersion: 1,
  unknownContainer: 3,
  invalidEnvironment: 4,
  decodingFailure: 6,
  invalidConfiguration: 7,
  tryAgainLater: 11,
  notAvailable: 50,
  limitedConnectivity: 51,
  interfaceExists: 101,
  noNamespace: 102,
  checkFailed: 104,
} as const;

function assertRefused(answer: CniAnswer, expected: number, about: RegExp): void {
  const text = `${answer.object.msg ?? ""}: ${answer.object.details ?? ""}`;
  assert.equal(answer.code, 1, `not refused: ${answer.stdout}`);
  assert.equal(answer.object.code, expected, text);
  assert.match(text, about);
}

interface RawEvent {
  readonly reason: string;
  readonly message: string;
  readonly type: string;
  readonly involvedObject: { readonly kind: string; readonly name: string };
}

async function eventOn(lab: Lab, kind: string, name: string, about: RegExp): Promise<RawEvent> {
  return await until(
    `an Event on ${kind} ${name} says ${String(about)}`,
    async () => {
      const { items } = JSON.parse(await lab.mustKubectl("get", "events", "-A", "-o", "json")) as { items: RawEvent[] };
      return items.find(
        ({ involvedObject, message }) =>
          involvedObject.kind === kind && involvedObject.name === name && about.test(message),
      );
    },
    60_000,
    250,
  );
}

describe("bad input is refused with a reason and leaves nothing behind", () => {
  let lab: Lab;
  let runtime: Runtime;
  let spare: Runtime;
  let near: PodInfo;
  let nothing: Belongings;

  before(async () => {
    lab = await Lab.up("bad", { nodes: 2 });
    [near] = (await lab.pods({ name: "near", node: "node-1", run: echoServer })) as [PodInfo];
    runtime = new Runtime(lab, "node-1");
    spare = new Runtime(lab, "node-2");
    nothing = await runtime.belongings();
  });
  after(async () => {
    await runtime?.removeNamespaces();
    await spare?.removeNamespaces();
    await lab?.down();
  });

  const nothingLeft = async (): Promise<void> => {
    assert.deepEqual(await runtime.belongings(), nothing, "something was left behind");
  };

  it("garbage on standard input", async () => {
    const netns = await runtime.namespace();
    const inputs: [stdin: string, expected: number][] = [
      ["", code.decodingFailure],
      ["{", code.decodingFailure],
      ["\0\u0001\u0002", code.decodingFailure],
      ["[]", code.decodingFailure],
      ['"a text"', code.decodingFailure],
      ["{".repeat(10_000), code.decodingFailure],
      [JSON.stringify({ cniVersion: "1.0.0", name: "../x", socket: lab.path("node-1", "cni.sock") }), 7],
      [JSON.stringify({ cniVersion: "1.0.0", name: "n", socket: 7 }), code.invalidConfiguration],
      [JSON.stringify({ cniVersion: {}, name: "n", socket: lab.path("node-1", "cni.sock") }), code.decodingFailure],
    ];
    for (const [stdin, expected] of inputs) {
      const answer = await runtime.call("ADD", { container: "garbage", netns, stdin });
      assertRefused(answer, expected, /./);
    }
    await nothingLeft();
  });

  it("a version that is not served", async () => {
    const netns = await runtime.namespace();
    for (const cniVersion of ["0.2.0", "9.9.9"]) {
      const answer = await runtime.call("ADD", { container: "version", netns, config: { cniVersion } });
      assertRefused(answer, code.incompatibleVersion, /1\.1\.0/);
    }
    await nothingLeft();
  });

  it("interface names and container ids that cannot be", async () => {
    const netns = await runtime.namespace();
    for (const ifname of ["sixteen-bytes-ab", "a/b", "..", "a b"]) {
      const answer = await runtime.call("ADD", { container: "named", netns, ifname });
      assertRefused(answer, code.invalidEnvironment, /CNI_IFNAME/);
    }
    assertRefused(
      await runtime.call("ADD", { container: "../etc", netns }),
      code.invalidEnvironment,
      /CNI_CONTAINERID/,
    );
    assertRefused(
      await runtime.call("ADD", { container: "podless", netns, env: { CNI_ARGS: "" } }),
      code.invalidEnvironment,
      /K8S_POD_NAME/,
    );
    assertRefused(await runtime.call("FROB", { container: "named", netns }), code.invalidEnvironment, /CNI_COMMAND/);
    await nothingLeft();
  });

  it("a namespace that is not there, is none, or holds such an interface already", async () => {
    assertRefused(await runtime.call("ADD", { container: "homeless" }), code.invalidEnvironment, /CNI_NETNS/);
    for (const netns of ["/run/netns/there-is-none", "/etc/hostname", "/"]) {
      const answer = await runtime.call("ADD", { container: "homeless", netns });
      assertRefused(answer, code.noNamespace, new RegExp(netns));
    }
    const netns = await runtime.namespace();
    const made = await runtime.inside(netns, "ip", "link", "add", "eth0", "type", "veth", "peer", "name", "other");
    assert.equal(made.code, 0, made.stderr);
    assertRefused(await runtime.call("ADD", { container: "taken", netns }), code.interfaceExists, /eth0/);
    await nothingLeft();
  });

  it("ADD repeated gives the same; DEL twice, and without a namespace, is success", async () => {
    const netns = await runtime.namespace();
    const container = { container: "twice", netns };
    const first = await runtime.call("ADD", container);
    const second = await runtime.call("ADD", container);
    assert.equal(first.code, 0, first.stdout);
    assert.deepEqual(second.object, first.object);
    assert.equal((await runtime.call("DEL", container)).code, 0);
    await nothingLeft();
    assert.equal((await runtime.call("DEL", container)).code, 0);
    await runtime.add(container);
    await runtime.removeNamespaces();
    const without = await runtime.call("DEL", { container: "twice" });
    assert.equal(without.code, 0, without.stdout);
    assert.equal((await runtime.call("DEL", { container: "never-seen" })).code, 0);
    await nothingLeft();
  });

  it("a second interface of a container on the same network is refused, and the first stays as it is", async () => {
    const first = { container: "double", netns: await runtime.namespace() };
    const held = await runtime.add(first);
    assertRefused(await runtime.call("ADD", { ...first, ifname: "net1" }), code.interfaceExists, /double.*eth0/);
    const other = { container: "other", netns: await runtime.namespace() };
    const others = await runtime.add(other);
    assert.ok(!others.some((address) => held.includes(address)), "an address in use was handed out again");
    const ping = await runtime.inside(first.netns, "ping", "-n", "-c", "1", "-W", "3", near.ipv4);
    assert.equal(ping.code, 0, ping.stdout);
    for (const each of [first, other]) assert.equal((await runtime.call("DEL", each)).code, 0);
    await nothingLeft();
  });

  it("CHECK notices what is missing: address, route, interface, port", async () => {
    const damages: [what: string, harm: (netns: string, added: CniAnswer) => Promise<unknown>, about: RegExp][] = [
      [
        "address",
        (netns) => runtime.inside(netns, "ip", "address", "flush", "dev", "eth0", "scope", "global"),
        /address .* is missing/,
      ],
      ["route", (netns) => runtime.inside(netns, "ip", "route", "delete", "default"), /default route .* is missing/],
      ["down", (netns) => runtime.inside(netns, "ip", "link", "set", "eth0", "down"), /is down/],
      ["interface", (netns) => runtime.inside(netns, "ip", "link", "delete", "eth0"), /is missing/],
      [
        "port",
        (_netns, added) => {
          const [host] = added.object["interfaces"] as { name: string }[];
          return lab.node("node-1", "ovs-vsctl", "--timeout=10", "del-port", "br-int", host!.name);
        },
        /has no port/,
      ],
    ];
    for (const [what, harm, about] of damages) {
      const container = { container: `check-${what}`, netns: await runtime.namespace() };
      const added = await runtime.call("ADD", container);
      assert.equal(added.code, 0, added.stdout);
      const given = { ...container, config: { prevResult: added.object } };
      const sound = await runtime.call("CHECK", given);
      assert.equal(sound.code, 0, sound.stdout);
      await harm(container.netns, added);
      await until(`CHECK notices (${what})`, async () => (await runtime.call("CHECK", given)).code !== 0, 10_000);
      assertRefused(await runtime.call("CHECK", given), code.checkFailed, about);
      assert.equal((await runtime.call("DEL", container)).code, 0);
    }
    assertRefused(
      await runtime.call("CHECK", {
        container: "stranger",
        netns: await runtime.namespace(),
        config: { prevResult: { cniVersion: "1.1.0" } },
      }),
      code.unknownContainer,
      /stranger/,
    );
    await nothingLeft();
  });

  it("GC takes away what the runtime does not list, and nothing when the list is missing", async () => {
    const endpoints = JSON.parse((await lab.fabricctl("node-1", "endpoints", "-o", "json")).stdout) as {
      endpoints: { container: string }[];
    };
    const keep = endpoints.endpoints.map(({ container }) => ({ containerID: container, ifname: "eth0" }));
    await runtime.add({ container: "stale", netns: await runtime.namespace() });
    const before = await runtime.belongings();
    assertRefused(await runtime.call("GC", { container: "" }), code.invalidConfiguration, /valid-attachments/);
    assert.deepEqual(await runtime.belongings(), before);
    const collected = await runtime.call("GC", { container: "", config: { "cni.dev/valid-attachments": keep } });
    assert.equal(collected.code, 0, collected.stdout);
    await nothingLeft();
    assert.equal((await lab.node("node-1", "ping", "-n", "-c", "1", "-W", "3", near.ipv4)).code, 0);
  });

  it("an agent that is away, or hangs: code 11 and a remedy within 5 s", async () => {
    const container = { container: "agentless", netns: await runtime.namespace() };
    const pid = await lab.component("node-1", "agent", "pid");
    process.kill(Number(pid), "SIGSTOP");
    try {
      const hung = await runtime.call("ADD", container);
      assertRefused(hung, code.tryAgainLater, /fabric-node does not answer.*Look at/);
      figure(`the agent hangs: told after ${hung.milliseconds} ms`);
      assert.ok(hung.milliseconds < 6000, `${hung.milliseconds} ms`);
    } finally {
      process.kill(Number(pid), "SIGCONT");
    }
    // What a runtime does after an ADD that failed.
    assert.equal((await runtime.call("DEL", container)).code, 0);
    await nothingLeft();

    await lab.component("node-1", "agent", "stop");
    try {
      for (const command of ["ADD", "DEL"]) {
        const away = await runtime.call(command, container);
        assertRefused(away, code.tryAgainLater, /fabric-node does not answer.*Look at/);
        figure(`the agent is away: ${command} told after ${away.milliseconds} ms`);
        assert.ok(away.milliseconds < 6000, `${away.milliseconds} ms`);
      }
      assertRefused(await runtime.call("STATUS", { container: "" }), code.limitedConnectivity, /does not answer/);
      const { agent: _unused, ...rest } = await runtime.belongings();
      const { agent: _unused2, ...expected } = nothing;
      assert.deepEqual(rest, expected);
    } finally {
      await lab.component("node-1", "agent", "start");
    }
    await until("the agent is ready", async () => (await lab.status("node-1")).ready);
    await nothingLeft();
  });

  for (const component of ["agent", "ovsdb", "vswitchd"] as const) {
    it(`${component} killed while twenty pods come: each is there as a whole, or DEL clears what there is`, async () => {
      const containers = await Promise.all(
        Array.from({ length: 20 }, async (_, index) => ({
          container: `${component}-burst-${index}`,
          netns: await runtime.namespace(),
        })),
      );
      // By the process itself: the lab's own command takes as long as all of the pods.
      const pid = Number(await lab.component("node-1", component, "pid"));
      let answered = 0;
      const adding = containers.map(async (each) => {
        const answer = await runtime.call("ADD", each);
        answered++;
        return answer;
      });
      await until("some are there", () => Promise.resolve(answered >= 2), 30_000, 1);
      const killed = answered;
      process.kill(pid, "SIGKILL");
      const answers = await Promise.all(adding);
      await until("the agent is ready", async () => (await lab.status("node-1")).ready, 60_000);
      const failed = answers.filter((answer) => answer.code !== 0);
      figure(`killed after ${killed} of 20 had their answer; ${failed.length} were refused`);
      for (const answer of failed) assert.ok((answer.object.code ?? 0) > 0, answer.stdout);
      const given = answers.flatMap(({ object }) => (object.ips ?? []).map(({ address }) => address));
      assert.equal(new Set(given).size, given.length, "an address was given twice");
      for (const [index, answer] of answers.entries()) {
        if (answer.code !== 0) continue;
        const check = await runtime.call("CHECK", { ...containers[index]!, config: { prevResult: answer.object } });
        assert.equal(check.code, 0, check.stdout);
      }
      const deleted = await Promise.all(containers.map((each) => runtime.call("DEL", each)));
      assert.deepEqual(
        deleted.filter((answer) => answer.code !== 0).map(({ stdout }) => stdout),
        [],
      );
      await runtime.removeNamespaces();
      await nothingLeft();
    });
  }

  it("a Subnet that overlaps another, or a Network whose VNI is taken: an Event, and the older works on", async () => {
    const kind = (name: string, spec: object, type: string): object => ({
      apiVersion: "beyondfabric.io/v1alpha1",
      kind: type,
      metadata: { name },
      spec,
    });
    await lab.apply(
      kind("late", { network: "overlay", cidrs: ["10.244.128.0/17"] }, "Subnet"),
      kind("twin", { type: "Overlay", encapsulation: "VXLAN", vni: 1 }, "Network"),
      kind("orphan", { network: "nowhere", cidrs: ["10.99.0.0/16"] }, "Subnet"),
    );
    const overlap = await eventOn(lab, "Subnet", "late", /overlaps/);
    assert.equal(overlap.type, "Warning");
    assert.match(overlap.message, /10\.244\.0\.0\/16.*Subnet default.*choose/);
    assert.match((await eventOn(lab, "Network", "twin", /vni/)).message, /overlay.*; /);
    assert.match((await eventOn(lab, "Subnet", "orphan", /nowhere/)).message, /create/);
    const [made] = await lab.pods({ name: "after-overlap", node: "node-2", run: echoServer });
    assert.match(made!.ipv4, /^10\.244\./);
    const ping = await lab.exec("near", "ping", "-n", "-c", "1", "-W", "3", made!.ipv4);
    assert.equal(ping.code, 0, ping.stdout);
    await lab.mustKubectl("delete", "subnet", "late", "orphan");
    await lab.mustKubectl("delete", "network", "twin");
    await lab.deletePods("after-overlap");
    await nothingLeft();
  });

  it("objects that no node could use are refused by the API server, with the field", async () => {
    const wrong: [object, RegExp][] = [
      [{ network: "overlay", cidrs: ["10.99.0.0"] }, /spec\.cidrs/],
      [{ network: "overlay", cidrs: [] }, /spec\.cidrs/],
      [{ network: "overlay", cidrs: ["10.99.0.0/16"], vlan: 5000 }, /spec\.vlan/],
      // kubectl itself may know the schema, and then says it in its own words.
      [{ cidrs: ["10.99.0.0/16"] }, /spec\.network|missing required field "network"/],
    ];
    for (const [spec, field] of wrong) {
      const object = { apiVersion: "beyondfabric.io/v1alpha1", kind: "Subnet", metadata: { name: "wrong" }, spec };
      await assert.rejects(lab.apply(object), field);
    }
  });

  it("Open vSwitch that is absent when the agent starts: said so, ready when it comes, nothing forgotten", async () => {
    await lab.pods({ name: "kept", node: "node-2", run: echoServer });
    await until("only one pod is there", async () => (await lab.status("node-2")).pods === 1);
    const before = await spare.belongings();
    const leaving = { container: "leaving", netns: await spare.namespace() };
    await spare.add(leaving);
    for (const component of ["agent", "vswitchd", "ovsdb"]) await lab.component("node-2", component, "stop");
    await lab.component("node-2", "agent", "start");
    const told = /Open vSwitch.*(ovsdb-server|does not answer)/;
    try {
      await until("the agent answers", async () => (await lab.status("node-2")).notReady.length > 0);
      assert.match((await lab.status("node-2")).notReady.join("; "), told);
      assertRefused(await spare.call("STATUS", { container: "" }), code.notAvailable, told);
      const coming = { container: "coming", netns: await spare.namespace() };
      assertRefused(await spare.call("ADD", coming), code.tryAgainLater, told);
      // Success here would leave the port to be found again when Open vSwitch is back.
      assertRefused(await spare.call("DEL", leaving), code.tryAgainLater, told);
    } finally {
      for (const component of ["ovsdb", "vswitchd"]) await lab.component("node-2", component, "start");
    }
    const begun = performance.now();
    await until("the agent is ready", async () => (await lab.status("node-2")).ready, 60_000);
    figure(`ready ${Math.round(performance.now() - begun)} ms after Open vSwitch came`);
    assert.equal((await spare.call("STATUS", { container: "" })).code, 0);
    assert.equal((await spare.call("DEL", leaving)).code, 0);
    await until("nothing was left behind", async () => {
      assert.deepEqual(await spare.belongings(), before);
      return true;
    });
    const ping = await lab.exec("near", "ping", "-n", "-c", "1", "-W", "3", (await lab.podReady("kept")).ipv4);
    assert.equal(ping.code, 0, ping.stdout);
    await lab.deletePods("kept");
  });

  it("a bridge name that is taken: the agent says so and touches nothing", async () => {
    await until("the node is empty", async () => (await lab.status("node-2")).pods === 0);
    const vsctl = async (...args: string[]): Promise<string> => {
      const outcome = await lab.node("node-2", "ovs-vsctl", "--timeout=10", ...args);
      assert.equal(outcome.code, 0, outcome.stderr);
      return outcome.stdout;
    };
    await lab.component("node-2", "agent", "stop");
    await vsctl("del-br", "br-int");
    await vsctl("add-br", "br-int", "--", "set", "bridge", "br-int", "datapath_type=netdev");
    await vsctl("add-port", "br-int", "foreign0", "--", "set", "interface", "foreign0", "type=internal");
    const look = async (): Promise<string> =>
      (await vsctl(
        "--columns=name,fail_mode,external_ids,other_config,protocols,ports,flow_tables",
        "list",
        "bridge",
        "br-int",
      )) +
      (await vsctl("list-ports", "br-int")) +
      (await lab.flows("node-2")).join("\n");
    const foreign = await look();
    await lab.component("node-2", "agent", "start");
    const told = /bridge br-int exists, carries foreign0.*ovs\.bridge.*del-br/;
    const reasons = await until("the agent says why it is not ready", async () => {
      const { notReady } = await lab.status("node-2");
      return notReady.some((reason) => told.test(reason)) ? notReady : undefined;
    });
    figure(reasons[0]!);
    const container = { container: "intruder", netns: await spare.namespace() };
    assertRefused(await spare.call("STATUS", { container: "" }), code.notAvailable, told);
    assertRefused(await spare.call("ADD", container), code.tryAgainLater, told);
    await sleep(7000);
    assert.equal(await look(), foreign, "the foreign bridge was touched");
    const links = await lab.node("node-2", "ip", "-json", "link", "show", "type", "veth");
    assert.doesNotMatch(links.stdout, /"bf[0-9a-f]{12}"/);
    await vsctl("del-br", "br-int");
    await until("the agent is ready once the bridge is free", async () => (await lab.status("node-2")).ready, 60_000);
    const [made] = await lab.pods({ name: "after-bridge", node: "node-2", run: echoServer });
    const ping = await lab.exec("near", "ping", "-n", "-c", "1", "-W", "3", made!.ipv4);
    assert.equal(ping.code, 0, ping.stdout);
    await lab.deletePods("after-bridge");
  });

  it("mistakes in the configuration: every one with file, line and remedy, and nothing is begun", async () => {
    const directory = mkdtempSync(join(tmpdir(), "fabric-config-"));
    const program = resolve(import.meta.dirname, "../../bin/fabric-node");
    try {
      const file = join(directory, "wrong.yaml");
      writeFileSync(
        file,
        [
          "nodeName: Node_1",
          "ovs:",
          "  database: /no/scheme",
          "  brigde: br-int",
          "limits:",
          "  entries: many",
          "api:",
          "  healthAddress: nowhere",
        ].join("\n"),
      );
      const begun = performance.now();
      const wrong = await run(program, ["--config", file], 20_000);
      figure(`refused after ${Math.round(performance.now() - begun)} ms`);
      assert.equal(wrong.code, 1);
      for (const expected of [
        /wrong\.yaml:1: nodeName: .*; /,
        /wrong\.yaml:3: ovs\.database: .*; /,
        /wrong\.yaml:4: ovs\.brigde: .*did you mean ovs\.bridge\?/,
        /wrong\.yaml:6: limits\.entries: .*; /,
        /wrong\.yaml:8: api\.healthAddress: .*; /,
      ]) {
        assert.match(wrong.stderr, expected);
      }
      writeFileSync(file, "nodeName: node-1\n  ovs: [\n");
      const broken = await run(program, ["--config", file], 20_000);
      assert.equal(broken.code, 1);
      assert.match(broken.stderr, /wrong\.yaml:2: .*not valid YAML/);
      const absent = await run(program, ["--config", join(directory, "none.yaml")], 20_000);
      assert.equal(absent.code, 1);
      assert.match(absent.stderr, /none\.yaml:1: cannot be read/);
    } finally {
      rmSync(directory, { recursive: true, force: true });
    }
    await nothingLeft();
  });
});

describe("addresses that run out", () => {
  let lab: Lab;

  before(async () => {
    lab = await Lab.up("tiny", {
      nodes: 1,
      config: JSON.stringify({
        hosts: 0,
        manifests: [
          {
            apiVersion: "beyondfabric.io/v1alpha1",
            kind: "Network",
            metadata: { name: "overlay" },
            spec: { type: "Overlay" },
          },
          {
            apiVersion: "beyondfabric.io/v1alpha1",
            kind: "Subnet",
            metadata: { name: "narrow" },
            spec: { network: "overlay", cidrs: ["10.244.0.0/29"], default: true, blockLength: { ipv4: 29 } },
          },
        ],
      }),
    });
  });
  after(() => lab?.down());

  it("the pod waits with an Event that names subnet and remedy, and comes up when another has gone", async () => {
    const runtime = new Runtime(lab, "node-1");
    let count = 0;
    for (;;) {
      const name = `pod-${count}`;
      await lab.apply(podObject({ name, node: "node-1", run: echoServer }));
      if ((await lab.podReady(name, "default", 6_000).catch(() => undefined)) === undefined) break;
      count++;
      assert.ok(count < 8, "eight addresses do not run out");
    }
    figure(`${count} pods fit into a /29 beside the node, its gateway and its edges`);
    assert.equal(count, 4);
    const event = await eventOn(lab, "Pod", `pod-${count}`, /Subnet narrow/);
    figure(event.message);
    assert.match(event.message, /10\.244\.0\.0\/29.*(add a Subnet|another)/);
    const full = await runtime.belongings();
    assert.equal(full.agent!.endpoints, count);
    assert.equal(full.agent!.used["10.244.0.0/29"], count + 1);
    await sleep(5000);
    assert.deepEqual(await runtime.belongings(), full, "attempts that failed left something behind");

    const begun = performance.now();
    await lab.deletePods("pod-0");
    const heir = await lab.podReady(`pod-${count}`, "default", 60_000);
    figure(
      `${heir.ipv4} went to the pod that waited ${Math.round(performance.now() - begun)} ms after another was deleted`,
    );
    assert.deepEqual((await runtime.belongings()).agent, full.agent);
  });
});

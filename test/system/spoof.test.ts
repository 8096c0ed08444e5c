/**
 * Pods with raw sockets that forge every kind of frame, in an overlay and on a physical network: nothing arrives anywhere,
 * each frame is counted for its pod by what was false about it, and what the pod says honestly goes on.
 */
import assert from "node:assert/strict";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import { buildGratuitousArp, buildUnsolicitedAdvertisement } from "@beyondfabric/packet";
import { linkLocal, routerMac } from "@beyondfabric/datapath";
import { forgedFrames, type ForgedFrame, type Scene } from "./forgeries.ts";
import { echoServer, Lab, podObject, sleep, until, type PodInfo } from "./lab.ts";
import { captured, type Run } from "./traffic.ts";
import { machines, vlanSubnet, wireConfig, wireNetwork } from "./wire.ts";

const config = wireConfig({
  hosts: 1,
  vlans: [30],
  agent: { addresses: { reclaimSeconds: 3 } },
  overlay: { excluded: ["10.244.255.248/29"], allowedAddresses: ["10.244.255.248/29", "192.0.2.10"] },
  manifests: [wireNetwork, vlanSubnet(30, { allowedAddresses: ["10.30.0.248/29", "fd00:30::f8/125"] })],
});

/** A machine on VLAN 30. */
const machine = machines.vlan30;

describe("pods that forge what they send", () => {
  let lab: Lab;
  const pods = new Map<string, PodInfo>();
  const macs = new Map<string, string>();
  const pod = (name: string): PodInfo => pods.get(name) ?? assert.fail(`no pod ${name}`);
  const mac = (name: string): string => macs.get(name) ?? assert.fail(`no MAC of ${name}`);
  const inPod =
    (name: string): Run =>
    (...command) =>
      lab.exec(name, ...command);
  const onMachine: Run = (...command) => lab.host(machine.name, ...command);
  const macOf = async (run: Run): Promise<string> => (await run("cat", "/sys/class/net/eth0/address")).stdout.trim();

  before(async () => {
    lab = await Lab.up("spoof", { nodes: 2, config });
    const vlan30 = { annotations: { "beyondfabric.io/subnet": "vlan30" }, run: echoServer };
    const made = await lab.pods(
      { name: "rogue", node: "node-1", run: echoServer },
      { name: "victim", node: "node-1", run: echoServer },
      { name: "far", node: "node-2", run: echoServer },
      { name: "pirate", node: "node-1", ...vlan30 },
      { name: "till", node: "node-1", ...vlan30 },
      { name: "away", node: "node-2", ...vlan30 },
    );
    for (const each of made) {
      pods.set(each.name, each);
      macs.set(each.name, await macOf(inPod(each.name)));
    }
    macs.set(machine.name, await macOf(onMachine));
  });
  after(() => lab?.down());

  /** What passes an interface in one direction meanwhile, one line a frame. */
  const framesAt = async (
    run: Run,
    name: string,
    direction: "in" | "out",
    during: () => Promise<unknown>,
  ): Promise<string> =>
    (await captured(run, `/tmp/${lab.name}-${name}-${direction}`, `-Q ${direction} -i eth0`, during)).join("\n");

  /** Dropped frames of a pod by reason, as Prometheus reads them. */
  const counted = async (name: string, node = "node-1"): Promise<Record<string, number>> => {
    const { stdout } = await lab.node(node, "curl", "-s", "http://127.0.0.1:9474/metrics");
    const lines = stdout.matchAll(
      new RegExp(`^fabric_pod_spoofed_packets_total\\{pod="default/${name}",reason="(\\w+)"\\} (\\d+)`, "gm"),
    );
    return Object.fromEntries(Array.from(lines, ([, reason = "", count]) => [reason, Number(count)]));
  };

  const tally = (frames: readonly ForgedFrame[]): Record<string, number> => {
    const counts: Record<string, number> = {};
    for (const { reason } of frames) counts[reason] = (counts[reason] ?? 0) + 1;
    return counts;
  };

  const send = async (name: string, frames: readonly ForgedFrame[]): Promise<void> => {
    const program = join(import.meta.dirname, "raw-frames.ts");
    const hex = frames.map(({ frame }) => frame.toString("hex"));
    const sent = await lab.exec(name, process.execPath, program, "eth0", ...hex);
    assert.equal(sent.code, 0, sent.stderr);
  };

  const answers = async (run: Run, ...addresses: readonly string[]): Promise<void> => {
    for (const address of addresses) {
      const { code, stdout } = await run("ping", "-n", "-c", "1", "-W", "5", address);
      assert.equal(code, 0, stdout);
    }
  };

  /** Sends all of it; fails when a frame did not leave the pod, arrived with anybody, or is not counted as it should be. */
  const forge = async (
    from: string,
    frames: readonly ForgedFrame[],
    listeners: readonly (readonly [name: string, run: Run])[],
    honest: () => Promise<void>,
  ): Promise<void> => {
    const before = await counted(from);
    const heard = new Map<string, string>();
    let left = "";
    const listen = async ([next, ...others]: typeof listeners): Promise<void> => {
      if (next === undefined) {
        left = await framesAt(inPod(from), from, "out", () => send(from, frames));
        await honest();
        return;
      }
      const [name, run] = next;
      heard.set(name, await framesAt(run, name, "in", () => listen(others)));
    };
    await listen(listeners);
    for (const { kind, seen } of frames) {
      assert.match(left, seen, `${kind} did not leave the pod`);
      for (const [name, text] of heard) assert.doesNotMatch(text, seen, `${kind} arrived at ${name}`);
    }
    // The honest packets at the end show that the listeners heard what there was.
    for (const [name, text] of heard) {
      assert.match(text, new RegExp(`${pod(from).ipv4} > .*ICMP echo request`), `${name} heard nothing`);
      assert.match(text, new RegExp(`${pod(from).ipv6} > .*ICMP6, echo request`), `${name} heard nothing`);
    }
    const wanted = tally(frames);
    for (const [reason, count] of Object.entries(before)) wanted[reason] = (wanted[reason] ?? 0) + count;
    await until(`each frame of ${from} is counted by its reason: ${JSON.stringify(wanted)}`, async () => {
      const now = await counted(from);
      if (isDeepEqual(now, wanted)) return true;
      throw new Error(`counted ${JSON.stringify(now)}`);
    });
    // A few looks later it is still what was sent: the pod's honest traffic is not taken for forged.
    await sleep(5000);
    assert.deepEqual(sorted(await counted(from)), sorted(wanted));
  };

  const overlayScene = (): Scene => ({
    mac: mac("rogue"),
    ipv4: pod("rogue").ipv4,
    ipv6: pod("rogue").ipv6,
    linkLocal: linkLocal(mac("rogue")),
    target: { mac: routerMac, ipv4: pod("victim").ipv4, ipv6: pod("victim").ipv6 },
    other: pod("far"),
    gateway: { ipv4: "10.244.0.1", ipv6: "fd00:244::1" },
  });

  it("are dropped in an overlay, to a pod of the same node and to one of another, and counted", async () => {
    const scene = overlayScene();
    const far = { ...scene, target: { ...scene.target, ...pod("far") }, other: pod("victim") };
    const frames = [...forgedFrames(scene, 9001), ...forgedFrames(far, 9101)];
    await forge(
      "rogue",
      frames,
      [
        ["victim", inPod("victim")],
        ["far", inPod("far")],
      ],
      () => answers(inPod("rogue"), ...["victim", "far"].map(pod).flatMap(({ ipv4, ipv6 }) => [ipv4, ipv6])),
    );
  });

  it("are dropped on a wire, towards a pod of the same node, one of another and a machine, and counted", async () => {
    const targets = [
      { mac: mac("till"), ...pod("till") },
      { mac: mac("away"), ...pod("away") },
      { ...machine, mac: mac(machine.name) },
    ];
    const frames = targets.flatMap((target, index) =>
      forgedFrames(
        {
          mac: mac("pirate"),
          ipv4: pod("pirate").ipv4,
          ipv6: pod("pirate").ipv6,
          linkLocal: linkLocal(mac("pirate")),
          target,
          other: index === 2 ? pod("till") : machine,
          gateway: { ipv4: "10.30.0.1", ipv6: "fd00:30::1" },
        },
        9201 + index * 100,
      ),
    );
    await forge(
      "pirate",
      frames,
      [
        ["till", inPod("till")],
        ["away", inPod("away")],
        [machine.name, onMachine],
      ],
      () => answers(inPod("pirate"), ...targets.flatMap(({ ipv4, ipv6 }) => [ipv4, ipv6])),
    );
  });

  it("leave their neighbours' tables as they were", async () => {
    const table = (await onMachine("ip", "neigh", "show")).stdout;
    const own = new RegExp(`^(${pod("pirate").ipv4}|${pod("pirate").ipv6}|fe80\\S+) `);
    for (const line of table.split("\n").filter((each) => each.includes(mac("pirate")))) assert.match(line, own);
    assert.doesNotMatch(table, /0a:66:66:66:66:66/);
  });

  it("ask and answer in their own name: ARP, neighbour discovery, duplicate address detection", async () => {
    const before = { rogue: await counted("rogue"), pirate: await counted("pirate") };
    const again = async (name: string): Promise<void> => {
      const { ipv6 } = pod(name);
      const has = async (): Promise<string> => (await lab.exec(name, "ip", "-6", "-o", "address", "show")).stdout;
      const line = (await has()).split("\n").find((each) => each.includes(` ${ipv6}/`)) ?? "";
      const prefix = /inet6 (\S+)/.exec(line)?.[1] ?? assert.fail(line);
      const route = (await lab.exec(name, "ip", "-6", "route", "show", "default")).stdout.trim();
      const looks = "cd /proc/sys/net/ipv6/conf/eth0 && echo 1 >accept_dad && echo 1 >dad_transmits";
      const script = `${looks} && ip -6 address del ${prefix} dev eth0 && ip -6 address add ${prefix} dev eth0`;
      assert.equal((await lab.exec(name, "sh", "-c", script)).code, 0);
      await until("the kernel has looked for duplicates", async () => {
        const text = await has();
        return text.includes(ipv6) && !text.includes("tentative");
      });
      assert.doesNotMatch(await has(), /dadfailed/);
      await lab.exec(name, "sh", "-c", `ip -6 route replace ${route}; ip neigh flush all`);
    };
    const heard = await framesAt(onMachine, machine.name, "in", async () => {
      await again("pirate");
      await answers(inPod("pirate"), machine.ipv4, machine.ipv6, pod("till").ipv4, pod("till").ipv6);
    });
    assert.match(
      heard,
      new RegExp(` :: > ff02::1:ff\\S+: ICMP6, neighbor solicitation, who has ${pod("pirate").ipv6},`),
    );
    assert.match(heard, new RegExp(`who-has ${machine.ipv4} .*tell ${pod("pirate").ipv4},`));
    await again("rogue");
    await answers(inPod("rogue"), pod("victim").ipv4, pod("victim").ipv6, pod("far").ipv4, pod("far").ipv6);
    await answers(inPod("victim"), pod("rogue").ipv4, pod("rogue").ipv6);
    await sleep(5000);
    assert.deepEqual({ rogue: await counted("rogue"), pirate: await counted("pirate") }, before);
  });

  /** A pod takes an address, or gives it up without a word. */
  const address = async (name: string, verb: "add" | "del", text: string): Promise<void> => {
    const nodad = text.includes(":") && verb === "add" ? ["nodad"] : [];
    const { code, stderr } = await lab.exec(name, "ip", "address", verb, text, "dev", "eth0", ...nodad);
    assert.equal(code, 0, stderr);
  };
  const announce = async (name: string, what: string): Promise<void> => {
    const frame = what.includes(":")
      ? buildUnsolicitedAdvertisement(mac(name), what)
      : buildGratuitousArp(mac(name), what);
    const program = join(import.meta.dirname, "raw-frames.ts");
    const sent = await lab.exec(name, process.execPath, program, "eth0", frame.toString("hex"));
    assert.equal(sent.code, 0, sent.stderr);
  };
  /** Everybody reaches the address, and reaches it with this pod: its kernel counts what it answers. */
  const reaches = async (holder: string, what: string, from: readonly Run[]): Promise<void> => {
    for (const [index, run] of from.entries()) {
      await until(
        `caller ${index} reaches ${what} with ${holder}`,
        async () => {
          const text = await framesAt(inPod(holder), holder, "in", () => run("ping", "-n", "-c", "1", "-W", "2", what));
          return new RegExp(`> ${what}: ICMP6?,? echo request`).test(text);
        },
        60_000,
      );
      await until(`caller ${index} gets answers`, async () => {
        return (await run("ping", "-n", "-c", "1", "-W", "2", what)).code === 0;
      });
    }
  };

  it("pass an allowed address on among themselves: on a wire everybody finds the one who announced it last", async () => {
    const virtual = "10.30.0.250";
    const virtual6 = "fd00:30::fa";
    const before = await counted("pirate");
    let former: string | undefined;
    for (const holder of ["pirate", "till", "away", "pirate"]) {
      if (former !== undefined) {
        await address(former, "del", `${virtual}/24`);
        await address(former, "del", `${virtual6}/64`);
      }
      await address(holder, "add", `${virtual}/24`);
      await address(holder, "add", `${virtual6}/64`);
      for (const each of [virtual, virtual6]) await announce(holder, each);
      former = holder;
      const others = ["pirate", "till", "away"].filter((name) => name !== holder).map(inPod);
      for (const each of [virtual, virtual6]) await reaches(holder, each, [onMachine, ...others]);
      const { stdout } = await onMachine("ip", "neigh", "show", virtual);
      assert.match(stdout, new RegExp(mac(holder)));
      const out = await lab.exec(holder, "ping", "-n", "-c", "1", "-W", "5", "-I", virtual, machine.ipv4);
      assert.equal(out.code, 0, out.stdout);
    }
    await sleep(3000);
    assert.deepEqual(await counted("pirate"), before, "nothing of this is a forgery");
    // The agent remembers who has it.
    await lab.component("node-1", "agent", "kill");
    await until("the agent is back", async () => (await lab.status("node-1")).ready, 60_000);
    for (const each of [virtual, virtual6]) await reaches("pirate", each, [onMachine, inPod("till")]);

    const withdrawn = { spec: { allowedAddresses: ["fd00:30::f8/125"] } };
    const patch = ["patch", "subnets.beyondfabric.io", "vlan30", "--type=merge", "-p", JSON.stringify(withdrawn)];
    await lab.mustKubectl(...patch);
    await until("the consent is gone", async () => (await onMachine("ping", "-c", "1", "-W", "1", virtual)).code !== 0);
    await onMachine("ip", "neigh", "flush", "all");
    assert.notEqual((await onMachine("ping", "-n", "-c", "1", "-W", "2", virtual)).code, 0);
    assert.notEqual((await lab.exec("pirate", "ping", "-c", "1", "-W", "1", "-I", virtual, machine.ipv4)).code, 0);
    await until("it is a forgery now", async () => ((await counted("pirate"))["ip"] ?? 0) > 0);
    await answers(inPod("pirate"), machine.ipv4);
    await reaches("pirate", virtual6, [onMachine]);
  });

  it("pass an allowed address on in an overlay, among those of one node", async () => {
    for (const virtual of ["10.244.255.250", "192.0.2.10"]) {
      await address("rogue", "add", `${virtual}/32`);
      await announce("rogue", virtual);
      await reaches("rogue", virtual, [inPod("victim")]);
      const from = ["-n", "-c", "1", "-W", "5", "-I", virtual, pod("victim").ipv4];
      assert.equal((await lab.exec("rogue", "ping", ...from)).code, 0);
      await address("rogue", "del", `${virtual}/32`);
      await address("victim", "add", `${virtual}/32`);
      await announce("victim", virtual);
      await reaches("victim", virtual, [inPod("rogue")]);
      await address("victim", "del", `${virtual}/32`);
    }
  });

  it("are shown to people, and told of when they do not stop", async () => {
    const events = async (name: string): Promise<string[]> => {
      const list = JSON.parse(await lab.mustKubectl("get", "events", "-o", "json")) as {
        items: { reason: string; message: string; involvedObject: { name: string } }[];
      };
      return list.items
        .filter(({ reason, involvedObject }) => reason === "SpoofedPackets" && involvedObject.name === name)
        .map(({ message }) => message);
    };
    const [stray] = forgedFrames({ ...overlayScene(), mac: mac("victim") }, 9901);
    await send("victim", [stray!]);
    await until("one frame is counted", async () => (await counted("victim"))["ip"] === 1);
    const scene = overlayScene();
    const frames = forgedFrames({ ...scene, mac: mac("far"), other: pod("victim") }, 9501).slice(0, 1);
    await until(
      "the Event",
      async () => {
        await send("far", frames);
        const [message] = await events("far");
        return message?.includes(`source ${pod("victim").ipv4}`) === true && message.includes("spec.allowedAddresses");
      },
      60_000,
    );
    assert.deepEqual(await events("victim"), [], "one stray frame makes no Event");
    const { stdout } = await lab.fabricctl("node-2", "endpoints", "-o", "wide");
    assert.match(stdout, /SPOOFED AS/);
    assert.match(stdout, /^default\/far .* ip \d+ /m);
    const status = await lab.status("node-2");
    assert.ok(status.spoofing.some((each) => each.pod === "default/far" && each.packets > 0));
  });

  it("inherit nothing with an address: labels of the pod that had it before open no door", async () => {
    const rule = { from: [{ podSelector: { matchLabels: { role: "friend" } } }] };
    await lab.apply({
      apiVersion: "networking.k8s.io/v1",
      kind: "NetworkPolicy",
      metadata: { name: "vault", namespace: "default" },
      spec: { podSelector: { matchLabels: { app: "vault" } }, policyTypes: ["Ingress"], ingress: [rule] },
    });
    const [vault] = await lab.pods({ name: "vault", node: "node-1", labels: { app: "vault" }, run: echoServer });
    const file = `/tmp/${lab.name}-reuse`;
    /** Knocks from its first moment on, and writes down what is answered. */
    const knocks = (name: string): string =>
      `rm -f ${file}-${name}; touch ${file}-${name}; while :; do for to in ${vault!.ipv4} [${vault!.ipv6}]; do for kind in TCP UDP; do ` +
      `echo $kind $to | timeout 1 socat -t 0.3 - $kind:$to:7000 2>/dev/null >>${file}-${name}; done; done; done`;
    const heard = async (name: string, node: string): Promise<string> =>
      (await lab.node(node, "cat", `${file}-${name}`)).stdout;
    const annotations = { "beyondfabric.io/ip": "10.244.200.5,fd00:244::200:5" };
    let last = "";
    for (const [index, [role, node]] of [
      ["friend", "node-2"],
      ["stranger", "node-1"],
      ["friend", "node-1"],
      ["stranger", "node-2"],
    ].entries()) {
      const name = `${role}-${index}`;
      if (last !== "") await lab.deletePods(last);
      await lab.apply(podObject({ name, node: node!, labels: { role: role! }, annotations, run: knocks(name) }));
      // The address rests a moment after its last pod.
      const { ipv4 } = await lab.podReady(name, "default", 120_000);
      assert.equal(ipv4, "10.244.200.5");
      if (role === "friend") {
        await until("all doors are open to a friend", async () => {
          const text = await heard(name, node!);
          return ["TCP", "UDP"].every((kind) => text.includes(`${kind} ${vault!.ipv4}`) && text.includes(`${kind} [`));
        });
      } else {
        await sleep(6000);
        assert.equal(await heard(name, node!), "", "a stranger was taken for the friend who had the address");
      }
      last = name;
    }
    for (const node of ["node-1", "node-2"]) await lab.node(node, "sh", "-c", `rm -f ${file}-*`);
  });

  it("must not take what nobody consented to: the Subnet says what is wrong", async () => {
    const nonsense = { spec: { allowedAddresses: ["10.30.0.60"] } };
    const patch = ["patch", "subnets.beyondfabric.io", "vlan30", "--type=merge", "-p", JSON.stringify(nonsense)];
    await lab.mustKubectl(...patch);
    await until("the condition names field and remedy", async () => {
      const path = 'jsonpath={.status.conditions[?(@.type=="Accepted")].message}';
      const message = await lab.mustKubectl("get", "subnets.beyondfabric.io", "vlan30", "-o", path);
      return /spec\.allowedAddresses\[0\].*spec\.excluded/.test(message);
    });
  });
});

function sorted(counts: Record<string, number>): (readonly [string, number])[] {
  return Object.entries(counts).sort(([a], [b]) => (a < b ? -1 : 1));
}

function isDeepEqual(a: Record<string, number>, b: Record<string, number>): boolean {
  return JSON.stringify(sorted(a)) === JSON.stringify(sorted(b));
}

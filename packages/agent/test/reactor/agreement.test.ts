/**
 * The property on which everything rests: whatever happens, once the queued writes are out, every entry in the switch says
 * what `decide()` says today about every packet that it takes, and the core knows exactly the entries that stand there.
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import { setImmediate, setTimeout as sleep } from "node:timers/promises";
import {
  decide,
  decodeCookie,
  flowKey,
  judgeAssociation,
  labelOf,
  sameVerdict,
  segmentOf,
  verdictFlows,
  type Question,
  type SubnetFact,
} from "@beyondfabric/datapath";
import { LabelPool } from "@beyondfabric/kube";
import { canonicalFlow, formatFlow, type Flow } from "@beyondfabric/openflow";
import { cidrContains, parseCidr, type Ip } from "@beyondfabric/packet";
import { parseNetworkPolicy } from "@beyondfabric/policy";
import * as fc from "fast-check";
import type { IdentityRecord } from "../../src/identities.ts";
import type { ReactorLimits } from "../../src/reactor/options.ts";
import { Reactor } from "../../src/reactor/reactor.ts";
import { View } from "../../src/view.ts";
import { packetIn, RecordingSwitch } from "./recording-switch.ts";

const limits: ReactorLimits = {
  entries: 12,
  idleMilliseconds: 60_000,
  heldPerPort: 8,
  holdMilliseconds: 1000,
  coalesceMilliseconds: 0,
  entriesPerSecond: 20,
};

const inside: Ip[] = [
  "10.244.1.5",
  "10.244.1.6",
  "10.244.2.5",
  "10.244.2.6",
  "10.244.3.5",
  "fd00:244::1:5",
  "fd00:244::2:5",
  "10.30.0.50",
  "10.30.0.60",
  "10.40.0.50",
];
const nodeAddresses: Ip[] = ["10.244.1.1", "10.244.2.1"];
const outside: Ip[] = ["8.8.8.8", "10.245.0.1", "10.200.0.9", "2001:db8::1"];
const own: Ip[] = ["10.30.0.11", "10.245.0.7"];
const addresses = [...inside, ...nodeAddresses, ...outside, ...own, "10.244.77.7", "10.244.77.8", "10.30.0.202"];
const nodes = ["node-1", "node-2", "node-3"];
const tunnels: Ip[] = ["10.10.0.11", "10.10.0.12", "10.10.0.13"];
const blocks = ["10.244.1.0/26", "10.244.2.0/26", "10.244.3.0/26", "fd00:244::1:0/122", "fd00:244::2:0/122"];
const subnets = ["10.244.0.0/16", "fd00:244::/64", "10.200.0.0/16"];
const wires = ["10.30.0.0/24", "10.40.0.0/24"];
const segments = [segmentOf(10, 30), segmentOf(10, 40)];

function overlaySubnet(text: string, vni = 7): SubnetFact {
  return { name: text, cidr: parseCidr(text), gateway: parseCidr(text).address, vni };
}

/** Without a segment the node is not on the wire. */
function wireSubnet(text: string, segment: number | undefined, direct: boolean): SubnetFact {
  return { ...overlaySubnet(text), wire: { direct, ...(segment === undefined ? {} : { segment }) } };
}

const pods = ["a", "b", "c", "local-100", "local-101", "local-102"];
const labels = new LabelPool();
const web = { matchLabels: { app: "web" } };
const specs = [
  {},
  { podSelector: web },
  { podSelector: web, ingress: [{ ports: [{ port: 53, protocol: "UDP" }] }] },
  { podSelector: web, ingress: [{ from: [{ podSelector: {} }], ports: [{ port: 80, endPort: 90 }] }] },
  { ingress: [{ from: [{ namespaceSelector: { matchLabels: { team: "blue" } } }] }] },
  { policyTypes: ["Egress"], egress: [{ to: [{ ipBlock: { cidr: "8.0.0.0/6", except: ["10.244.2.0/24"] } }] }] },
  { podSelector: web, policyTypes: ["Ingress", "Egress"], ingress: [{}], egress: [{ ports: [{ port: 53 }] }] },
  { ingress: [{ ports: [{ port: 80, endPort: 90, protocol: "SCTP" }] }] },
];

function identity(uid: string, namespace: string, app: string): IdentityRecord {
  const node = uid.startsWith("local") ? "node-1" : "node-2";
  return { uid, namespace, name: uid, node, labels: labels.intern({ app }), ports: [] };
}

/** The facts of the API server, apart from the view, so that a restarted agent can list them again. */
interface World {
  view: View;
  reactor: Reactor;
  readonly ovs: RecordingSwitch;
  now: number;
  lives: number;
  readonly replay: Map<string, (view: View) => void>;
}

type Step = (world: World) => void;

/** A step that a counterexample prints by its name. */
function named([name, step]: [string, Step]): Step {
  return Object.assign((world: World) => step(world), { [fc.toStringMethod]: () => name });
}

function fact(key: string, apply: ((view: View) => void) | undefined, undo: (view: View) => void): Step {
  return (world) => {
    if (apply === undefined) world.replay.delete(key);
    else world.replay.set(key, apply);
    (apply ?? undo)(world.view);
  };
}

const anAddress = fc.constantFrom(...addresses);
const aPodAddress = fc.constantFrom(...inside);
const aNode = fc.constantFrom(...nodes);

const steps = fc
  .oneof(
    {
      weight: 6,
      arbitrary: fc
        .tuple(
          fc.constantFrom("pod" as const, "host" as const, "tunnel" as const, "uplink" as const),
          anAddress,
          anAddress,
          fc.constantFrom(...tunnels),
          fc.constantFrom(...segments),
        )
        .map(([from, source, destination, tunnelSource, segment]): [string, Step] => [
          `packet ${from} ${source} ${destination} ${tunnelSource} ${segment}`,
          ({ reactor }) => {
            if (source.includes(":") !== destination.includes(":")) return;
            const question: Question = {
              from,
              source,
              destination,
              ...(from === "tunnel" ? { tunnelSource } : {}),
              ...(from === "uplink" ? { segment } : {}),
            };
            reactor.onPacketIn(packetIn(question));
          },
        ]),
    },
    {
      weight: 3,
      arbitrary: fc
        .tuple(fc.constantFrom("a", "b", "c"), aPodAddress, aNode, fc.boolean(), fc.nat(3))
        .map(([uid, address, node, there, created]): [string, Step] => [
          `pod ${uid} ${address} ${node} ${there}`,
          fact(
            `pod ${uid}`,
            there
              ? (view) => view.setPod({ namespace: "shop", name: uid, uid, node, addresses: [address], created })
              : undefined,
            (view) => view.removePod(uid),
          ),
        ]),
    },
    {
      weight: 3,
      arbitrary: fc
        .tuple(fc.constantFrom(100, 101, 102), fc.subarray(inside, { maxLength: 2 }), fc.boolean(), fc.boolean())
        .map(([ofport, held, there, more]): [string, Step] => [
          `port ${ofport} ${held.join()} ${there} ${more}`,
          fact(
            `port ${ofport}`,
            there
              ? (view) =>
                  view.setLocalPort({
                    ofport,
                    mac: "0a:58:00:00:00:01",
                    addresses: more ? [...held, "10.244.3.9", "192.0.2.9"] : held,
                    pod: `shop/local-${ofport}`,
                    uid: `local-${ofport}`,
                    tracked: true,
                  })
              : undefined,
            (view) => view.removeLocalPort(ofport),
          ),
        ]),
    },
    {
      weight: 2,
      arbitrary: fc
        .tuple(
          aNode,
          fc.option(fc.constantFrom(...tunnels), { nil: undefined }),
          fc.subarray(nodeAddresses),
          fc.boolean(),
        )
        .map(([name, tunnelAddress, gatewayAddresses, there]): [string, Step] => [
          `node ${name} ${tunnelAddress} ${gatewayAddresses.join()} ${there}`,
          fact(
            `node ${name}`,
            there
              ? (view) =>
                  view.setNode({
                    name,
                    uid: name,
                    gatewayAddresses,
                    ...(tunnelAddress === undefined ? {} : { tunnelAddress }),
                  })
              : undefined,
            (view) => view.removeNode(name),
          ),
        ]),
    },
    {
      weight: 2,
      arbitrary: fc
        .tuple(fc.constantFrom(...blocks), aNode, fc.boolean())
        .map(([cidr, node, there]): [string, Step] => [
          `block ${cidr} ${node} ${there}`,
          fact(`block ${cidr}`, there ? (view) => view.setBlock({ cidr: parseCidr(cidr), node }) : undefined, (view) =>
            view.removeBlock(parseCidr(cidr)),
          ),
        ]),
    },
    {
      weight: 3,
      arbitrary: fc
        .tuple(
          fc.constantFrom(...inside, "10.244.77.7"),
          fc.option(fc.constantFrom("a", "b", "local-100", "local-101"), { nil: undefined }),
          aNode,
          fc.boolean(),
          fc.boolean(),
        )
        .map(([address, uid, node, bound, there]): [string, Step] => [
          `claim ${address} ${uid} ${node} ${bound} ${there}`,
          fact(
            `claim ${address}`,
            there
              ? (view) =>
                  view.setClaim({
                    address,
                    bound: bound && uid !== undefined,
                    ...(uid === undefined ? {} : { holder: { kind: "pod", name: `shop/${uid}`, node, uid } }),
                  })
              : undefined,
            (view) => view.removeClaim(address),
          ),
        ]),
    },
    {
      weight: 3,
      arbitrary: fc
        .tuple(fc.constantFrom(...pods), fc.constantFrom("shop", "bank"), fc.constantFrom("web", "db"), fc.boolean())
        // The ports of this node say which namespace their pods are of.
        .map(([uid, other, app, there]) => [uid, uid.startsWith("local") ? "shop" : other, app, there] as const)
        .map(([uid, namespace, app, there]): [string, Step] => [
          `identity ${uid} ${namespace} ${app} ${there}`,
          fact(
            `identity ${uid}`,
            there ? (view) => view.setIdentity(identity(uid, namespace, app)) : undefined,
            (view) => view.removeIdentity(identity(uid, namespace, app)),
          ),
        ]),
    },
    {
      weight: 2,
      arbitrary: fc
        .tuple(fc.constantFrom("shop", "bank"), fc.constantFrom(undefined, "gold"), fc.boolean(), fc.boolean())
        .map(([name, tenant, blue, there]): [string, Step] => [
          `namespace ${name} ${tenant} ${blue} ${there}`,
          fact(
            `namespace ${name}`,
            there
              ? (view) =>
                  view.setNamespace({
                    name,
                    labels: labels.intern(blue ? { team: "blue" } : {}),
                    ...(tenant === undefined ? {} : { tenant }),
                  })
              : undefined,
            (view) => view.removeNamespace(name),
          ),
        ]),
    },
    {
      weight: 4,
      arbitrary: fc
        .tuple(fc.constantFrom("shop", "bank"), fc.constantFrom("p", "q"), fc.constantFrom(...specs), fc.boolean())
        .map(([namespace, name, spec, there]): [string, Step] => [
          `policy ${namespace}/${name} ${JSON.stringify(spec)} ${there}`,
          fact(
            `policy ${namespace}/${name}`,
            there
              ? (view) => view.setPolicy(parseNetworkPolicy({ metadata: { namespace, name }, spec }).policy!)
              : undefined,
            (view) => view.removePolicy(namespace, name),
          ),
        ]),
    },
    {
      weight: 1,
      arbitrary: fc
        .tuple(
          fc.subarray(subnets),
          fc.constantFrom(7, 8),
          fc.subarray(wires),
          fc.option(fc.constantFrom(...segments), { nil: undefined }),
          fc.boolean(),
        )
        .map(([chosen, vni, onWire, segment, direct]): [string, Step] => [
          `subnets ${chosen.join()} ${vni} ${onWire.join()} ${segment} ${direct}`,
          fact(
            "subnets",
            (view) =>
              view.setSubnets([
                ...chosen.map((text) => overlaySubnet(text, vni)),
                ...onWire.map((text) => wireSubnet(text, segment, direct)),
              ]),
            () => {},
          ),
        ]),
    },
    {
      weight: 1,
      arbitrary: fc.subarray(own).map((chosen): [string, Step] => [
        `own ${chosen.join()}`,
        fact(
          "own",
          (view) => view.setOwnAddresses(chosen),
          () => {},
        ),
      ]),
    },
    {
      weight: 1,
      arbitrary: fc.constantFrom(300, 2000, 61_000).map((milliseconds): [string, Step] => [
        `pass ${milliseconds}`,
        (world) => {
          world.now += milliseconds;
          world.reactor.tick();
          for (let bucket = 0; bucket < 64; bucket++) {
            const readings = [];
            for (const flow of world.ovs.entries.values()) {
              const { id, kind } = decodeCookie(flow.cookie)!;
              if (id % 64 === bucket && kind === "verdict") readings.push({ id, flow, packets: 0n, bytes: 0n });
            }
            world.reactor.recordBucket(bucket, readings);
          }
          world.reactor.recordRefusals(
            [...world.ovs.entries.values()]
              .filter(({ cookie }) => decodeCookie(cookie)?.kind === "refusal")
              .map((flow) => ({ id: decodeCookie(flow.cookie)!.id, flow, packets: 0n, bytes: 0n })),
          );
        },
      ]),
    },
    {
      weight: 1,
      arbitrary: fc
        .boolean()
        .map((adoptFirst): [string, Step] => [`restart ${adoptFirst}`, (world) => restart(world, adoptFirst)]),
    },
  )
  .map(named);

/** Packets of few associations between few pods, two of which stay where they are. */
const packetsOfSctp = fc
  .tuple(
    fc.constantFrom<readonly [Question["from"], Ip, Ip]>(
      ["pod", "10.244.1.5", "10.244.2.5"],
      ["tunnel", "10.244.2.5", "10.244.1.5"],
      ["pod", "10.244.1.5", "10.30.0.50"],
      ["pod", "10.30.0.50", "10.244.1.5"],
      ["pod", "10.244.1.5", "8.8.8.8"],
    ),
    fc.constantFrom(5, 80, 90),
    fc.constantFrom(5, 80, 90),
    fc.constantFrom(0, 1, 1, 2),
  )
  .map(([[from, source, destination], srcPort, dstPort, chunk]): [string, Step] => [
    `sctp ${from} ${source} ${srcPort} ${destination} ${dstPort} ${chunk}`,
    ({ reactor }) => {
      const question = { from, source, destination, ...(from === "tunnel" ? { tunnelSource: "10.10.0.12" } : {}) };
      reactor.onPacketIn(packetIn(question, { sctp: { srcPort, dstPort, chunk } }));
    },
  ])
  .map(named);

function live(world: Pick<World, "view" | "ovs" | "lives"> & { now: number }, clock: () => number): Reactor {
  const reactor = new Reactor({
    facts: world.view,
    limits,
    sink: world.ovs,
    now: clock,
    firstId: 1 + world.lives * 100_000,
    life: world.lives,
    onUndecodable: (error) => {
      throw error;
    },
  });
  world.view.onChange((keys) => reactor.factsChanged(keys));
  return reactor;
}

/** The agent dies with what it had queued; the next one takes over what stands in the switch, before or after listing. */
function restart(world: World, adoptFirst: boolean): void {
  world.reactor.disconnected();
  world.lives++;
  world.view = new View("node-1");
  world.reactor = live(world, () => world.now);
  const list = (): void => {
    for (const apply of world.replay.values()) apply(world.view);
  };
  const adopt = (): void => {
    for (const flow of world.reactor.adopt([...world.ovs.entries.values()])) {
      for (const [key, entry] of world.ovs.entries) if (entry === flow) world.ovs.entries.delete(key);
    }
  };
  if (adoptFirst) {
    adopt();
    list();
  } else {
    list();
    adopt();
  }
  world.view.setComplete();
  world.reactor.revalidateAll();
}

async function drained(reactor: Reactor): Promise<void> {
  while (reactor.pendingWrites > 0) {
    await setImmediate();
    if (reactor.pendingWrites > 0) await sleep(1);
  }
}

function check({ ovs, view, reactor, lives }: World): void {
  const expected = new Map<string, Flow>();
  const [opened, answered] = [new Set<string>(), new Set<string>()];
  for (const { id, question, decision, label, ...marks } of reactor.verdicts.values()) {
    for (const source of addresses.filter((address) => cidrContains(decision.cube.source, address))) {
      for (const destination of addresses.filter((address) => cidrContains(decision.cube.destination, address))) {
        const today = decide({ ...question, source, destination }, view);
        // What is decided for one pair may hold for more; what an entry says must hold for each that it takes.
        const same = sameVerdict(decision, { ...today, ...(today.verdict === "hold" ? {} : { cube: decision.cube }) });
        assert.ok(
          same,
          `${question.from} ${source} ${destination}: entry ${decision.verdict}, today ${today.verdict} (${today.explanation})`,
        );
      }
    }
    for (const { direction, source, sourcePort, destination, destinationPort } of marks.associations ?? []) {
      if (direction === "back") {
        answered.add(`${destination} ${destinationPort} ${source} ${sourcePort}`);
        continue;
      }
      opened.add(`${source} ${sourcePort} ${destination} ${destinationPort}`);
      const today = judgeAssociation(decide({ ...question, source, destination }, view), destinationPort);
      assert.ok(today.passes, `an association from ${source} to ${destination} on ${destinationPort}`);
    }
    const flows = verdictFlows(decision, question, id, { ...marks, label: labelOf(lives, label) });
    for (const flow of flows) expected.set(flowKey(flow), flow);
  }
  assert.deepEqual([...answered.difference(opened)], [], "answers pass only beside what they answer");
  assert.deepEqual(
    [...ovs.entries].map(([key, flow]) => `${key} ${formatFlow(canonicalFlow(flow))}`).sort(),
    [...expected].map(([key, flow]) => `${key} ${formatFlow(canonicalFlow(flow))}`).sort(),
    "the switch holds exactly the entries of the verdicts that the core knows",
  );
}

test("entries agree with decide() after any sequence of facts, packets, time and restarts", () => agree(steps, []));

test("so do those of associations, whose packets come as they like", () =>
  agree(fc.oneof({ weight: 3, arbitrary: packetsOfSctp }, { weight: 1, arbitrary: steps }), [
    fact(
      "policy shop/p",
      (view) =>
        view.setPolicy(parseNetworkPolicy({ metadata: { namespace: "shop", name: "p" }, spec: specs.at(-1)! }).policy!),
      () => {},
    ),
  ]));

async function agree(anyStep: fc.Arbitrary<Step>, before: readonly Step[]): Promise<void> {
  await fc.assert(
    fc.asyncProperty(fc.array(anyStep, { minLength: 5, maxLength: 60 }), async (sequence) => {
      const view = new View("node-1");
      const ovs = new RecordingSwitch();
      const world: World = { view, ovs, now: 0, lives: 0, replay: new Map(), reactor: undefined as unknown as Reactor };
      world.reactor = live(world, () => world.now);
      const first = [
        fact(
          "subnets",
          (v) =>
            v.setSubnets([
              ...subnets.slice(0, 2).map((text) => overlaySubnet(text)),
              ...wires.map((text, index) => wireSubnet(text, segments[index], false)),
            ]),
          () => {},
        ),
        fact(
          "node node-1",
          (v) =>
            v.setNode({ name: "node-1", uid: "node-1", tunnelAddress: "10.10.0.11", gatewayAddresses: ["10.244.1.1"] }),
          () => {},
        ),
        fact(
          "node node-2",
          (v) =>
            v.setNode({ name: "node-2", uid: "node-2", tunnelAddress: "10.10.0.12", gatewayAddresses: ["10.244.2.1"] }),
          () => {},
        ),
        fact(
          "block 10.244.1.0/26",
          (v) => v.setBlock({ cidr: parseCidr("10.244.1.0/26"), node: "node-1" }),
          () => {},
        ),
        fact(
          "block 10.244.2.0/26",
          (v) => v.setBlock({ cidr: parseCidr("10.244.2.0/26"), node: "node-2" }),
          () => {},
        ),
        fact(
          "port 100",
          (v) =>
            v.setLocalPort({
              ofport: 100,
              mac: "0a:58:00:00:00:01",
              addresses: ["10.244.1.5"],
              pod: "shop/local-100",
              uid: "local-100",
              tracked: true,
            }),
          () => {},
        ),
        ...["shop", "bank"].map((name) =>
          fact(
            `namespace ${name}`,
            (v) => v.setNamespace({ name, labels: labels.intern({}) }),
            () => {},
          ),
        ),
        ...pods.map((uid) =>
          fact(
            `identity ${uid}`,
            (v) => v.setIdentity(identity(uid, "shop", "web")),
            () => {},
          ),
        ),
        fact(
          "port 101",
          (v) =>
            v.setLocalPort({
              ofport: 101,
              mac: "0a:58:00:00:00:02",
              addresses: ["10.30.0.50"],
              segment: segments[0]!,
              pod: "shop/local-101",
              uid: "local-101",
              tracked: true,
            }),
          () => {},
        ),
        fact(
          "pod a",
          (v) =>
            v.setPod({ namespace: "shop", name: "a", uid: "a", node: "node-2", addresses: ["10.244.2.5"], created: 0 }),
          () => {},
        ),
      ];
      for (const step of [...first, ...before]) step(world);
      view.setComplete();
      for (const step of sequence) {
        step(world);
        await drained(world.reactor);
        check(world);
      }
    }),
    { numRuns: 300 },
  );
}

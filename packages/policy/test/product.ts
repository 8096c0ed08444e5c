/** A world of the tests as the product takes it: policies parsed and indexed, ends as parties. */
import assert from "node:assert/strict";
import { LabelPool } from "@beyondfabric/kube";
import { ipProtocol } from "@beyondfabric/packet";
import {
  evaluateDirection,
  parseNetworkPolicy,
  passingRules,
  PolicyIndex,
  type NamespaceIdentity,
  type PacketFacts,
  type Party,
  type PodIdentity,
  type Protocol,
} from "../src/index.ts";
import { addressOf, type World, type WorldEnd, type WorldPacket } from "./oracle.ts";

const numbers: Readonly<Record<string, number>> = {
  TCP: ipProtocol.tcp,
  UDP: ipProtocol.udp,
  SCTP: ipProtocol.sctp,
};

const labels = new LabelPool();

export class Product {
  readonly index = new PolicyIndex();
  readonly #world: World;
  readonly #pods: readonly PodIdentity[];

  constructor(world: World) {
    this.#world = world;
    for (const raw of world.policies) {
      const { policy, violations } = parseNetworkPolicy(raw);
      assert.deepEqual(violations, []);
      this.index.set(policy!);
    }
    const namespaces = new Map<string, NamespaceIdentity>(
      world.namespaces.map((each) => [each.name, { name: each.name, labels: labels.intern(each.labels) }]),
    );
    this.#pods = world.pods.map((pod) => ({
      name: pod.name,
      uid: `${pod.namespace}/${pod.name}`,
      node: pod.node,
      namespace: namespaces.get(pod.namespace)!,
      labels: labels.intern(pod.labels),
      ports: pod.ports.map((each) => ({
        name: each.name,
        protocol: each.protocol as Protocol,
        port: each.containerPort,
      })),
    }));
  }

  party(end: WorldEnd, family: 4 | 6): Party {
    const address = addressOf(this.#world, end, family);
    if ("pod" in end) return { kind: "pod", address, pod: this.#pods[end.pod]! };
    if ("node" in end) return { kind: "node", address, node: this.#world.nodes[end.node]!.name };
    return { kind: "outside", address };
  }

  /** Whether the packet passes, by asking each end for itself, as the nodes of the two do. */
  allows(packet: WorldPacket): boolean {
    const source = this.party(packet.from, packet.family);
    const destination = this.party(packet.to, packet.family);
    const facts = packetFacts(packet);
    const egress =
      source.kind !== "pod" ||
      passes(evaluateDirection(this.index, { direction: "egress", subject: source, peer: destination }), facts);
    const ingress =
      destination.kind !== "pod" ||
      passes(evaluateDirection(this.index, { direction: "ingress", subject: destination, peer: source }), facts);
    return egress && ingress;
  }
}

function passes(verdict: ReturnType<typeof evaluateDirection>, packet: PacketFacts): boolean {
  return passingRules(verdict.openings, packet) !== undefined;
}

export function packetFacts({ protocol, port, family }: WorldPacket): PacketFacts {
  const number = numbers[protocol];
  if (number === undefined) return { protocol: family === 4 ? ipProtocol.icmp : ipProtocol.icmpv6 };
  return { protocol: number, destinationPort: port };
}

/**
 * An evaluator of its own, written from the API's documentation of `networking.k8s.io/v1` and sharing no code with the
 * product: it takes the objects as they are, walks every policy for every packet, and compares addresses bit by bit.
 */

export interface WorldSelector {
  readonly matchLabels?: Readonly<Record<string, string>>;
  readonly matchExpressions?: readonly { key: string; operator: string; values?: readonly string[] }[];
}

export interface WorldPeer {
  readonly podSelector?: WorldSelector | null;
  readonly namespaceSelector?: WorldSelector | null;
  readonly ipBlock?: { readonly cidr: string; readonly except?: readonly string[] };
}

export interface WorldPort {
  readonly protocol?: string;
  readonly port?: number | string;
  readonly endPort?: number;
}

export interface WorldRule {
  readonly from?: readonly WorldPeer[];
  readonly to?: readonly WorldPeer[];
  readonly ports?: readonly WorldPort[];
}

export interface WorldPolicy {
  readonly metadata: { readonly name: string; readonly namespace: string };
  readonly spec: {
    readonly podSelector?: WorldSelector;
    readonly policyTypes?: readonly string[];
    readonly ingress?: readonly WorldRule[] | null;
    readonly egress?: readonly WorldRule[];
  };
}

export interface WorldPod {
  readonly name: string;
  readonly namespace: string;
  readonly node: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly addresses: Readonly<Record<4 | 6, string>>;
  readonly ports: readonly { readonly name: string; readonly protocol: string; readonly containerPort: number }[];
}

export interface World {
  readonly namespaces: readonly { readonly name: string; readonly labels: Readonly<Record<string, string>> }[];
  readonly pods: readonly WorldPod[];
  readonly nodes: readonly { readonly name: string; readonly addresses: Readonly<Record<4 | 6, string>> }[];
  readonly policies: readonly WorldPolicy[];
}

/** An end of a packet: a pod or node by its place in the world's list, or an address that is nobody's. */
export type WorldEnd =
  | { readonly pod: number }
  | { readonly node: number }
  | { readonly stranger: Readonly<Record<4 | 6, string>> };

export interface WorldPacket {
  readonly from: WorldEnd;
  readonly to: WorldEnd;
  readonly family: 4 | 6;
  /** `TCP`, `UDP`, `SCTP`, or anything else for what has no ports. */
  readonly protocol: string;
  readonly port: number;
}

/** Whether the world's policies let the packet through, at both ends. */
export function oracleAllows(world: World, packet: WorldPacket): boolean {
  if ("pod" in packet.from && "pod" in packet.to && packet.from.pod === packet.to.pod) return true;
  const sender = "pod" in packet.from ? world.pods[packet.from.pod] : undefined;
  const receiver = "pod" in packet.to ? world.pods[packet.to.pod] : undefined;
  if (sender !== undefined) {
    const applied = policiesFor(world, sender, "Egress");
    if (applied.length > 0 && !applied.some((policy) => someRule(world, policy, policy.spec.egress, "to", packet))) {
      return false;
    }
  }
  if (receiver !== undefined) {
    if ("node" in packet.from && world.nodes[packet.from.node]!.name === receiver.node) return true;
    const applied = policiesFor(world, receiver, "Ingress");
    if (applied.length > 0 && !applied.some((policy) => someRule(world, policy, policy.spec.ingress, "from", packet))) {
      return false;
    }
  }
  return true;
}

function policiesFor(world: World, pod: WorldPod, type: string): WorldPolicy[] {
  const result: WorldPolicy[] = [];
  for (const policy of world.policies) {
    if (policy.metadata.namespace !== pod.namespace) continue;
    if (!selects(policy.spec.podSelector ?? {}, pod.labels)) continue;
    let types = policy.spec.policyTypes;
    if (types === undefined || types.length === 0) {
      types = (policy.spec.egress ?? []).length > 0 ? ["Ingress", "Egress"] : ["Ingress"];
    }
    if (types.includes(type)) result.push(policy);
  }
  return result;
}

function someRule(
  world: World,
  policy: WorldPolicy,
  rules: readonly WorldRule[] | null | undefined,
  side: "from" | "to",
  packet: WorldPacket,
): boolean {
  for (const rule of rules ?? []) {
    const peers = rule[side] ?? [];
    const ports = rule.ports ?? [];
    const peerFits = peers.length === 0 || peers.some((peer) => peerIs(world, policy, peer, packet, side));
    const portFits = ports.length === 0 || ports.some((port) => portIs(world, port, packet));
    if (peerFits && portFits) return true;
  }
  return false;
}

function peerIs(world: World, policy: WorldPolicy, peer: WorldPeer, packet: WorldPacket, side: "from" | "to"): boolean {
  const end = packet[side];
  if (peer.ipBlock !== undefined) {
    const address = bitsOf(addressOf(world, end, packet.family));
    const within = (cidr: string): boolean => {
      const [text, length] = cidr.split("/") as [string, string];
      const network = bitsOf(text);
      return network.length === address.length && network.slice(0, +length) === address.slice(0, +length);
    };
    return within(peer.ipBlock.cidr) && !(peer.ipBlock.except ?? []).some(within);
  }
  if (!("pod" in end)) return false;
  const pod = world.pods[end.pod]!;
  if (peer.namespaceSelector === undefined || peer.namespaceSelector === null) {
    if (pod.namespace !== policy.metadata.namespace) return false;
  } else {
    const namespace = world.namespaces.find((each) => each.name === pod.namespace)!;
    if (!selects(peer.namespaceSelector, namespace.labels)) return false;
  }
  return peer.podSelector === undefined || peer.podSelector === null || selects(peer.podSelector, pod.labels);
}

function portIs(world: World, port: WorldPort, packet: WorldPacket): boolean {
  if ((port.protocol ?? "TCP") !== packet.protocol) return false;
  if (port.port === undefined) return true;
  if (typeof port.port === "string") {
    if (!("pod" in packet.to)) return false;
    return world.pods[packet.to.pod]!.ports.some(
      (each) => each.name === port.port && each.protocol === packet.protocol && each.containerPort === packet.port,
    );
  }
  return packet.port >= port.port && packet.port <= (port.endPort ?? port.port);
}

export function addressOf(world: World, end: WorldEnd, family: 4 | 6): string {
  if ("pod" in end) return world.pods[end.pod]!.addresses[family];
  if ("node" in end) return world.nodes[end.node]!.addresses[family];
  return end.stranger[family];
}

function selects(selector: WorldSelector, labels: Readonly<Record<string, string>>): boolean {
  for (const key in selector.matchLabels ?? {}) if (labels[key] !== selector.matchLabels![key]) return false;
  for (const { key, operator, values } of selector.matchExpressions ?? []) {
    const has = key in labels;
    const listed = has && values?.includes(labels[key]!) === true;
    if (operator === "Exists" && !has) return false;
    if (operator === "DoesNotExist" && has) return false;
    if (operator === "In" && !listed) return false;
    if (operator === "NotIn" && listed) return false;
  }
  return true;
}

/** An address as a text of 32 or 128 zeros and ones. */
function bitsOf(text: string): string {
  if (!text.includes(":")) {
    return text
      .split(".")
      .map((part) => (+part).toString(2).padStart(8, "0"))
      .join("");
  }
  const [head, tail] = text.split("::") as [string, string | undefined];
  const groups = (part: string | undefined): string[] => (part === undefined || part === "" ? [] : part.split(":"));
  const before = groups(head);
  const after = groups(tail);
  const middle: string[] = Array.from({ length: 8 - before.length - after.length }, () => "0");
  return [...before, ...middle, ...after].map((part) => parseInt(part, 16).toString(2).padStart(16, "0")).join("");
}

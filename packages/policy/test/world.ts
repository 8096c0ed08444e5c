/** Random worlds from a seed: small alphabets, so that selectors, blocks and ports meet often. */
import type { Dice } from "./dice.ts";
import type {
  World,
  WorldEnd,
  WorldPacket,
  WorldPeer,
  WorldPolicy,
  WorldPort,
  WorldRule,
  WorldSelector,
} from "./oracle.ts";

const keys = ["app", "tier"];
const values = ["a", "b", ""];
const portNames = ["web", "dns"];
const numbers = [53, 80, 81, 8080, 65535];
const protocolNames = ["TCP", "UDP", "SCTP"];
/** Blocks around the addresses that {@link randomWorld} gives out, nested and beside each other. */
const blocks: readonly { cidr: string; inside: readonly string[] }[] = [
  { cidr: "0.0.0.0/0", inside: ["10.0.0.0/8", "10.1.0.0/31", "192.0.2.0/25", "128.0.0.0/1"] },
  { cidr: "10.0.0.0/8", inside: ["10.1.0.0/30", "10.1.0.2/32", "10.1.0.0/16", "10.2.0.0/15"] },
  { cidr: "10.1.0.0/29", inside: ["10.1.0.0/30", "10.1.0.4/31"] },
  { cidr: "10.1.0.1/32", inside: [] },
  { cidr: "192.0.2.0/24", inside: ["192.0.2.0/28", "192.0.2.8/29", "192.0.2.3/32"] },
  { cidr: "::/0", inside: ["fd00::/8", "fd00:1::/127", "2001:db8::/33"] },
  { cidr: "fd00:1::/124", inside: ["fd00:1::/126", "fd00:1::2/128", "fd00:1::4/127"] },
  { cidr: "2001:db8::/32", inside: ["2001:db8::/64", "2001:db8:8000::/33", "2001:db8::3/128"] },
];

export function randomWorld(dice: Dice): World {
  const namespaces = ["x", "y", "z"].slice(0, 1 + dice.below(3)).map((name) => ({ name, labels: randomLabels(dice) }));
  const nodes = ["n1", "n2"].map((name, index) => ({
    name,
    addresses: { 4: `10.2.0.${index + 1}`, 6: `fd00:2::${index + 1}` },
  }));
  const pods = Array.from({ length: 2 + dice.below(4) }, (_, index) => ({
    name: `p${index}`,
    namespace: dice.pick(namespaces).name,
    node: dice.pick(nodes).name,
    labels: randomLabels(dice),
    addresses: { 4: `10.1.0.${index + 1}`, 6: `fd00:1::${index + 1}` },
    ports: dice.list(2, () => ({
      name: dice.pick(portNames),
      protocol: dice.pick(protocolNames),
      containerPort: dice.pick(numbers),
    })),
  }));
  const policies = dice
    .list(4, () => 0)
    .map((_, index) => randomPolicy(dice, dice.pick(namespaces).name, `np${index}`));
  return { namespaces, nodes, pods, policies };
}

export function randomPacket(dice: Dice, world: World): WorldPacket {
  const end = (): WorldEnd => {
    const kind = dice.below(6);
    if (kind < 4) return { pod: dice.below(world.pods.length) };
    if (kind === 4) return { node: dice.below(world.nodes.length) };
    return { stranger: randomStranger(dice) };
  };
  return {
    from: end(),
    to: end(),
    family: dice.pick([4, 6]),
    protocol: dice.oneIn(8) ? "ICMP" : dice.pick(protocolNames),
    port: dice.oneIn(4) ? dice.pick(numbers) - 1 : dice.pick(numbers),
  };
}

function randomStranger(dice: Dice): { 4: string; 6: string } {
  const host = dice.below(16);
  if (dice.oneIn(3)) return { 4: `198.51.100.${host}`, 6: `2001:db9::${host.toString(16)}` };
  return { 4: `192.0.2.${host}`, 6: `2001:db8:${dice.pick(["", "8000"]) || "0"}::${host.toString(16)}` };
}

function randomLabels(dice: Dice): Record<string, string> {
  return Object.fromEntries(keys.filter(() => !dice.oneIn(3)).map((key) => [key, dice.pick(values)]));
}

function randomSelector(dice: Dice): WorldSelector {
  const matchLabels = dice.oneIn(2) ? { [dice.pick(keys)]: dice.pick(values) } : undefined;
  const matchExpressions = dice.oneIn(3)
    ? dice.list(2, () => {
        const operator = dice.pick(["In", "NotIn", "Exists", "DoesNotExist"]);
        const listed = operator.endsWith("In") ? [dice.pick(values), dice.pick(values)] : undefined;
        return { key: dice.pick(keys), operator, ...(listed === undefined ? {} : { values: listed }) };
      })
    : undefined;
  return {
    ...(matchLabels === undefined ? {} : { matchLabels }),
    ...(matchExpressions === undefined ? {} : { matchExpressions }),
  };
}

function randomPolicy(dice: Dice, namespace: string, name: string): WorldPolicy {
  const policyTypes = dice.pick([undefined, [], ["Ingress"], ["Egress"], ["Ingress", "Egress"]]);
  const ingress = dice.oneIn(4) ? dice.pick([undefined, null, []]) : dice.list(2, () => randomRule(dice, "from"));
  const egress = dice.oneIn(3) ? undefined : dice.list(2, () => randomRule(dice, "to"));
  return {
    metadata: { name, namespace },
    spec: {
      ...(dice.oneIn(8) ? {} : { podSelector: randomSelector(dice) }),
      ...(policyTypes === undefined ? {} : { policyTypes }),
      ...(ingress === undefined ? {} : { ingress }),
      ...(egress === undefined ? {} : { egress }),
    },
  };
}

function randomRule(dice: Dice, side: "from" | "to"): WorldRule {
  const peers = dice.oneIn(4)
    ? dice.pick([undefined, []])
    : [randomPeer(dice), ...dice.list(2, () => randomPeer(dice))];
  const ports = dice.oneIn(3)
    ? dice.pick([undefined, []])
    : [randomPort(dice), ...dice.list(2, () => randomPort(dice))];
  return { ...(peers === undefined ? {} : { [side]: peers }), ...(ports === undefined ? {} : { ports }) };
}

function randomPeer(dice: Dice): WorldPeer {
  switch (dice.below(4)) {
    case 0:
      return { podSelector: randomSelector(dice) };
    case 1:
      return { namespaceSelector: randomSelector(dice) };
    case 2:
      return { podSelector: randomSelector(dice), namespaceSelector: dice.oneIn(6) ? null : randomSelector(dice) };
    default: {
      const { cidr, inside } = dice.pick(blocks);
      const except = inside.filter(() => dice.oneIn(2));
      return { ipBlock: { cidr, ...(except.length === 0 && dice.oneIn(2) ? {} : { except }) } };
    }
  }
}

function randomPort(dice: Dice): WorldPort {
  const protocol = dice.oneIn(3) ? {} : { protocol: dice.pick(protocolNames) };
  switch (dice.below(4)) {
    case 0:
      return protocol;
    case 1:
      return { ...protocol, port: dice.pick(portNames) };
    case 2:
      return { ...protocol, port: dice.pick(numbers) };
    default: {
      const port = dice.pick(numbers);
      return { ...protocol, port, endPort: Math.max(port, dice.pick(numbers)) };
    }
  }
}

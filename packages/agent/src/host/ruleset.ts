/**
 * The node's packet filter, as `nft` reads it. The node is the way out for its pods, never a way in: what it forwards to
 * pods are answers. Pods leave with the node's address, and the node speaks to pods with its own cluster address.
 */
import { formatCidr, ipFamily, type Cidr, type Ip } from "@beyondfabric/packet";

export interface RulesetFacts {
  /** The node's interface towards the bridge. */
  readonly hostInterface: string;
  /** NICs that bridges of the userspace datapath took: the kernel sees their frames too and must leave them alone. */
  readonly captured?: readonly string[];
  /** Every subnet of an overlay. Those of physical networks are spoken to by the network itself. */
  readonly subnets: readonly { readonly cidr: Cidr; readonly natOutgoing: boolean }[];
  /** The node's own addresses on {@link hostInterface}. */
  readonly nodeAddresses: readonly Ip[];
}

export const tableName = "beyondfabric";

/** One transaction that replaces our table as a whole and touches nothing else. */
export function ruleset({ hostInterface, captured = [], subnets, nodeAddresses }: RulesetFacts): string {
  const lines = [`table inet ${tableName}`, `delete table inet ${tableName}`, `table inet ${tableName} {`];
  for (const family of [4, 6] as const) {
    const all = subnets.filter(({ cidr }) => cidr.family === family).map(({ cidr }) => formatCidr(cidr));
    const translated = subnets
      .filter(({ cidr, natOutgoing }) => cidr.family === family && natOutgoing)
      .map(({ cidr }) => formatCidr(cidr));
    lines.push(...setLines(`cluster${family}`, family, all), ...setLines(`translated${family}`, family, translated));
  }
  lines.push(
    "  chain prerouting {",
    "    type filter hook prerouting priority raw; policy accept;",
    ...captured.map((nic) => `    iifname "${nic}" drop comment "its bridge has these frames"`),
    ...foreignSources(hostInterface),
    "  }",
    "  chain forward {",
    "    type filter hook forward priority filter; policy accept;",
    `    oifname "${hostInterface}" ct state established,related accept`,
    `    oifname "${hostInterface}" counter drop comment "only answers are forwarded to pods"`,
    "  }",
    "  chain postrouting {",
    "    type nat hook postrouting priority srcnat; policy accept;",
    `    oifname != "${hostInterface}" ip saddr @translated4 ip daddr != @cluster4 counter masquerade`,
    `    oifname != "${hostInterface}" ip6 saddr @translated6 ip6 daddr != @cluster6 counter masquerade`,
  );
  for (const address of nodeAddresses) {
    const field = ipFamily(address) === 4 ? "ip" : "ip6";
    lines.push(
      `    oifname "${hostInterface}" fib saddr type local ${field} saddr != ${address} counter snat ${field} to ${address}`,
    );
  }
  lines.push("  }", "}", "");
  return lines.join("\n");
}

/** Of a table that stands, takes away what keeps the kernel from the frames of NICs, and leaves the rest. */
export function releasedRuleset(hostInterface: string): string {
  return [
    `flush chain inet ${tableName} prerouting`,
    `table inet ${tableName} {`,
    "  chain prerouting {",
    ...foreignSources(hostInterface),
    "  }",
    "}",
    "",
  ].join("\n");
}

function foreignSources(hostInterface: string): string[] {
  return [
    `    iifname != { "lo", "${hostInterface}" } ip saddr @cluster4 counter drop comment "pods speak through the bridge only"`,
    `    iifname != { "lo", "${hostInterface}" } ip6 saddr @cluster6 counter drop comment "pods speak through the bridge only"`,
  ];
}

function setLines(name: string, family: 4 | 6, elements: readonly string[]): string[] {
  return [
    `  set ${name} {`,
    `    type ${family === 4 ? "ipv4_addr" : "ipv6_addr"}; flags interval;`,
    ...(elements.length === 0 ? [] : [`    elements = { ${elements.join(", ")} }`]),
    "  }",
  ];
}

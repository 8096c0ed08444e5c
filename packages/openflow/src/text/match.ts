/** Matches in the syntax of ovs-ofctl. */
import { canonicalMatch } from "../canonical.ts";
import { OpenFlowTextError } from "../errors.ts";
import type { Match, MatchField } from "../model.ts";
import { fieldByName, fields } from "../tables/fields.ts";
import type { Field, FieldName } from "../tables/fields.ts";
import { hex, parseItems, parseNumber } from "./syntax.ts";
import type { Item } from "./syntax.ts";
import { formatMatchValue, parseValue } from "./values.ts";

/** Words that stand for an Ethernet type and, some, a protocol in it. The first that fits is printed. */
const KEYWORDS: readonly (readonly [word: string, ethType: bigint, ipProto?: bigint])[] = [
  ["icmp", 0x800n, 1n],
  ["tcp", 0x800n, 6n],
  ["udp", 0x800n, 17n],
  ["sctp", 0x800n, 132n],
  ["ip", 0x800n],
  ["icmp6", 0x86ddn, 58n],
  ["tcp6", 0x86ddn, 6n],
  ["udp6", 0x86ddn, 17n],
  ["sctp6", 0x86ddn, 132n],
  ["ipv6", 0x86ddn],
  ["arp", 0x806n],
  ["rarp", 0x8035n],
  ["mpls", 0x8847n],
  ["mplsm", 0x8848n],
];

const VLAN_PRESENT = 0x1000n;

/** The match as `ovs-ofctl` prints it, such as `tcp,in_port=1,nw_dst=10.0.0.0/24,tp_dst=80`. */
export function formatMatch(match: Match): string {
  const parts: string[] = [];
  const entries = new Map<FieldName, MatchField>();
  for (const entry of canonicalMatch(match)) if (entry.field !== "unknown") entries.set(entry.field, entry);
  const type = entries.get("eth_type")?.value;
  const protocol = entries.get("ip_proto")?.value;
  const keyword = KEYWORDS.find(
    ([, ethType, ipProto]) => ethType === type && (ipProto === undefined || ipProto === protocol),
  );
  if (keyword !== undefined) {
    entries.delete("eth_type");
    if (keyword[2] !== undefined) entries.delete("ip_proto");
  }
  const vlan = takeVlan(entries);
  for (const field of fields) {
    if (field.name === "reg0" && keyword !== undefined) parts.push(keyword[0]);
    if (field.name === "vlan_tci") parts.push(...vlan);
    const entry = entries.get(field.name);
    if (entry !== undefined) parts.push(formatEntry(field, entry));
  }
  for (const entry of match) {
    if (entry.field === "unknown")
      parts.push(`oxm_${entry.header.toString(16)}=${Buffer.from(entry.bytes).toString("hex")}`);
  }
  return parts.join(",");
}

function formatEntry(field: Field, entry: MatchField): string {
  if (field.name === "ip_dscp") return `nw_tos=${entry.value << 2n}`;
  return `${field.text ?? field.name}=${formatMatchValue(field, entry.value, entry.mask)}`;
}

/** Identifier and priority of the VLAN tag in the words that ovs-ofctl has for them. */
function takeVlan(entries: Map<FieldName, MatchField>): string[] {
  const vid = entries.get("vlan_vid");
  const pcp = entries.get("vlan_pcp");
  if (vid === undefined && pcp === undefined) return [];
  entries.delete("vlan_vid");
  entries.delete("vlan_pcp");
  const vidMask = vid === undefined ? 0n : (vid.mask ?? 0x1fffn);
  const value = (vid?.value ?? 0n) | ((pcp?.value ?? 0n) << 13n);
  const mask = vidMask | (pcp === undefined ? 0n : 0xe000n);
  const identifierMask = vidMask & 0xfffn;
  if (
    (mask & value & VLAN_PRESENT) !== 0n &&
    (identifierMask === 0n || identifierMask === 0xfffn) &&
    (identifierMask !== 0n || pcp !== undefined)
  ) {
    const words: string[] = [];
    if (identifierMask !== 0n) words.push(`dl_vlan=${value & 0xfffn}`);
    if (pcp !== undefined) words.push(`dl_vlan_pcp=${pcp.value}`);
    return words;
  }
  const four = (bits: bigint): string => `0x${bits.toString(16).padStart(4, "0")}`;
  return [mask === 0xffffn ? `vlan_tci=${four(value)}` : `vlan_tci=${four(value)}/${four(mask)}`];
}

/**
 * Reads a match in any of ovs-ofctl's spellings: `ip,nw_src=10.0.0.1`, `dl_type=0x800`, `icmp6,icmp_type=135`.
 * @throws OpenFlowTextError naming the field.
 */
export function parseMatch(text: string): Match {
  return matchOf(parseItems(text));
}

/** As {@link parseMatch}, for items that have been cut already. The result is canonical. */
export function matchOf(items: readonly Item[]): Match {
  const entries: MatchField[] = [];
  const later: Item[] = [];
  for (const item of items) {
    const keyword = item.sign === "" ? KEYWORDS.find(([word]) => word === item.key) : undefined;
    if (keyword !== undefined) {
      entries.push({ field: "eth_type", value: keyword[1] });
      if (keyword[2] !== undefined) entries.push({ field: "ip_proto", value: keyword[2] });
    } else if (
      item.key === "ip_proto" ||
      item.key === "nw_proto" ||
      item.key === "eth_type" ||
      item.key === "dl_type"
    ) {
      entries.push(...parseEntry(item, undefined));
    } else {
      later.push(item);
    }
  }
  const context = {
    type: entries.find((entry) => entry.field === "eth_type")?.value,
    protocol: entries.find((entry) => entry.field === "ip_proto")?.value,
  };
  for (const item of later) entries.push(...parseEntry(item, context));
  const pcp = entries.some((entry) => entry.field === "vlan_pcp");
  if (pcp && !entries.some((entry) => entry.field === "vlan_vid")) {
    entries.push({ field: "vlan_vid", value: VLAN_PRESENT, mask: VLAN_PRESENT });
  }
  return canonicalMatch(entries);
}

interface Context {
  readonly type: bigint | undefined;
  readonly protocol: bigint | undefined;
}

function parseEntry(item: Item, context: Context | undefined): MatchField[] {
  if (item.sign !== "=") throw new OpenFlowTextError(`${JSON.stringify(item.text)} is not field=value`);
  if (item.value === "*" || item.value === "ANY") return [];
  if (item.key === "dl_vlan") {
    const vid = parseNumber(item.value, 16, item.key);
    return [{ field: "vlan_vid", value: vid === 0xffffn ? 0n : (vid & 0xfffn) | VLAN_PRESENT }];
  }
  if (item.key === "vlan_tci") return parseTci(item.value);
  if (item.key === "nw_tos") {
    const tos = parseNumber(item.value, 8, item.key);
    if ((tos & 3n) !== 0n) throw new OpenFlowTextError(`nw_tos: ${item.value} sets the two bits of ECN; use nw_ecn`);
    return [{ field: "ip_dscp", value: tos >> 2n }];
  }
  const field = matchField(item.key, context);
  const { value, mask } = parseValue(field, item.value);
  if (mask === undefined) return [{ field: field.name, value }];
  if (!field.maskable) throw new OpenFlowTextError(`${item.key}: this field cannot be masked`);
  return mask === 0n ? [] : [{ field: field.name, value, mask }];
}

function parseTci(text: string): MatchField[] {
  const field = fieldByName("vlan_tci");
  const { value, mask = field.full } = parseValue(field, text);
  if (mask === field.full && value === 0n) return [{ field: "vlan_vid", value: 0n }];
  const pcpMask = mask >> 13n;
  if (pcpMask !== 0n && pcpMask !== 7n) {
    throw new OpenFlowTextError(
      `vlan_tci: the mask ${hex(mask)} takes the priority apart, which OpenFlow 1.5 cannot say`,
    );
  }
  const entries: MatchField[] = [];
  if ((mask & 0x1fffn) !== 0n) entries.push({ field: "vlan_vid", value: value & 0x1fffn, mask: mask & 0x1fffn });
  if (pcpMask === 7n) entries.push({ field: "vlan_pcp", value: value >> 13n });
  return entries;
}

/** What `tp_dst` or `icmp_type` means depends on the protocol that is matched beside it. */
const transport = new Map<bigint, string>([
  [6n, "tcp"],
  [17n, "udp"],
  [132n, "sctp"],
]);

function matchField(key: string, context: Context | undefined): Field {
  if (key === "tp_src" || key === "tp_dst") {
    const protocol = transport.get(context?.protocol ?? -1n);
    if (protocol === undefined) throw new OpenFlowTextError(`${key} needs tcp, udp or sctp beside it`);
    return fieldByName(`${protocol}_${key.slice(3)}` as FieldName);
  }
  if (key === "icmp_type" || key === "icmp_code") {
    const version = context?.type === 0x86ddn ? "icmpv6" : "icmpv4";
    return fieldByName(`${version}_${key.slice(5)}` as FieldName);
  }
  const byName = fields.find((field) => field.name === key);
  const found = byName ?? fields.find((field) => field.text === key || field.aliases?.includes(key) === true);
  if (found === undefined) throw new OpenFlowTextError(`${JSON.stringify(key)} is no field that can be matched`);
  return found;
}

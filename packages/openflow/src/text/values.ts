/** Values of fields as ovs-ofctl writes and reads them, by the format that the field's row names. */
import {
  ipFamily,
  ipFromBigInt,
  ipToBigInt,
  isIp,
  isMac,
  macFromBigInt,
  macToBigInt,
  parseIp,
} from "@beyondfabric/packet";
import { OpenFlowTextError } from "../errors.ts";
import type { FieldSlice } from "../model.ts";
import { reservedPorts } from "../tables/numbers.ts";
import { fieldByName, fields, findField } from "../tables/fields.ts";
import type { Field } from "../tables/fields.ts";
import { hex, isNumber, parseInteger, parseNumber } from "./syntax.ts";

const CT_STATE = { new: 1, est: 2, rel: 4, rpl: 8, inv: 16, trk: 32, snat: 64, dnat: 128 };
const TCP_FLAGS = {
  fin: 1,
  syn: 2,
  rst: 4,
  psh: 8,
  ack: 16,
  urg: 32,
  ece: 64,
  cwr: 128,
  ns: 256,
  "[200]": 512,
  "[400]": 1024,
  "[800]": 2048,
};
const TUNNEL_FLAGS = { oam: 1 };
type FlagNames = Readonly<Record<string, number>>;

/** Name, value and mask of a fragment match: bit 0 is any fragment, bit 1 a later one. */
const FRAGMENTS: readonly (readonly [string, bigint, bigint])[] = [
  ["no", 0n, 3n],
  ["first", 1n, 3n],
  ["later", 3n, 3n],
  ["no", 0n, 1n],
  ["yes", 1n, 1n],
  ["not_later", 0n, 2n],
  ["later", 2n, 2n],
];

const portNames = new Map<number, string>(Object.entries(reservedPorts).map(([name, port]) => [port, name]));

/** A value and, where not every bit counts, the mask. */
export interface Masked {
  readonly value: bigint;
  readonly mask?: bigint;
}

function flagNames(field: Field): FlagNames {
  return field.format === "ct_state" ? CT_STATE : field.format === "tcp_flags" ? TCP_FLAGS : TUNNEL_FLAGS;
}

/** A port by its reserved name or number; `bits` tells the short form of Nicira's actions from the long one. */
export function formatPort(port: number, bits = 32): string {
  const long = bits === 16 && port >= 0xff00 ? (0xffff_0000 | port) >>> 0 : port;
  return portNames.get(long) ?? String(port);
}

/** A port by reserved name or number. @throws OpenFlowTextError for anything else. */
export function parsePort(text: string, bits = 32): number {
  const reserved = (reservedPorts as Readonly<Record<string, number>>)[text.toUpperCase()];
  const port = reserved ?? parseInteger(text, 32, "port");
  // Numbers of OpenFlow 1.0 from 0xff00 on are the reserved ports.
  if (bits === 16) return port & 0xffff;
  return reserved === undefined && port >= 0xff00 && port <= 0xffff ? (0xffff_0000 | port) >>> 0 : port;
}

/** Whether {@link parsePort} can tell a port from the text, as opposed to a register. */
export function isPort(text: string): boolean {
  return isNumber(text) || text.toUpperCase() in reservedPorts;
}

/** The value of a match, without the field's name; a mask that covers everything must have been left out. */
export function formatMatchValue(field: Field, value: bigint, mask?: bigint): string {
  switch (field.format) {
    case "hexadecimal": {
      if (field.name === "ct_zone") return value.toString();
      const text = matchHex(field);
      return mask === undefined ? text(value) : `${text(value)}/${text(mask)}`;
    }
    case "decimal":
      return mask === undefined ? value.toString() : `${hex(value)}/${hex(mask)}`;
    case "tunnel_flags":
      return formatShaped(field, value, mask ?? field.full);
    default:
      return formatShaped(field, value, mask);
  }
}

function matchHex(field: Field): (value: bigint) => string {
  if (field.name === "eth_type" || field.name === "vlan_tci")
    return (value) => `0x${value.toString(16).padStart(4, "0")}`;
  if (field.name === "ipv6_label") return (value) => `0x${value.toString(16).padStart(5, "0")}`;
  if (field.bits > 64) return hex;
  // The switch's own printer leaves a zero without its prefix.
  return (value) => (value === 0n ? "0" : hex(value));
}

/** The value of a set-field, whose numbers are printed more plainly than those of a match. */
export function formatSetValue(field: Field, value: bigint, givenMask?: bigint): string {
  const mask = givenMask === field.full ? undefined : givenMask;
  switch (field.format) {
    case "hexadecimal":
    case "decimal": {
      const text = field.format === "decimal" ? value.toString() : hex(value);
      return mask === undefined ? text : `${text}/${hex(mask)}`;
    }
    default:
      return formatShaped(field, value, mask);
  }
}

function formatShaped(field: Field, value: bigint, mask: bigint | undefined): string {
  switch (field.format) {
    case "ethernet":
      return mask === undefined ? macFromBigInt(value) : `${macFromBigInt(value)}/${macFromBigInt(mask)}`;
    case "ipv4":
    case "ipv6":
      return formatAddress(field, value, mask);
    case "port":
      return formatPort(Number(value), field.bits);
    case "ct_state":
    case "tcp_flags":
    case "tunnel_flags":
      return formatFlags(field, Number(value), mask === undefined ? undefined : Number(mask));
    case "fragment": {
      const exact = mask ?? 3n;
      return FRAGMENTS.find(([, v, m]) => v === (value & exact) && m === exact)?.[0] ?? `${value}/${exact}`;
    }
    case "packet_type":
      return `(${value >> 16n},${hex(value & 0xffffn)})`;
    default:
      return value.toString();
  }
}

function formatAddress(field: Field, value: bigint, mask: bigint | undefined): string {
  const family = field.format === "ipv4" ? 4 : 6;
  const text = ipFromBigInt(value, family);
  if (mask === undefined) return text;
  const hostBits = field.full ^ mask;
  if ((hostBits & (hostBits + 1n)) !== 0n) return `${text}/${ipFromBigInt(mask, family)}`;
  return `${text}/${field.bits - (hostBits === 0n ? 0 : hostBits.toString(2).length)}`;
}

function formatFlags(field: Field, value: number, mask: number | undefined): string {
  const names = flagNames(field);
  const known = Object.entries(names);
  if (mask === undefined) {
    const set = known.filter(([, bit]) => (value & bit) !== 0).map(([name]) => name);
    return set.length === 0 ? "0" : set.join("|");
  }
  return known
    .filter(([, bit]) => (mask & bit) !== 0)
    .map(([name, bit]) => ((value & bit) === 0 ? "-" : "+") + name)
    .join("");
}

/** The value and mask of a match or set-field. @throws OpenFlowTextError naming the field. */
export function parseValue(field: Field, text: string): Masked {
  switch (field.format) {
    case "ethernet":
      return masked(field, text, (part) => {
        if (!isMac(part)) throw new OpenFlowTextError(`${field.name}: ${JSON.stringify(part)} is not a MAC address`);
        return macToBigInt(part);
      });
    case "ipv4":
    case "ipv6":
      return parseAddress(field, text);
    case "port":
      return { value: BigInt(parsePort(text, field.bits)) };
    case "ct_state":
    case "tcp_flags":
    case "tunnel_flags":
      return parseFlags(field, text);
    case "fragment": {
      const found = FRAGMENTS.find(([name]) => name === text);
      if (found === undefined) {
        throw new OpenFlowTextError(
          `${field.name}: ${JSON.stringify(text)} is none of no, yes, first, later, not_later`,
        );
      }
      return withMask(field, found[1], found[2]);
    }
    case "packet_type": {
      const parts = /^\((\d+),(.+)\)$/.exec(text);
      if (parts === null) throw new OpenFlowTextError(`${field.name}: ${JSON.stringify(text)} is not (namespace,type)`);
      return { value: (parseNumber(parts[1]!, 16, field.name) << 16n) | parseNumber(parts[2]!, 16, field.name) };
    }
    default:
      return masked(field, text, (part) => parseNumber(part, field.bits, field.name));
  }
}

function masked(field: Field, text: string, parse: (part: string) => bigint): Masked {
  const slash = text.indexOf("/");
  if (slash < 0) return { value: parse(text) };
  return withMask(field, parse(text.slice(0, slash)), parse(text.slice(slash + 1)));
}

/** Values are kept under their mask; a mask of all bits says nothing. */
function withMask(field: Field, value: bigint, mask: bigint): Masked {
  return mask === field.full && field.variable !== true ? { value } : { value: value & mask, mask };
}

function parseAddress(field: Field, text: string): Masked {
  const family = field.format === "ipv4" ? 4 : 6;
  const parse = (part: string): bigint => {
    if (!isIp(part) || ipFamily(parseIp(part)) !== family) {
      throw new OpenFlowTextError(`${field.name}: ${JSON.stringify(part)} is not an IPv${family} address`);
    }
    return ipToBigInt(part);
  };
  const slash = text.indexOf("/");
  if (slash < 0 || !/^\d+$/.test(text.slice(slash + 1))) return masked(field, text, parse);
  const length = parseInteger(text.slice(slash + 1), 8, field.name);
  if (length > field.bits) throw new OpenFlowTextError(`${field.name}: a prefix of ${length} bits`);
  const host = (1n << BigInt(field.bits - length)) - 1n;
  return withMask(field, parse(text.slice(0, slash)), field.full ^ host);
}

function parseFlags(field: Field, text: string): Masked {
  const names = flagNames(field);
  const bitOf = (name: string): number => {
    const bit = names[name];
    if (bit === undefined) {
      throw new OpenFlowTextError(
        `${field.name}: no flag ${JSON.stringify(name)}; there are ${Object.keys(names).join(", ")}`,
      );
    }
    return bit;
  };
  if (text.startsWith("+") || text.startsWith("-")) {
    let value = 0;
    let mask = 0;
    for (const [, sign, name] of text.matchAll(/([+-])([^+-]*)/g)) {
      const bit = bitOf(name!);
      mask |= bit;
      if (sign === "+") value |= bit;
    }
    return { value: BigInt(value), mask: BigInt(mask) };
  }
  if (isNumber(text.split("/", 1)[0]!)) return masked(field, text, (part) => parseNumber(part, 32, field.name));
  return { value: text.split("|").reduce((bits, name) => bits | BigInt(bitOf(name)), 0n) };
}

/** `NXM_NX_REG0[0..15]`, `NXM_NX_REG0[3]` or `NXM_NX_REG0[]`. */
export function formatSlice(slice: FieldSlice): string {
  const field = fieldByName(slice.field);
  if (slice.offset === 0 && slice.bits === field.bits) return `${field.nxm}[]`;
  if (slice.bits === 1) return `${field.nxm}[${slice.offset}]`;
  return `${field.nxm}[${slice.offset}..${slice.offset + slice.bits - 1}]`;
}

const HEADER_PREFIX = /^(?:NXM_OF_|NXM_NX_|OXM_OF_|NXOXM_ET_|ONFOXM_ET_|ERICOXM_OF_)/;
const byHeaderName = new Map<string, Field>();
for (const field of fields) {
  for (const name of [field.nxm.replace(HEADER_PREFIX, ""), field.name.toUpperCase(), field.nxm]) {
    if (!byHeaderName.has(name)) byHeaderName.set(name, field);
  }
}
byHeaderName.set("NXM_OF_IN_PORT", fieldByName("in_port_nxm"));
byHeaderName.set("NXM_OF_VLAN_TCI", fieldByName("vlan_tci"));
for (const [name, field] of [
  ["IPV4_SRC", "ip_src"],
  ["IPV4_DST", "ip_dst"],
  ["IPV6_ND_TARGET", "nd_target"],
  ["IPV6_ND_SLL", "nd_sll"],
  ["IPV6_ND_TLL", "nd_tll"],
  ["ICMPV4_TYPE", "icmpv4_type"],
  ["ICMPV4_CODE", "icmpv4_code"],
  ["IPV6_FLABEL", "ipv6_label"],
] as const) {
  byHeaderName.set(name, fieldByName(field));
}

/** The field of a set-field or slice: by its header's name, its own, or any that ovs-ofctl accepts. */
export function fieldOfText(name: string): Field {
  const found =
    byHeaderName.get(name) ??
    byHeaderName.get(name.replace(HEADER_PREFIX, "")) ??
    fields.find((field) => field.inActions === name) ??
    findField(name) ??
    fields.find((field) => field.text === name || field.aliases?.includes(name));
  if (found === undefined) throw new OpenFlowTextError(`${JSON.stringify(name)} is no field`);
  return found;
}

/** @throws OpenFlowTextError for an unknown field or bits outside of it. */
export function parseSlice(text: string): FieldSlice {
  const parts = /^([A-Za-z0-9_]+)(?:\[(?:(\d{1,4})(?:\.\.(\d{1,4}))?)?\])?$/.exec(text);
  if (parts === null) throw new OpenFlowTextError(`${JSON.stringify(text)} is not a field or field[first..last]`);
  const field = fieldOfText(parts[1]!);
  if (parts[2] === undefined) return { field: field.name, offset: 0, bits: field.bits };
  const first = Number(parts[2]);
  const last = parts[3] === undefined ? first : Number(parts[3]);
  if (last < first || last >= field.bits) {
    throw new OpenFlowTextError(`${JSON.stringify(text)}: ${field.name} has the bits 0 to ${field.bits - 1}`);
  }
  return { field: field.name, offset: first, bits: last - first + 1 };
}

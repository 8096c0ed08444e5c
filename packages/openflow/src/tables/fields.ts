/**
 * Every match field, one row each: its width, its headers on the wire (OpenFlow 1.5 section 7.2.3.7, and the Nicira
 * extensions) and how ovs-ofctl writes it. Decoding, encoding, text and the type {@link FieldName} are derived.
 */

/** How a field's value looks in text. */
export type FieldFormat =
  | "decimal"
  | "hexadecimal"
  | "ethernet"
  | "ipv4"
  | "ipv6"
  | "port"
  | "ct_state"
  | "tcp_flags"
  | "fragment"
  | "tunnel_flags"
  | "packet_type";

/** What must be matched as well for a field to mean something; ovs-ofctl refuses a flow without it. */
export type Prerequisite =
  | "none"
  | "ip"
  | "ipv4"
  | "ipv6"
  | "arp"
  | "tcp"
  | "udp"
  | "sctp"
  | "icmp4"
  | "icmp6"
  | "nd"
  | "nd_solicit"
  | "nd_advert"
  | "vlan"
  | "mpls"
  | "ct";

/** OXM classes: the two of Nicira, OpenFlow's own, its packet registers, and the experimenter class with its vendor. */
const NXM0 = 0x0000;
const NXM1 = 0x0001;
const BASIC = 0x8000;
const PACKET_REGS = 0x8001;
const ERICSSON = 0x1000;
const EXPERIMENTER = 0xffff;
const NICIRA = 0x0000_2320;
const ONF = 0x4f4e_4600;

/** Class, field number and, in the experimenter class, the vendor. */
export type FieldHeader =
  | readonly [oxmClass: number, number: number]
  | readonly [oxmClass: number, number: number, vendor: number];

/** What is declared about a field. */
export interface FieldRow {
  readonly name: string;
  /** So many fields of this form, named `name0`, `name1`, ... with consecutive numbers on the wire. */
  readonly count?: number;
  readonly bits: number;
  /** Bytes on the wire; the length of `variable` fields is whatever the switch has mapped, at most this. */
  readonly bytes: number;
  readonly variable?: true;
  /** The first is written; all are read. */
  readonly headers: readonly FieldHeader[];
  readonly format: FieldFormat;
  readonly maskable: boolean;
  readonly writable: boolean;
  readonly prerequisite: Prerequisite;
  /** The bits that a switch compares, where those are not all of the field's. */
  readonly significant?: bigint;
  /** Spelling of ovs-ofctl where it differs from `name`; further spellings it accepts. */
  readonly text?: string;
  readonly aliases?: readonly string[];
  /** Name after the arrow of `set_field`, where it is not `name`. */
  readonly inActions?: string;
  /** Name in slices (`NXM_NX_REG0[0..15]`), where ovs-ofctl prints the name of the header. */
  readonly nxm: string;
}

const nxm0 = (number: number): FieldHeader => [NXM0, number];
const nxm1 = (number: number): FieldHeader => [NXM1, number];
const basic = (number: number): FieldHeader => [BASIC, number];
const packetRegister = (number: number): FieldHeader => [PACKET_REGS, number];
const ericsson = (number: number): FieldHeader => [ERICSSON, number];
const nxExperimenter = (number: number): FieldHeader => [EXPERIMENTER, number, NICIRA];
const onf = (number: number): FieldHeader => [EXPERIMENTER, number, ONF];

interface Options {
  readonly maskable?: boolean;
  readonly writable?: boolean;
  readonly prerequisite?: Prerequisite;
  readonly text?: string;
  readonly aliases?: readonly string[];
  readonly bytes?: number;
  readonly significant?: bigint;
  readonly inActions?: string;
}

function row<const N extends string>(
  name: N,
  bits: number,
  format: FieldFormat,
  nxm: string,
  headers: readonly FieldHeader[],
  options: Options = {},
): Omit<FieldRow, "count"> & { readonly name: N } {
  return {
    name,
    bits,
    bytes: options.bytes ?? Math.ceil(bits / 8),
    headers,
    format,
    nxm,
    maskable: options.maskable ?? true,
    writable: options.writable ?? true,
    prerequisite: options.prerequisite ?? "none",
    ...(options.inActions === undefined ? {} : { inActions: options.inActions }),
    ...(options.significant === undefined ? {} : { significant: options.significant }),
    ...(options.text === undefined ? {} : { text: options.text }),
    ...(options.aliases === undefined ? {} : { aliases: options.aliases }),
  };
}

function rows<const N extends string, const C extends number>(
  name: N,
  count: C,
  bits: number,
  nxm: string,
  headers: readonly FieldHeader[],
  variable = false,
): FieldRow & { readonly name: N; readonly count: C } {
  return {
    name,
    count,
    bits,
    bytes: bits / 8,
    headers,
    format: "hexadecimal",
    nxm,
    maskable: true,
    writable: true,
    prerequisite: "none",
    ...(variable ? { variable: true as const } : {}),
  };
}

const RO = { writable: false } as const;
const EXACT = { maskable: false } as const;
const EXACT_RO = { maskable: false, writable: false } as const;

/** In the order in which ovs-ofctl prints them, as far as it has one. */
export const fieldRows = [
  row("pkt_mark", 32, "hexadecimal", "NXM_NX_PKT_MARK", [nxm1(33)]),
  row("recirc_id", 32, "hexadecimal", "NXM_NX_RECIRC_ID", [nxm1(36)], EXACT_RO),
  row("dp_hash", 32, "hexadecimal", "NXM_NX_DP_HASH", [nxm1(35), nxExperimenter(0)], RO),
  row("conj_id", 32, "decimal", "NXM_NX_CONJ_ID", [nxm1(37)], EXACT_RO),
  row("actset_output", 32, "port", "OXM_OF_ACTSET_OUTPUT", [basic(43), onf(43)], EXACT_RO),
  row("ct_state", 32, "ct_state", "NXM_NX_CT_STATE", [nxm1(105)], { ...RO, significant: 0xffn }),
  row("ct_zone", 16, "hexadecimal", "NXM_NX_CT_ZONE", [nxm1(106)], EXACT_RO),
  row("ct_mark", 32, "hexadecimal", "NXM_NX_CT_MARK", [nxm1(107)]),
  row("ct_label", 128, "hexadecimal", "NXM_NX_CT_LABEL", [nxm1(108)]),
  row("ct_nw_src", 32, "ipv4", "NXM_NX_CT_NW_SRC", [nxm1(120)], { ...RO, prerequisite: "ct" }),
  row("ct_ipv6_src", 128, "ipv6", "NXM_NX_CT_IPV6_SRC", [nxm1(122)], { ...RO, prerequisite: "ct" }),
  row("ct_nw_dst", 32, "ipv4", "NXM_NX_CT_NW_DST", [nxm1(121)], { ...RO, prerequisite: "ct" }),
  row("ct_ipv6_dst", 128, "ipv6", "NXM_NX_CT_IPV6_DST", [nxm1(123)], { ...RO, prerequisite: "ct" }),
  row("ct_nw_proto", 8, "decimal", "NXM_NX_CT_NW_PROTO", [nxm1(119)], { ...EXACT_RO, prerequisite: "ct" }),
  row("ct_tp_src", 16, "decimal", "NXM_NX_CT_TP_SRC", [nxm1(124)], { ...RO, prerequisite: "ct" }),
  row("ct_tp_dst", 16, "decimal", "NXM_NX_CT_TP_DST", [nxm1(125)], { ...RO, prerequisite: "ct" }),
  row("packet_type", 32, "packet_type", "OXM_OF_PACKET_TYPE", [basic(44)], EXACT_RO),
  rows("reg", 16, 32, "NXM_NX_REG", [nxm1(0)]),
  rows("xreg", 8, 64, "OXM_OF_PKT_REG", [packetRegister(0)]),
  rows("xxreg", 4, 128, "NXM_NX_XXREG", [nxm1(111)]),
  row("tunnel_id", 64, "hexadecimal", "NXM_NX_TUN_ID", [basic(38), nxm1(16)], { inActions: "tun_id", text: "tun_id" }),
  row("tun_src", 32, "ipv4", "NXM_NX_TUN_IPV4_SRC", [nxm1(31)]),
  row("tun_dst", 32, "ipv4", "NXM_NX_TUN_IPV4_DST", [nxm1(32)]),
  row("tun_ipv6_src", 128, "ipv6", "NXM_NX_TUN_IPV6_SRC", [nxm1(109)]),
  row("tun_ipv6_dst", 128, "ipv6", "NXM_NX_TUN_IPV6_DST", [nxm1(110)]),
  row("tun_gbp_id", 16, "decimal", "NXM_NX_TUN_GBP_ID", [nxm1(38)]),
  row("tun_gbp_flags", 8, "hexadecimal", "NXM_NX_TUN_GBP_FLAGS", [nxm1(39)]),
  row("tun_flags", 1, "tunnel_flags", "NXM_NX_TUN_FLAGS", [nxm1(104)], { bytes: 2 }),
  rows("tun_metadata", 64, 992, "NXM_NX_TUN_METADATA", [nxm1(40)], true),
  row("metadata", 64, "hexadecimal", "OXM_OF_METADATA", [basic(2)]),
  /** May be matched only; what sets the port is `in_port_nxm`. */
  row("in_port", 32, "port", "OXM_OF_IN_PORT", [basic(0)], {
    ...EXACT_RO,
    aliases: ["in_port_oxm"],
    inActions: "in_port_oxm",
  }),
  /** The 16-bit form that Nicira actions carry; a match on the port uses `in_port`. */
  row("in_port_nxm", 16, "port", "NXM_OF_IN_PORT", [nxm0(0)], { ...EXACT, text: "in_port", inActions: "in_port" }),
  row("vlan_tci", 16, "hexadecimal", "NXM_OF_VLAN_TCI", [nxm0(4)]),
  /** Bit 12 says that there is a tag: 0x1000 | VLAN identifier. */
  row("vlan_vid", 13, "decimal", "OXM_OF_VLAN_VID", [basic(6)]),
  row("vlan_pcp", 3, "decimal", "OXM_OF_VLAN_PCP", [basic(7)], {
    ...EXACT,
    prerequisite: "vlan",
    text: "dl_vlan_pcp",
    aliases: ["vlan_pcp"],
  }),
  row("eth_src", 48, "ethernet", "NXM_OF_ETH_SRC", [basic(4), nxm0(2)], {
    text: "dl_src",
    aliases: ["eth_src"],
  }),
  row("eth_dst", 48, "ethernet", "NXM_OF_ETH_DST", [basic(3), nxm0(1)], {
    text: "dl_dst",
    aliases: ["eth_dst"],
  }),
  row("eth_type", 16, "hexadecimal", "NXM_OF_ETH_TYPE", [basic(5), nxm0(3)], {
    ...EXACT_RO,
    text: "dl_type",
    aliases: ["eth_type"],
  }),
  row("ipv6_src", 128, "ipv6", "NXM_NX_IPV6_SRC", [basic(26), nxm1(19)], { prerequisite: "ipv6" }),
  row("ipv6_dst", 128, "ipv6", "NXM_NX_IPV6_DST", [basic(27), nxm1(20)], { prerequisite: "ipv6" }),
  row("ipv6_label", 20, "hexadecimal", "NXM_NX_IPV6_LABEL", [basic(28), nxm1(27)], {
    prerequisite: "ipv6",
    bytes: 4,
  }),
  row("arp_spa", 32, "ipv4", "NXM_OF_ARP_SPA", [basic(22), nxm0(16)], { prerequisite: "arp" }),
  row("arp_tpa", 32, "ipv4", "NXM_OF_ARP_TPA", [basic(23), nxm0(17)], { prerequisite: "arp" }),
  row("ip_src", 32, "ipv4", "NXM_OF_IP_SRC", [basic(11), nxm0(7)], {
    prerequisite: "ipv4",
    text: "nw_src",
    aliases: ["ip_src"],
  }),
  row("ip_dst", 32, "ipv4", "NXM_OF_IP_DST", [basic(12), nxm0(8)], {
    prerequisite: "ipv4",
    text: "nw_dst",
    aliases: ["ip_dst"],
  }),
  row("arp_op", 16, "decimal", "NXM_OF_ARP_OP", [basic(21), nxm0(15)], { ...EXACT, prerequisite: "arp" }),
  row("ip_proto", 8, "decimal", "NXM_OF_IP_PROTO", [basic(10), nxm0(6)], {
    ...EXACT_RO,
    prerequisite: "ip",
    inActions: "nw_proto",
    text: "nw_proto",
    aliases: ["ip_proto"],
  }),
  row("arp_sha", 48, "ethernet", "NXM_NX_ARP_SHA", [basic(24), nxm1(17)], { prerequisite: "arp" }),
  row("arp_tha", 48, "ethernet", "NXM_NX_ARP_THA", [basic(25), nxm1(18)], { prerequisite: "arp" }),
  row("ip_dscp", 6, "decimal", "OXM_OF_IP_DSCP", [basic(8)], { ...EXACT, prerequisite: "ip" }),
  /** The whole byte, as the first version of the extension has it; its two low bits must be zero. */
  row("nw_tos", 8, "decimal", "NXM_OF_IP_TOS", [nxm0(5)], { ...EXACT, prerequisite: "ip" }),
  row("ip_ecn", 2, "decimal", "NXM_NX_IP_ECN", [basic(9), nxm1(28)], {
    ...EXACT,
    prerequisite: "ip",
    inActions: "nw_ecn",
    text: "nw_ecn",
    aliases: ["ip_ecn"],
  }),
  row("nw_ttl", 8, "decimal", "NXM_NX_IP_TTL", [nxm1(29)], { ...EXACT, prerequisite: "ip" }),
  row("mpls_label", 20, "decimal", "OXM_OF_MPLS_LABEL", [basic(34)], { ...EXACT, prerequisite: "mpls", bytes: 4 }),
  row("mpls_tc", 3, "decimal", "OXM_OF_MPLS_TC", [basic(35)], { ...EXACT, prerequisite: "mpls" }),
  row("mpls_ttl", 8, "decimal", "NXM_NX_MPLS_TTL", [nxm1(30)], { ...EXACT, prerequisite: "mpls" }),
  row("mpls_bos", 1, "decimal", "OXM_OF_MPLS_BOS", [basic(36)], { ...EXACT_RO, prerequisite: "mpls" }),
  row("ip_frag", 2, "fragment", "NXM_NX_IP_FRAG", [nxm1(26)], {
    ...RO,
    prerequisite: "ip",
    text: "nw_frag",
    aliases: ["ip_frag"],
  }),
  row("icmpv4_type", 8, "decimal", "NXM_OF_ICMP_TYPE", [basic(19), nxm0(13)], {
    ...EXACT,
    prerequisite: "icmp4",
    inActions: "icmp_type",
    text: "icmp_type",
    aliases: ["icmpv4_type"],
  }),
  row("icmpv4_code", 8, "decimal", "NXM_OF_ICMP_CODE", [basic(20), nxm0(14)], {
    ...EXACT,
    prerequisite: "icmp4",
    inActions: "icmp_code",
    text: "icmp_code",
    aliases: ["icmpv4_code"],
  }),
  row("icmpv6_type", 8, "decimal", "NXM_NX_ICMPV6_TYPE", [basic(29), nxm1(21)], {
    ...EXACT,
    prerequisite: "icmp6",
    text: "icmp_type",
    aliases: ["icmpv6_type"],
  }),
  row("icmpv6_code", 8, "decimal", "NXM_NX_ICMPV6_CODE", [basic(30), nxm1(22)], {
    ...EXACT,
    prerequisite: "icmp6",
    text: "icmp_code",
    aliases: ["icmpv6_code"],
  }),
  row("nd_target", 128, "ipv6", "NXM_NX_ND_TARGET", [basic(31), nxm1(23)], { prerequisite: "nd" }),
  row("nd_sll", 48, "ethernet", "NXM_NX_ND_SLL", [basic(32), nxm1(24)], { prerequisite: "nd_solicit" }),
  row("nd_tll", 48, "ethernet", "NXM_NX_ND_TLL", [basic(33), nxm1(25)], { prerequisite: "nd_advert" }),
  row("nd_reserved", 32, "decimal", "ERICOXM_OF_ICMPV6_ND_RESERVED", [ericsson(1)], {
    ...EXACT,
    prerequisite: "nd",
  }),
  row("nd_options_type", 8, "decimal", "ERICOXM_OF_ICMPV6_ND_OPTIONS_TYPE", [ericsson(2)], {
    ...EXACT,
    prerequisite: "nd",
  }),
  row("tcp_src", 16, "decimal", "NXM_OF_TCP_SRC", [basic(13), nxm0(9)], {
    prerequisite: "tcp",
    text: "tp_src",
    aliases: ["tcp_src"],
  }),
  row("tcp_dst", 16, "decimal", "NXM_OF_TCP_DST", [basic(14), nxm0(10)], {
    prerequisite: "tcp",
    text: "tp_dst",
    aliases: ["tcp_dst"],
  }),
  row("udp_src", 16, "decimal", "NXM_OF_UDP_SRC", [basic(15), nxm0(11)], {
    prerequisite: "udp",
    text: "tp_src",
    aliases: ["udp_src"],
  }),
  row("udp_dst", 16, "decimal", "NXM_OF_UDP_DST", [basic(16), nxm0(12)], {
    prerequisite: "udp",
    text: "tp_dst",
    aliases: ["udp_dst"],
  }),
  row("sctp_src", 16, "decimal", "OXM_OF_SCTP_SRC", [basic(17)], {
    prerequisite: "sctp",
    text: "tp_src",
    aliases: ["sctp_src"],
  }),
  row("sctp_dst", 16, "decimal", "OXM_OF_SCTP_DST", [basic(18)], {
    prerequisite: "sctp",
    text: "tp_dst",
    aliases: ["sctp_dst"],
  }),
  row("tcp_flags", 12, "tcp_flags", "NXM_NX_TCP_FLAGS", [basic(42), nxm1(34), onf(42)], {
    ...RO,
    prerequisite: "tcp",
  }),
] as const;

type Row = (typeof fieldRows)[number];
/** 0 to N-1. The result is carried along, which keeps the recursion of the type flat. */
type Below<N extends number, Seen extends readonly unknown[] = [], Out = never> = Seen["length"] extends N
  ? Out
  : Below<N, readonly [...Seen, unknown], Out | Seen["length"]>;
type NameOf<R> = R extends { readonly name: infer N extends string; readonly count: infer C extends number }
  ? `${N}${Below<C> & number}`
  : R extends { readonly name: infer N extends string }
    ? N
    : never;

/** Every field this codec knows, numbered ones included: `"in_port"`, `"reg0"`, ... */
export type FieldName = NameOf<Row>;

/** A single field with everything about it worked out. */
export interface Field extends FieldRow {
  readonly name: FieldName;
  /** Place in the table: the order of canonical matches. */
  readonly order: number;
  /** The 32-bit header without mask (OpenFlow 1.5 section 7.2.3.2), its length byte being `bytes` (and 4 of a vendor). */
  readonly header: number;
  readonly vendor: number | undefined;
  /** All bits of the field. */
  readonly full: bigint;
}

function headerNumber(header: FieldHeader, bytes: number, offset: number): number {
  const length = header[2] === undefined ? bytes : bytes + 4;
  return ((header[0] << 16) | ((header[1] + offset) << 9) | length) >>> 0;
}

const byName = new Map<string, Field>();
const byHeader = new Map<number, Field>();
const byVendorHeader = new Map<string, Field>();

/** Class and number only: neither the mask bit nor the length. */
function headerKey(header: number): number {
  return header >>> 9;
}

for (const declared of fieldRows as readonly FieldRow[]) {
  for (let i = 0; i < (declared.count ?? 1); i++) {
    const name = (declared.count === undefined ? declared.name : `${declared.name}${i}`) as FieldName;
    const field: Field = {
      ...declared,
      name,
      nxm: declared.count === undefined ? declared.nxm : `${declared.nxm}${i}`,
      order: byName.size,
      header: headerNumber(declared.headers[0]!, declared.bytes, i),
      vendor: declared.headers[0]![2],
      full: (1n << BigInt(declared.bits)) - 1n,
    };
    byName.set(name, field);
    for (const header of declared.headers) {
      const key = headerKey(headerNumber(header, declared.bytes, i));
      if (header[2] === undefined) byHeader.set(key, field);
      else byVendorHeader.set(`${key}/${header[2]}`, field);
    }
  }
}

/** All fields in table order, numbered ones one by one. */
export const fields: readonly Field[] = [...byName.values()];

/** Everything about a field that is known to exist. */
export function fieldByName(name: FieldName): Field {
  return byName.get(name)!;
}

/** The field of a name that comes from outside, or undefined. */
export function findField(name: string): Field | undefined {
  return byName.get(name);
}

/** The field of a 32-bit OXM/NXM header, whatever its mask bit and length; `vendor` follows an experimenter header. */
export function fieldByHeader(header: number, vendor?: number): Field | undefined {
  return vendor === undefined ? byHeader.get(headerKey(header)) : byVendorHeader.get(`${headerKey(header)}/${vendor}`);
}

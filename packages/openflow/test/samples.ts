/** One sample of every form of action, and of every field with what must be matched beside it. */
import { fields } from "../src/index.ts";
import type { Action, Field, FieldName, MatchField } from "../src/index.ts";

function field(name: FieldName, value: bigint, mask?: bigint): MatchField {
  return mask === undefined ? { field: name, value } : { field: name, value, mask };
}

export const ipv4 = field("eth_type", 0x800n);
export const ipv6 = field("eth_type", 0x86ddn);
const icmp6 = [ipv6, field("ip_proto", 58n)];
/** Tracked and new: conntrack knows the original tuple. */
export const tracked = field("ct_state", 0x21n, 0x21n);

/** Matches without which a switch refuses the field. */
export function prerequisites(of: Field): readonly MatchField[] {
  switch (of.prerequisite) {
    case "none":
      return [];
    case "ip":
    case "ipv4":
      return [ipv4];
    case "ipv6":
      return [ipv6];
    case "arp":
      return [field("eth_type", 0x806n)];
    case "tcp":
      return [ipv4, field("ip_proto", 6n)];
    case "udp":
      return [ipv4, field("ip_proto", 17n)];
    case "sctp":
      return [ipv6, field("ip_proto", 132n)];
    case "icmp4":
      return [ipv4, field("ip_proto", 1n)];
    case "icmp6":
      return icmp6;
    case "nd":
    case "nd_solicit":
      return [...icmp6, field("icmpv6_type", 135n), field("icmpv6_code", 0n)];
    case "nd_advert":
      return [...icmp6, field("icmpv6_type", 136n), field("icmpv6_code", 0n)];
    case "vlan":
      return [field("vlan_vid", 0x1000n, 0x1000n)];
    case "mpls":
      return [field("eth_type", 0x8847n)];
    case "ct":
      if (of.name.startsWith("ct_tp")) return [tracked, ipv4, field("ct_nw_proto", 6n)];
      return [tracked, of.name.startsWith("ct_ipv6") ? ipv6 : ipv4];
  }
}

/** A value with its highest and lowest bit set, as far as the field allows any. */
export function sampleValue(of: Field): bigint {
  switch (of.name) {
    case "eth_type":
      return 0x0800n;
    case "ct_state":
      return 0x21n;
    case "vlan_vid":
      return 0x1000n | 0x801n;
    case "nd_options_type":
      return 2n;
    case "in_port":
    case "actset_output":
      return 2n;
    case "ip_frag":
      return 1n;
    case "mpls_bos":
    case "tun_flags":
      return 1n;
    case "arp_op":
      return 2n;
    case "packet_type":
      return 0n;
    default:
      return of.variable === true ? 0x8000_0001n : (1n << BigInt(of.bits - 1)) | 1n;
  }
}

export function sampleMask(of: Field): bigint {
  switch (of.name) {
    case "vlan_vid":
      return 0x1fffn & ~0x10n;
    case "ct_state":
      return 0x23n;
    case "ip_frag":
      return 1n;
    case "tun_flags":
      return 1n;
    default:
      return of.variable === true ? 0xf000_000fn : of.full ^ ((1n << BigInt(of.bits - 1)) >> 1n);
  }
}

export const singleFields: readonly Field[] = fields;

/** Every form of every action that a switch with ports 1 and 2, meter 1 and group 1 accepts; wants IPv4 TCP. */
export const sampleActions: readonly (readonly [string, Action])[] = [
  ["output", { type: "output", port: 2 }],
  ["output to the controller, cut", { type: "output", port: 0xffff_fffd, maxLen: 128 }],
  ["output to the controller", { type: "output", port: 0xffff_fffd }],
  ["output to the in-port", { type: "output", port: 0xffff_fff8 }],
  ["output to local", { type: "output", port: 0xffff_fffe }],
  ["normal", { type: "output", port: 0xffff_fffa }],
  ["output to a register", { type: "output_reg", src: { field: "reg3", offset: 0, bits: 16 } }],
  ["output to a register, cut", { type: "output_reg", src: { field: "reg3", offset: 0, bits: 32 }, maxLen: 64 }],
  ["group", { type: "group", group: 1 }],
  ["meter", { type: "meter", meter: 1 }],
  ["set a field", { type: "set_field", field: "eth_dst", value: 0x0a58_0000_0001n }],
  ["set part of a field", { type: "set_field", field: "ip_src", value: 0x0a00_0000n, mask: 0xff00_0000n }],
  ["set a tunnel field", { type: "set_field", field: "tun_dst", value: 0x0a0a_000bn }],
  ["load", { type: "load", dst: { field: "reg5", offset: 0, bits: 32 }, value: 0xeen }],
  ["load a slice", { type: "load", dst: { field: "reg9", offset: 4, bits: 3 }, value: 5n }],
  ["load a wide register", { type: "load", dst: { field: "xxreg1", offset: 64, bits: 64 }, value: 1n }],
  [
    "move",
    { type: "move", src: { field: "eth_src", offset: 0, bits: 48 }, dst: { field: "eth_dst", offset: 0, bits: 48 } },
  ],
  [
    "move slices",
    { type: "move", src: { field: "ip_src", offset: 8, bits: 8 }, dst: { field: "reg1", offset: 16, bits: 8 } },
  ],
  ["push_vlan", { type: "push_vlan", ethertype: 0x8100 }],
  ["pop_vlan", { type: "pop_vlan" }],
  ["dec_ttl", { type: "dec_ttl" }],
  ["set_queue", { type: "set_queue", queue: 7 }],
  ["resubmit a port", { type: "resubmit", port: 1 }],
  ["resubmit a table", { type: "resubmit", table: 9 }],
  ["resubmit both", { type: "resubmit", port: 2, table: 9 }],
  ["resubmit the tracked tuple", { type: "resubmit", table: 9, ct: true }],
  ["controller", { type: "controller", maxLen: 100, controllerId: 3, reason: "invalid_ttl" }],
  ["controller with userdata", { type: "controller", userdata: Uint8Array.of(1, 2, 3, 4, 5) }],
  [
    "controller with everything",
    {
      type: "controller",
      maxLen: 256,
      controllerId: 1,
      reason: "no_match",
      userdata: Uint8Array.of(0xff),
      pause: true,
      meterId: 5,
    },
  ],
  ["controller that pauses", { type: "controller", pause: true }],
  ["ct", { type: "ct" }],
  ["ct into a table", { type: "ct", table: 4, zone: 7 }],
  ["ct in a register's zone", { type: "ct", table: 4, zone: { field: "reg0", offset: 16, bits: 16 } }],
  ["ct commit, forced", { type: "ct", commit: true, force: true, zone: 65_535, alg: 21 }],
  [
    "ct commit with mark and label",
    {
      type: "ct",
      commit: true,
      zone: 1,
      table: 5,
      actions: [
        { type: "set_field", field: "ct_mark", value: 5n },
        { type: "set_field", field: "ct_label", value: 1n << 127n, mask: 3n << 126n },
        { type: "move", src: { field: "reg4", offset: 0, bits: 32 }, dst: { field: "ct_label", offset: 32, bits: 32 } },
      ],
    },
  ],
  ["ct nat", { type: "ct", table: 6, actions: [{ type: "nat" }] }],
  [
    "ct snat to one address",
    { type: "ct", commit: true, actions: [{ type: "nat", direction: "src", ipv4: { min: 0x0a00_0001n } }] },
  ],
  [
    "ct snat to ranges",
    {
      type: "ct",
      commit: true,
      actions: [
        {
          type: "nat",
          direction: "src",
          persistent: true,
          hash: true,
          ipv4: { min: 0x0a00_0001n, max: 0x0a00_00ffn },
          ports: { min: 1024, max: 65_535 },
        },
      ],
    },
  ],
  [
    "ct dnat to a port",
    {
      type: "ct",
      commit: true,
      actions: [{ type: "nat", direction: "dst", random: true, ipv4: { min: 0x0a00_0001n }, ports: { min: 80 } }],
    },
  ],
  ["ct_clear", { type: "ct_clear" }],
  ["check_pkt_larger", { type: "check_pkt_larger", length: 1450, dst: { field: "reg9", offset: 3, bits: 1 } }],
  ["note", { type: "note", bytes: Uint8Array.of(1, 2, 3) }],
  ["long note", { type: "note", bytes: Uint8Array.from({ length: 20 }, (_, i) => i + 1) }],
  ["stack_push", { type: "stack_push", src: { field: "reg2", offset: 3, bits: 7 } }],
  ["stack_pop", { type: "stack_pop", dst: { field: "metadata", offset: 8, bits: 16 } }],
  [
    "clone",
    {
      type: "clone",
      actions: [
        { type: "set_field", field: "reg1", value: 1n },
        { type: "clone", actions: [{ type: "output", port: 1 }] },
        { type: "output", port: 2 },
      ],
    },
  ],
  [
    "learn",
    {
      type: "learn",
      learn: {
        table: 12,
        hardTimeout: 60,
        priority: 77,
        cookie: 0x1234n,
        flags: 1,
        specs: [
          {
            kind: "match",
            src: { field: "eth_src", offset: 0, bits: 48 },
            dst: { field: "eth_dst", offset: 0, bits: 48 },
          },
          { kind: "match", src: 0x0800n, dst: { field: "eth_type", offset: 0, bits: 16 } },
          { kind: "load", src: 5n, dst: { field: "reg1", offset: 0, bits: 3 } },
          {
            kind: "load",
            src: { field: "in_port_nxm", offset: 0, bits: 16 },
            dst: { field: "reg0", offset: 0, bits: 16 },
          },
          { kind: "output", src: { field: "in_port_nxm", offset: 0, bits: 16 } },
        ],
      },
    },
  ],
];

/**
 * The values that the codec reads and writes. Plain data, no classes: a message built by the datapath, one decoded from
 * the wire and one parsed from `ovs-ofctl` text are the same shape and compare with `deepStrictEqual`.
 *
 * All integers that may exceed 32 bits, and every match field whatever its width, are `bigint`.
 */
import type { FieldName } from "./tables/fields.ts";

/** One OXM/NXM match field. `mask` is absent when every bit is compared. */
export interface MatchField {
  readonly field: FieldName;
  readonly value: bigint;
  readonly mask?: bigint;
}

/** A field this codec does not know: kept byte for byte (header as on the wire, with its mask bit and length). */
export interface UnknownMatchField {
  readonly field: "unknown";
  readonly header: number;
  readonly experimenter?: number;
  readonly bytes: Uint8Array;
}

export type Match = readonly (MatchField | UnknownMatchField)[];

/** `field[offset..offset+bits-1]`, as in `NXM_NX_REG0[0..15]`. */
export interface FieldSlice {
  readonly field: FieldName;
  readonly offset: number;
  readonly bits: number;
}

export type PortNumber = number;

/** A contiguous range of ports or addresses in a `nat` action; `max` absent means a single value. */
export interface NatRange<T> {
  readonly min: T;
  readonly max?: T;
}

export type Action =
  | { readonly type: "output"; readonly port: PortNumber; readonly maxLen?: number }
  | { readonly type: "output_reg"; readonly src: FieldSlice; readonly maxLen?: number }
  | { readonly type: "group"; readonly group: number }
  | { readonly type: "meter"; readonly meter: number }
  | { readonly type: "set_field"; readonly field: FieldName; readonly value: bigint; readonly mask?: bigint }
  | { readonly type: "load"; readonly dst: FieldSlice; readonly value: bigint }
  | { readonly type: "move"; readonly src: FieldSlice; readonly dst: FieldSlice }
  | { readonly type: "push_vlan"; readonly ethertype: number }
  | { readonly type: "pop_vlan" }
  | { readonly type: "dec_ttl" }
  | { readonly type: "set_queue"; readonly queue: number }
  /** `port` absent: the packet's in_port. `ct: true`: match the original direction's tuple (resubmit(,T,ct)). */
  | { readonly type: "resubmit"; readonly port?: PortNumber; readonly table?: number; readonly ct?: boolean }
  | {
      readonly type: "controller";
      readonly maxLen?: number;
      readonly controllerId?: number;
      readonly reason?: PacketInReason;
      readonly userdata?: Uint8Array;
      readonly pause?: boolean;
      readonly meterId?: number;
    }
  | {
      readonly type: "ct";
      readonly commit?: boolean;
      readonly force?: boolean;
      /** A zone number or the field that holds it; absent is zone 0. */
      readonly zone?: number | FieldSlice;
      readonly table?: number;
      readonly alg?: number;
      /** Only `nat`, `load`, `set_field` and `move` are accepted by the switch. */
      readonly actions?: readonly Action[];
    }
  | {
      readonly type: "nat";
      readonly direction?: "src" | "dst";
      readonly persistent?: boolean;
      readonly hash?: boolean;
      readonly random?: boolean;
      readonly ipv4?: NatRange<bigint>;
      readonly ipv6?: NatRange<bigint>;
      readonly ports?: NatRange<number>;
    }
  | { readonly type: "ct_clear" }
  | { readonly type: "check_pkt_larger"; readonly length: number; readonly dst: FieldSlice }
  | { readonly type: "conjunction"; readonly id: number; readonly clause: number; readonly clauses: number }
  | { readonly type: "note"; readonly bytes: Uint8Array }
  | { readonly type: "delete_field"; readonly field: FieldName }
  | { readonly type: "stack_push"; readonly src: FieldSlice }
  | { readonly type: "stack_pop"; readonly dst: FieldSlice }
  | { readonly type: "clone"; readonly actions: readonly Action[] }
  | { readonly type: "learn"; readonly learn: LearnSpec }
  /** An action this codec does not know: the whole action, header included, as on the wire. */
  | { readonly type: "unknown"; readonly bytes: Uint8Array };

export interface LearnSpec {
  readonly idleTimeout?: number;
  readonly hardTimeout?: number;
  readonly priority?: number;
  readonly cookie?: bigint;
  readonly flags?: number;
  readonly table: number;
  readonly finIdleTimeout?: number;
  readonly finHardTimeout?: number;
  readonly specs: readonly (
    | { readonly kind: "match"; readonly src: FieldSlice | bigint; readonly dst: FieldSlice }
    | { readonly kind: "load"; readonly src: FieldSlice | bigint; readonly dst: FieldSlice }
    | { readonly kind: "output"; readonly src: FieldSlice }
  )[];
}

export type Instruction =
  | { readonly type: "apply_actions"; readonly actions: readonly Action[] }
  | { readonly type: "write_actions"; readonly actions: readonly Action[] }
  | { readonly type: "clear_actions" }
  | { readonly type: "write_metadata"; readonly value: bigint; readonly mask: bigint }
  | { readonly type: "meter"; readonly meter: number }
  | { readonly type: "goto_table"; readonly table: number }
  | { readonly type: "unknown"; readonly bytes: Uint8Array };

export type PacketInReason =
  | "no_match"
  | "action"
  | "invalid_ttl"
  | "action_set"
  | "group"
  | "packet_out"
  | { readonly unknown: number };

export type FlowModCommand = "add" | "modify" | "modify_strict" | "delete" | "delete_strict";

export type FlowFlag = "send_flow_rem" | "check_overlap" | "reset_counts" | "no_pkt_counts" | "no_byt_counts";

/** One entry as the datapath thinks of it; a flow-mod is this plus a command. */
export interface Flow {
  readonly table: number;
  readonly priority: number;
  readonly cookie: bigint;
  readonly match: Match;
  readonly instructions: readonly Instruction[];
  readonly idleTimeout?: number;
  readonly hardTimeout?: number;
  readonly flags?: readonly FlowFlag[];
}

/** Numbers that several tables share: vendors, reserved ports, reasons. */
import type { PacketInReason } from "../model.ts";
import type { Codec } from "../schema.ts";

export const NICIRA = 0x0000_2320;
/** Type of every vendor's action, error and field class. */
export const EXPERIMENTER = 0xffff;

/** Reserved port numbers (OpenFlow 1.5 section 7.2.1, enum ofp_port_no) and their names in ovs-ofctl. */
export const reservedPorts = {
  UNSET: 0xffff_fff7,
  IN_PORT: 0xffff_fff8,
  TABLE: 0xffff_fff9,
  NORMAL: 0xffff_fffa,
  FLOOD: 0xffff_fffb,
  ALL: 0xffff_fffc,
  CONTROLLER: 0xffff_fffd,
  LOCAL: 0xffff_fffe,
  ANY: 0xffff_ffff,
} as const;

/** Why a packet came to the controller (OpenFlow 1.5 section 7.4.1). */
export const packetInReasons: readonly PacketInReason[] = [
  "no_match",
  "action",
  "invalid_ttl",
  "action_set",
  "group",
  "packet_out",
];

export const packetInReason: Codec<PacketInReason> = {
  decode(r) {
    const number = r.u8();
    return packetInReasons[number] ?? { unknown: number };
  },
  encode(w, reason) {
    w.u8(typeof reason === "string" ? packetInReasons.indexOf(reason) : reason.unknown);
  },
};

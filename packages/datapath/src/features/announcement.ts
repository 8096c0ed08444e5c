/**
 * Addresses that pods pass on among themselves: whoever announced one last has it. What pods, and machines on a wire, say
 * about such an address is shown to the agent, which makes it the pod's that said so last.
 */
import type { Action } from "@beyondfabric/openflow";
import { cidrContains, parsePacket, type Cidr, type Ip, type Mac } from "@beyondfabric/packet";
import { neighbourAdvertisement } from "../match.ts";

/** Meter of what the agent is shown, of all ports together. */
export const announcementMeter = 93;

/** `userdata`: one byte kind (5), one byte format (1). */
const announcementUserdata = Uint8Array.of(5, 1);

/** Whether a packet-in shows what somebody says about an address that pods pass on. */
export function isAnnouncement(userdata: Uint8Array): boolean {
  return userdata.length === 2 && userdata[0] === 5 && userdata[1] === 1;
}

/** What an entry does to show a packet; it may go on. */
export function showAnnouncement(metered: boolean): Action[] {
  const meter: Action[] = metered ? [{ type: "meter", meter: announcementMeter }] : [];
  return [...meter, { type: "controller", userdata: announcementUserdata }];
}

export interface Announcement {
  readonly address: Ip;
  readonly mac: Mac;
  /** The sender says that it has the address; otherwise it only sends from it. */
  readonly isStatement: boolean;
}

/** What a frame says about an address of the prefixes; undefined when it is about none of them. */
export function announcementIn(frame: Uint8Array, prefixes: readonly Cidr[]): Announcement | undefined {
  const packet = parsePacket(frame);
  const advertises = packet.ipVersion === 6 && packet.icmpType === neighbourAdvertisement;
  const isStatement = packet.arpOp !== -1 || advertises;
  const address = packet.arpOp !== -1 ? packet.arpSpa : advertises ? packet.ndTarget : packet.ipSrc;
  if (address === "" || !prefixes.some((prefix) => cidrContains(prefix, address))) return undefined;
  return { address, mac: packet.ethSrc, isStatement };
}

/** Where a packet pauses while the agent decides. */
import type { Action, Flow } from "@beyondfabric/openflow";
import { inPort } from "../match.ts";
import { defineFlow, tables } from "../pipeline.ts";
import { lookAtMark, markMissTaken, missNotYetTaken, presetVerdict } from "../registers.ts";

/**
 * The entry that a packet meets when no verdict about it is known. It passes the port's meter first: a meter named
 * inside `controller()` does nothing before OVS 3.4.
 */
export function missFlow(table: "egress" | "ingress", port: number, metered: boolean, cookie: bigint): Flow {
  const meter: Action[] = metered ? [{ type: "meter", meter: port }] : [];
  return defineFlow({
    table,
    priority: 10,
    cookie,
    match: [inPort(port), missNotYetTaken],
    actions: [
      ...meter,
      lookAtMark("ask"),
      ...presetVerdict,
      { type: "controller", pause: true, userdata: missUserdata(port) },
      markMissTaken,
      { type: "resubmit", table: tables.commit.id },
    ],
  });
}

/** `userdata` of a miss: one byte kind (1), one byte format (1), four bytes port number, big-endian. */
export function missUserdata(port: number): Uint8Array {
  const bytes = new Uint8Array(6);
  bytes[0] = 1;
  bytes[1] = 1;
  new DataView(bytes.buffer).setUint32(2, port);
  return bytes;
}

/** The port number in the userdata of a miss of ours, or undefined when the packet-in is something else. */
export function missPort(userdata: Uint8Array): number | undefined {
  if (userdata.length !== 6 || userdata[0] !== 1 || userdata[1] !== 1) return undefined;
  return new DataView(userdata.buffer, userdata.byteOffset, userdata.byteLength).getUint32(2);
}

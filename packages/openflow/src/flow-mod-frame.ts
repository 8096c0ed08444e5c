/** Flow-mods as frames, many a second: one writer for all of them. */
import { writeHeader } from "./codec.ts";
import type { Flow, FlowModCommand } from "./model.ts";
import { encodeFlowMod } from "./tables/messages.ts";
import { Writer } from "./wire.ts";

const FLOW_MOD = 14;
const writer = new Writer(4096);

/**
 * The frame of one flow-mod. For the delete commands `cookieMask` says which bits of the flow's cookie select.
 * @throws OpenFlowEncodeError when the flow has no encoding.
 */
export function flowModFrame(command: FlowModCommand, flow: Flow, xid: number, cookieMask = 0n): Buffer {
  writer.reset();
  writeHeader(writer, FLOW_MOD, xid);
  encodeFlowMod(writer, cookieMask === 0n ? { command, flow } : { command, flow, cookieMask });
  writer.patchU16(2, writer.length);
  return writer.finish();
}

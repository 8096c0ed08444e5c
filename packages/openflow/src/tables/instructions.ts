/** Every instruction, one row each: OpenFlow 1.5 section 7.2.5. */
import { OpenFlowDecodeError } from "../errors.ts";
import type { Instruction } from "../model.ts";
import { field, list, pad, struct, u32, u64, u8 } from "../schema.ts";
import type { Codec } from "../schema.ts";
import type { Reader, Writer } from "../wire.ts";
import { actions } from "./actions.ts";

type InstructionType = Instruction["type"];
type InstructionOf<T extends InstructionType> = Extract<Instruction, { readonly type: T }>;

interface InstructionRow {
  readonly type: InstructionType;
  readonly code: number;
  readonly body: Codec<object>;
}

function row<const T extends InstructionType>(
  type: T,
  code: number,
  body: Codec<Omit<InstructionOf<T>, "type">>,
): InstructionRow {
  return { type, code, body };
}

const rows: readonly InstructionRow[] = [
  row("goto_table", 1, struct(field("table", u8), pad(3))),
  row("write_metadata", 2, struct(pad(4), field("value", u64), field("mask", u64))),
  row("write_actions", 3, struct(pad(4), field("actions", actions))),
  row("apply_actions", 4, struct(pad(4), field("actions", actions))),
  row("clear_actions", 5, struct(pad(4))),
  row("meter", 6, struct(field("meter", u32))),
];

const byCode = new Map(rows.map((r) => [r.code, r]));
const byType = new Map(rows.map((r) => [r.type, r]));

function decodeInstruction(r: Reader): Instruction {
  const start = r.offset;
  const code = r.peekU16();
  const size = r.peekU16(2);
  if (size < 8 || size % 8 !== 0) throw new OpenFlowDecodeError(`an instruction of ${size} bytes at byte ${start}`);
  const body = r.sub(size);
  const known = byCode.get(code);
  if (known === undefined) return { type: "unknown", bytes: body.rest() };
  body.skip(4);
  return Object.assign({ type: known.type }, known.body.decode(body)) as unknown as Instruction;
}

function encodeInstruction(w: Writer, instruction: Instruction): void {
  if (instruction.type === "unknown") {
    w.raw(instruction.bytes);
    return;
  }
  const known = byType.get(instruction.type)!;
  const start = w.length;
  w.u16(known.code);
  w.u16(0);
  known.body.encode(w, instruction);
  w.patchU16(start + 2, w.length - start);
}

/** Instructions one after the other until the range ends. */
export const instructions: Codec<readonly Instruction[]> = list({
  decode: decodeInstruction,
  encode: encodeInstruction,
});

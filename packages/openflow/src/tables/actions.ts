/**
 * Every action, one row for each of its forms on the wire: OpenFlow 1.5 section 7.2.6 and the Nicira extensions. What has
 * no row, or names a field that has none, is kept as `unknown` with all its bytes.
 *
 * OpenFlow 1.5 switches refuse the old `load` and `move` of Nicira: `load` is written as a masked set-field and comes
 * back as one, `move` as copy-field.
 */
import { OpenFlowDecodeError } from "../errors.ts";
import type { Action } from "../model.ts";
import { field, list, optional, pad, struct, u16, u32 } from "../schema.ts";
import type { Codec } from "../schema.ts";
import type { Reader, Writer } from "../wire.ts";
import { fieldByName } from "./fields.ts";
import { NICIRA, EXPERIMENTER, reservedPorts } from "./numbers.ts";
import {
  UnknownPart,
  outputBody,
  setFieldBody,
  copyFieldBody,
  resubmitTable,
  controller2Body,
  controllerBody,
  natBody,
  outputRegBody,
  outputReg2Body,
  checkPktLargerBody,
  deleteFieldBody,
  learnBody,
  noteBody,
  ctBody,
  cloneBody,
  isPlainController,
  stackBody,
  nothing,
  loadAsSetField,
  port16,
} from "./action-bodies.ts";
import type { ActionType, ActionOf, BodyOf } from "./action-bodies.ts";

/** One form of an action on the wire. */
interface ActionRow {
  readonly type: ActionType;
  /** The standard action's number, or the subtype of Nicira's. */
  readonly code: number;
  readonly vendor?: number;
  /** Several forms of one action: the first whose `when` agrees is written. */
  readonly when?: (action: Action) => boolean;
  readonly decode: (r: Reader) => Action;
  readonly encode: (w: Writer, action: Action) => void;
}

function row<const T extends ActionType>(
  type: T,
  code: number,
  vendor: number | undefined,
  body: Codec<BodyOf<T>>,
  when?: (action: ActionOf<T>) => boolean,
): ActionRow {
  return {
    type,
    code,
    ...(vendor === undefined ? {} : { vendor }),
    ...(when === undefined ? {} : { when: when as (action: Action) => boolean }),
    decode: (r) => Object.assign({ type }, body.decode(r)) as unknown as Action,
    encode: (w, action) => body.encode(w, action as ActionOf<T>),
  };
}

function standard<const T extends ActionType>(type: T, code: number, body: Codec<BodyOf<T>>): ActionRow {
  return row(type, code, undefined, body);
}

function nicira<const T extends ActionType>(
  type: T,
  subtype: number,
  body: Codec<BodyOf<T>>,
  when?: (action: ActionOf<T>) => boolean,
): ActionRow {
  return row(type, subtype, NICIRA, body, when);
}

/** The list of actions inside of another: the codec at the end of this file, which these rows make. */
const nested: Codec<readonly Action[]> = {
  decode: (r) => actions.decode(r),
  encode: (w, list) => actions.encode(w, list),
};

const rows: readonly ActionRow[] = [
  standard("output", 0, outputBody),
  standard("push_vlan", 17, struct(field("ethertype", u16), pad(2))),
  standard("pop_vlan", 18, nothing(4)),
  standard("set_queue", 21, struct(field("queue", u32))),
  standard("group", 22, struct(field("group", u32))),
  standard("dec_ttl", 24, nothing(4)),
  standard("set_field", 25, setFieldBody),
  standard("move", 28, copyFieldBody),
  standard("meter", 29, struct(field("meter", u32))),
  nicira("resubmit", 1, struct(optional("port", port16, reservedPorts.IN_PORT as number), pad(4)), (action) => {
    return action.table === undefined && action.ct !== true;
  }),
  nicira("resubmit", 14, resubmitTable, (action) => action.ct !== true),
  nicira("resubmit", 44, {
    decode: (r) => ({ ...resubmitTable.decode(r), ct: true }),
    encode: (w, action) => resubmitTable.encode(w, action),
  }),
  nicira("note", 8, noteBody),
  nicira("output_reg", 15, outputRegBody, (action) => fieldByName(action.src.field).vendor === undefined),
  nicira("output_reg", 32, outputReg2Body),
  nicira("learn", 16, learnBody),
  nicira("controller", 20, controllerBody, isPlainController),
  nicira("controller", 37, controller2Body),
  nicira("stack_push", 27, stackBody("src")),
  nicira("stack_pop", 28, stackBody("dst")),
  nicira("conjunction", 34, {
    decode: (r) => {
      const clause = r.u8() + 1;
      const clauses = r.u8();
      return { id: r.u32(), clause, clauses };
    },
    encode(w, { id, clause, clauses }) {
      w.u8(clause - 1);
      w.u8(clauses);
      w.u32(id);
    },
  }),
  nicira("ct", 35, ctBody(nested)),
  nicira("nat", 36, natBody),
  nicira("clone", 42, cloneBody(nested)),
  nicira("ct_clear", 43, nothing(6)),
  nicira("check_pkt_larger", 49, checkPktLargerBody),
  nicira("delete_field", 50, deleteFieldBody),
];

const standardByCode = new Map(rows.filter((r) => r.vendor === undefined).map((r) => [r.code, r]));
const niciraBySubtype = new Map(rows.filter((r) => r.vendor === NICIRA).map((r) => [r.code, r]));
const rowsByType = new Map<ActionType, readonly ActionRow[]>();
for (const r of rows) rowsByType.set(r.type, [...(rowsByType.get(r.type) ?? []), r]);

function decodeAction(r: Reader): Action {
  const start = r.offset;
  const code = r.peekU16();
  const size = r.peekU16(2);
  if (size < 8 || size % 8 !== 0) throw new OpenFlowDecodeError(`an action of ${size} bytes at byte ${start}`);
  const body = r.sub(size);
  body.skip(4);
  let known = standardByCode.get(code);
  if (code === EXPERIMENTER) {
    const vendor = body.u32();
    known = vendor === NICIRA && size >= 16 ? niciraBySubtype.get(body.u16()) : undefined;
  }
  if (known !== undefined) {
    try {
      return known.decode(body);
    } catch (error) {
      if (!(error instanceof UnknownPart)) throw error;
    }
  }
  const again = r.bytes.subarray(start, start + size);
  return { type: "unknown", bytes: Uint8Array.from(again) };
}

function encodeAction(w: Writer, given: Action): void {
  if (given.type === "unknown") {
    w.raw(given.bytes);
    return;
  }
  const action = given.type === "load" ? loadAsSetField(given) : given;
  const forms = rowsByType.get(action.type)!;
  const form = forms.find((candidate) => candidate.when === undefined || candidate.when(action))!;
  const start = w.length;
  w.u16(form.vendor === undefined ? form.code : EXPERIMENTER);
  w.u16(0);
  if (form.vendor !== undefined) {
    w.u32(form.vendor);
    w.u16(form.code);
  }
  form.encode(w, action);
  w.align(start, 8);
  w.patchU16(start + 2, w.length - start);
}

export const action: Codec<Action> = { decode: decodeAction, encode: encodeAction };

/** Actions one after the other until the range ends. */
export const actions: Codec<readonly Action[]> = list(action);

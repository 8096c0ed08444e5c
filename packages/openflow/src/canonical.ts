/**
 * The one form of a flow that what is wanted and what a switch reports have in common: a switch gives back loads as
 * masked set-fields, pairs of registers as packet registers, and leaves out what says nothing.
 */
import type { Action, Flow, Instruction, Match, MatchField, UnknownMatchField } from "./model.ts";
import { loadAsSetField, withoutDefaults } from "./tables/action-bodies.ts";
import { reservedPorts } from "./tables/numbers.ts";
import { fieldByName } from "./tables/fields.ts";
import type { FieldName } from "./tables/fields.ts";

/** Registers that are views of the 32-bit ones: how many of them each covers. */
const WIDE = [
  ["xxreg", 4],
  ["xreg", 2],
] as const;

/**
 * Sorted by field, wide registers split into `reg0` to `reg15`, values under their masks, full masks and empty fields
 * left out.
 */
export function canonicalMatch(match: Match): Match {
  const known = new Map<FieldName, MatchField>();
  const unknown: UnknownMatchField[] = [];
  for (const entry of match) {
    if (entry.field === "unknown") unknown.push(entry);
    else for (const part of splitRegisters(entry)) addField(known, part);
  }
  const sorted = [...known.values()].sort((a, b) => fieldByName(a.field).order - fieldByName(b.field).order);
  return [...sorted, ...unknown.sort((a, b) => a.header - b.header)];
}

/** Adds one comparison; of two that name the same field, as wide and narrow registers may, both hold. */
function addField(known: Map<FieldName, MatchField>, entry: MatchField): void {
  const { field } = entry;
  const { full, variable, significant = full } = fieldByName(field);
  let mask = (entry.mask ?? full) & significant;
  if (mask === 0n) return;
  let value = entry.value & mask;
  const before = known.get(field);
  if (before !== undefined) {
    const beforeMask = before.mask ?? significant;
    value |= before.value & ~mask & beforeMask;
    mask |= beforeMask;
  }
  const exact = variable === true ? entry.mask === undefined : mask === significant;
  known.set(field, exact ? { field, value } : { field, value, mask });
}

function splitRegisters(entry: MatchField): readonly MatchField[] {
  for (const [prefix, width] of WIDE) {
    if (!entry.field.startsWith(prefix)) continue;
    const first = Number(entry.field.slice(prefix.length)) * width;
    const { full } = fieldByName(entry.field);
    const parts: MatchField[] = [];
    for (let i = 0; i < width; i++) {
      const shift = BigInt((width - 1 - i) * 32);
      const cut = (bits: bigint): bigint => BigInt.asUintN(32, bits >> shift);
      parts.push({
        field: `reg${first + i}` as FieldName,
        value: cut(entry.value),
        mask: cut(entry.mask ?? full),
      });
    }
    return parts;
  }
  return [entry];
}

/** Loads as set-fields, defaults left out, notes as long as the switch pads them. */
export function canonicalActions(actions: readonly Action[]): readonly Action[] {
  return actions.map(canonicalAction);
}

function canonicalAction(action: Action): Action {
  switch (action.type) {
    case "load":
      return loadAsSetField(action);
    case "set_field": {
      const { field, value, mask } = action;
      if (mask === undefined || mask === fieldByName(field).full) return { type: "set_field", field, value };
      return { type: "set_field", field, value: value & mask, mask };
    }
    case "controller":
      return withoutDefaults(action);
    case "resubmit":
      return withDefaultsDropped(action, [
        ["port", reservedPorts.IN_PORT],
        ["table", 0xff],
        ["ct", false],
      ]);
    case "output":
      return withDefaultsDropped(action, [["maxLen", action.port === reservedPorts.CONTROLLER ? 0xffff : 0]]);
    case "output_reg":
      return withDefaultsDropped(action, [["maxLen", 0xffff]]);
    case "ct": {
      const ct = withDefaultsDropped(action, [
        ["commit", false],
        ["force", false],
        ["zone", 0],
        ["table", 0xff],
        ["alg", 0],
      ]);
      if (ct.actions === undefined) return ct;
      const { actions, ...others } = ct;
      return actions.length === 0 ? others : { ...others, actions: canonicalActions(actions) };
    }
    case "nat":
      return withDefaultsDropped(action, [
        ["persistent", false],
        ["hash", false],
        ["random", false],
      ]);
    case "clone":
      return { type: "clone", actions: canonicalActions(action.actions) };
    case "note": {
      const size = Math.max(6, action.bytes.length + ((6 - action.bytes.length) & 7));
      const bytes = new Uint8Array(size);
      bytes.set(action.bytes);
      return { type: "note", bytes };
    }
    default:
      return action;
  }
}

function withDefaultsDropped<A extends Action>(action: A, defaults: readonly (readonly [string, unknown])[]): A {
  const out = { ...action } as Record<string, unknown>;
  for (const [key, value] of defaults) if (out[key] === value || out[key] === undefined) delete out[key];
  return out as unknown as A;
}

/**
 * The flow as its switch would report it: two flows are the same entry with the same effect if and only if their
 * canonical forms are deeply equal.
 */
export function canonicalFlow(flow: Flow): Flow {
  const { idleTimeout, hardTimeout, flags } = flow;
  return {
    table: flow.table,
    priority: flow.priority,
    cookie: flow.cookie,
    match: canonicalMatch(flow.match),
    instructions: flow.instructions
      .filter((i) => !(i.type === "apply_actions" && i.actions.length === 0))
      .map((instruction): Instruction => {
        return instruction.type === "apply_actions" || instruction.type === "write_actions"
          ? { type: instruction.type, actions: canonicalActions(instruction.actions) }
          : instruction;
      })
      .sort((a, b) => instructionOrder(a) - instructionOrder(b)),
    ...(idleTimeout === undefined || idleTimeout === 0 ? {} : { idleTimeout }),
    ...(hardTimeout === undefined || hardTimeout === 0 ? {} : { hardTimeout }),
    ...(flags === undefined || flags.length === 0 ? {} : { flags: [...flags].sort() }),
  };
}

/** The order in which a switch executes instructions (OpenFlow 1.5 section 5.5), which is how it reports them. */
const INSTRUCTION_ORDER: readonly Instruction["type"][] = [
  "meter",
  "apply_actions",
  "clear_actions",
  "write_actions",
  "write_metadata",
  "goto_table",
  "unknown",
];

function instructionOrder(instruction: Instruction): number {
  return INSTRUCTION_ORDER.indexOf(instruction.type);
}

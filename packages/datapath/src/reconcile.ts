/** Desired entries against installed ones: what must be written so that the switch holds exactly what it should. */
import type { Flow, Instruction, Match } from "@beyondfabric/openflow";

export interface Difference {
  /** Entries that stand in the switch and should not. */
  readonly remove: readonly Flow[];
  /** Entries that are missing, or whose cookie or instructions differ. */
  readonly write: readonly Flow[];
}

/** Compares by what identifies an entry in a switch: table, priority and match. Order of match fields is no difference. */
export function reconcile(desired: Iterable<Flow>, installed: Iterable<Flow>): Difference {
  const wanted = new Map<string, Flow>();
  for (const flow of desired) wanted.set(flowKey(flow), flow);
  const remove: Flow[] = [];
  const write = new Map(wanted);
  for (const flow of installed) {
    const key = flowKey(flow);
    const want = wanted.get(key);
    if (want === undefined) {
      remove.push(flow);
    } else if (want.cookie === flow.cookie && instructionsKey(want.instructions) === instructionsKey(flow.instructions)) {
      write.delete(key);
    }
  }
  return { remove, write: [...write.values()] };
}

/** Identity of an entry: two flows with the same key replace each other in a switch. */
export function flowKey(flow: Pick<Flow, "table" | "priority" | "match">): string {
  return `${flow.table}/${flow.priority}/${matchKey(flow.match)}`;
}

function matchKey(match: Match): string {
  return match
    .map((field) => {
      if (field.field === "unknown") return `unknown:${field.header}:${Buffer.from(field.bytes).toString("hex")}`;
      return field.mask === undefined ? `${field.field}=${field.value}` : `${field.field}=${field.value}/${field.mask}`;
    })
    .sort()
    .join(",");
}

/**
 * The switch reports `load` as `set_field`, drops masks that cover everything, and fills defaults: instructions are
 * compared in one normal form.
 */
function instructionsKey(instructions: readonly Instruction[]): string {
  return JSON.stringify(instructions.map(normalInstruction), jsonValue);
}

function normalInstruction(instruction: Instruction): unknown {
  if (instruction.type !== "apply_actions" && instruction.type !== "write_actions") return instruction;
  return { type: instruction.type, actions: instruction.actions.map(normalAction) };
}

function normalAction(action: import("@beyondfabric/openflow").Action): unknown {
  switch (action.type) {
    case "load": {
      const mask = ((1n << BigInt(action.dst.bits)) - 1n) << BigInt(action.dst.offset);
      return ["set", action.dst.field, action.value << BigInt(action.dst.offset), mask];
    }
    case "set_field":
      return ["set", action.field, action.value, action.mask ?? fullMask(action.field)];
    case "controller":
      return [
        "controller",
        action.pause ?? false,
        Buffer.from(action.userdata ?? []).toString("hex"),
        action.maxLen ?? 0xffff,
        action.controllerId ?? 0,
      ];
    case "output":
      return ["output", action.port];
    case "resubmit":
      return ["resubmit", action.port ?? "in_port", action.table, action.ct ?? false];
    default:
      return action;
  }
}

function jsonValue(_key: string, value: unknown): unknown {
  if (typeof value === "bigint") return `0x${value.toString(16)}`;
  return value instanceof Uint8Array ? Buffer.from(value).toString("hex") : value;
}

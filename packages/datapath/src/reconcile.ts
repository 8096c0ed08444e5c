/** Desired entries against installed ones: what must be written so that the switch holds exactly what it should. */
import { canonicalFlow, canonicalMatch, type Flow, type Match } from "@beyondfabric/openflow";

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
    } else if (want.cookie === flow.cookie && instructionsKey(want) === instructionsKey(flow)) {
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
  return canonicalMatch(match)
    .map((field) => {
      if (field.field === "unknown") return `unknown:${field.header}:${Buffer.from(field.bytes).toString("hex")}`;
      return field.mask === undefined ? `${field.field}=${field.value}` : `${field.field}=${field.value}/${field.mask}`;
    })
    .sort((a, b) => (a < b ? -1 : 1))
    .join(",");
}

/** The switch reports entries in a normal form of its own (`load` as `set_field`, defaults filled in): compare in it. */
function instructionsKey(flow: Flow): string {
  return JSON.stringify(canonicalFlow(flow).instructions, (_key, value: unknown) => {
    if (typeof value === "bigint") return `0x${value.toString(16)}`;
    return value instanceof Uint8Array ? Buffer.from(value).toString("hex") : value;
  });
}

/** Whole entries in the syntax of `ovs-ofctl add-flow` and `dump-flows --no-stats`. */
import { OpenFlowTextError } from "../errors.ts";
import type { Flow, FlowFlag } from "../model.ts";
import { formatInstructions } from "./format-actions.ts";
import { formatMatch, matchOf } from "./match.ts";
import { parseInstructions } from "./parse-actions.ts";
import { hex, parseInteger, parseItems, parseNumber } from "./syntax.ts";
import type { Item } from "./syntax.ts";

const DEFAULT_PRIORITY = 0x8000;

const flagWords: readonly (readonly [FlowFlag, string])[] = [
  ["send_flow_rem", "send_flow_rem"],
  ["check_overlap", "check_overlap"],
  ["reset_counts", "reset_counts"],
  ["no_pkt_counts", "no_packet_counts"],
  ["no_byt_counts", "no_byte_counts"],
];

/** `cookie=0x5, table=3, priority=10,ip,in_port=1 actions=output:2`: what `dump-flows --no-stats` prints. */
export function formatFlow(flow: Flow): string {
  let text = "";
  if (flow.cookie !== 0n) text += `cookie=${hex(flow.cookie)}, `;
  if (flow.table !== 0) text += `table=${flow.table}, `;
  if (flow.idleTimeout !== undefined && flow.idleTimeout !== 0) text += `idle_timeout=${flow.idleTimeout}, `;
  if (flow.hardTimeout !== undefined && flow.hardTimeout !== 0) text += `hard_timeout=${flow.hardTimeout}, `;
  for (const [flag, word] of flagWords) if (flow.flags?.includes(flag) === true) text += `${word} `;
  const match = formatMatch(flow.match);
  const parts = [
    ...(flow.priority === DEFAULT_PRIORITY ? [] : [`priority=${flow.priority}`]),
    ...(match === "" ? [] : [match]),
  ];
  if (parts.length > 0) text += `${parts.join(",")} `;
  return `${text}actions=${formatInstructions(flow.instructions)}`;
}

/**
 * Reads an entry as `ovs-ofctl add-flow` does; what a dump adds to it (durations, counters) is passed over.
 * @throws OpenFlowTextError naming what is wrong.
 */
export function parseFlow(text: string): Flow {
  const at = /(?:^|[\s,])actions?=/.exec(text);
  if (at === null) throw new OpenFlowTextError(`${JSON.stringify(text)}: an entry needs actions=`);
  const head = text.slice(0, at.index);
  const instructions = parseInstructions(text.slice(at.index + at[0].length));
  let table = 0;
  let priority = DEFAULT_PRIORITY;
  let cookie = 0n;
  let idleTimeout = 0;
  let hardTimeout = 0;
  const flags: FlowFlag[] = [];
  const matches: Item[] = [];
  for (const item of parseItems(head)) {
    const flag = item.sign === "" ? flagWords.find(([, word]) => word === item.key)?.[0] : undefined;
    if (flag !== undefined) {
      flags.push(flag);
      continue;
    }
    switch (item.key) {
      case "table":
        table = parseInteger(item.value, 8, item.key);
        break;
      case "priority":
        priority = parseInteger(item.value, 16, item.key);
        break;
      case "cookie":
        cookie = parseNumber(item.value, 64, item.key);
        break;
      case "idle_timeout":
        idleTimeout = parseInteger(item.value, 16, item.key);
        break;
      case "hard_timeout":
        hardTimeout = parseInteger(item.value, 16, item.key);
        break;
      case "duration":
      case "n_packets":
      case "n_bytes":
      case "idle_age":
      case "hard_age":
        break;
      default:
        matches.push(item);
    }
  }
  return {
    table,
    priority,
    cookie,
    match: matchOf(matches),
    instructions,
    ...(idleTimeout === 0 ? {} : { idleTimeout }),
    ...(hardTimeout === 0 ? {} : { hardTimeout }),
    ...(flags.length === 0 ? {} : { flags }),
  };
}

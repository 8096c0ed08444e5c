/** `fabricctl flows`: the switch's entries, table by table, each verdict with the sentence that explains it. */
import type { FlowsReply } from "@beyondfabric/agent/api";
import { bytes } from "./quantities.ts";
import { formatTable, type Column } from "./table.ts";
import { visible, type Paint } from "./terminal.ts";

type FlowRow = FlowsReply["flows"][number];

/** Tables in the order in which the agent gives them; `wide` adds the entry beside its explanation. */
export function formatFlows({ flows }: FlowsReply, wide: boolean, paint: Paint): string {
  if (flows.length === 0) return "no entries";
  return [...Map.groupBy(flows, ({ table }) => table)]
    .map(([table, rows]) => {
      const packets = rows.reduce((sum, row) => sum + row.packets, 0);
      const [heading, ...lines] = formatTable(wide ? wideColumns : columns, rows);
      return [
        `table ${visible(table)}: ${rows.length} ${rows.length === 1 ? "entry" : "entries"}, ${packets} ${packets === 1 ? "packet" : "packets"}`,
        `  ${paint("faint", heading!)}`,
        ...lines.map((line, index) => `  ${rows[index]!.kind === "foreign" ? paint("bad", line) : line}`),
      ].join("\n");
    })
    .join("\n\n");
}

const counters: readonly Column<FlowRow>[] = [
  { heading: "KIND", cell: ({ kind }) => kind },
  { heading: "PACKETS", cell: ({ packets }) => packets, right: true },
  { heading: "BYTES", cell: (row) => bytes(row.bytes), right: true },
];

const columns: readonly Column<FlowRow>[] = [
  ...counters,
  { heading: "ENTRY", cell: (row) => meaning(row) ?? brief(row.text) },
];

const wideColumns: readonly Column<FlowRow>[] = [
  ...counters,
  { heading: "MEANING", cell: (row) => meaning(row) ?? "-" },
  { heading: "ENTRY", cell: ({ text }) => text },
];

/** The heading names the table, and cookies are for debugging the agent: `wide` has both. */
function brief(text: string): string {
  return text.replace(/^cookie=0x[\da-f]+, ?/, "").replace(/^table=\d+, ?/, "");
}

function meaning({ source, destination, explanation }: FlowRow): string | undefined {
  const ends =
    source === undefined && destination === undefined ? [] : [`${source ?? "any"} -> ${destination ?? "any"}`];
  const sentence = explanation === undefined ? [] : [explanation];
  const parts = [...ends, ...sentence];
  return parts.length === 0 ? undefined : parts.join(": ");
}

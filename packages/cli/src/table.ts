/** Columns as `kubectl get` prints them: upper-case headings, three spaces between, no lines, no trailing blanks. */
import { visible } from "./terminal.ts";

export interface Column<Row> {
  readonly heading: string;
  readonly cell: (row: Row) => string | number;
  /** Numbers stand at the right edge. */
  readonly right?: boolean;
}

const gap = "   ";

/** The table's lines; only the heading when there are no rows. */
export function formatTable<Row>(columns: readonly Column<Row>[], rows: readonly Row[]): string[] {
  const cells = [
    columns.map(({ heading }) => heading),
    ...rows.map((row) => columns.map(({ cell }) => visible(String(cell(row))))),
  ];
  const widths = columns.map((_, index) => cells.reduce((widest, line) => Math.max(widest, line[index]!.length), 0));
  return cells.map((line) =>
    line
      .map((cell, index) =>
        columns[index]!.right === true ? cell.padStart(widths[index]!) : cell.padEnd(widths[index]!),
      )
      .join(gap)
      .trimEnd(),
  );
}

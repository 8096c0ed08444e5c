import { encodeValue, type InputValue } from "./notation.ts";
import { columnOf, type ColumnSchema, type TableSchema } from "./schema.ts";

export type ConditionFunction = "<" | "<=" | "==" | "!=" | ">=" | ">" | "includes" | "excludes";

/** <condition> of RFC 7047 section 5.1: a column, a function and a value of the column's type. */
export type Condition = readonly [column: string, function: ConditionFunction, value: InputValue];

/** Throws `OVSDB_SCHEMA`. */
export function encodeConditions(table: TableSchema, conditions: readonly Condition[]): unknown[] {
  return conditions.map(([name, operator, value]) => {
    const column = columnOf(table, name);
    const partial = operator === "includes" || operator === "excludes";
    return [name, operator, encodeValue(partial ? withoutCount(column) : column, value)];
  });
}

/** `includes` and `excludes` may name fewer elements than the column must hold. */
function withoutCount(column: ColumnSchema): ColumnSchema {
  return column.kind === "set" || column.kind === "map" ? { ...column, min: 0 } : column;
}

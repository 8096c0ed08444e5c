/** `metav1.LabelSelector` in our specifications. */
import { z } from "zod";
import type { Offend } from "./kind.ts";
import { ruled } from "./rules.ts";
import type { ValuePath } from "./rules.ts";

const labelKey = z.string().max(316);
const labelValue = z.string().max(63);

/** Schema of a selector; what it cannot say is checked by {@link checkSelector}. */
export const selectorSchema = ruled(
  z.object({
    matchLabels: ruled(
      z.record(labelKey, labelValue),
      "must map labels to values",
      "write for example {team: a}",
    ).optional(),
    matchExpressions: ruled(
      z
        .array(
          z.object({
            key: labelKey,
            operator: ruled(
              z.enum(["In", "NotIn", "Exists", "DoesNotExist"]),
              "must be In, NotIn, Exists or DoesNotExist",
              "choose one of the four",
            ),
            values: ruled(
              z.array(labelValue).max(64),
              "must be a list of values",
              "write for example [a, b]",
            ).optional(),
          }),
        )
        .max(32),
      "must be a list of at most 32 expressions",
      "write for example [{key: team, operator: In, values: [a]}]",
    ).optional(),
  }),
  "must be a label selector",
  "write for example {matchLabels: {team: a}}",
);

/** `metav1.LabelSelector`, as the API has it. */
export interface LabelSelector {
  readonly matchLabels?: Readonly<Record<string, string>> | undefined;
  readonly matchExpressions?:
    | readonly {
        readonly key: string;
        readonly operator: "In" | "NotIn" | "Exists" | "DoesNotExist";
        readonly values?: readonly string[] | undefined;
      }[]
    | undefined;
}

/** Notes operators whose values are missing or in vain, in the selector at `path`. */
export function checkSelector(selector: LabelSelector | undefined, path: ValuePath, offend: Offend): void {
  for (const [index, expression] of (selector?.matchExpressions ?? []).entries()) {
    const needsValues = expression.operator === "In" || expression.operator === "NotIn";
    const count = expression.values?.length ?? 0;
    const values = [...path, "matchExpressions", index, "values"];
    if (needsValues && count === 0)
      offend(values, `is empty, which ${expression.operator} does not allow`, "list the values");
    if (!needsValues && count > 0) offend(values, `does not go with ${expression.operator}`, "drop the values");
  }
}

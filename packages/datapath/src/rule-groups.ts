/**
 * Which rules let the connections of a verdict pass, numbered, so that a label can say it in six bits and the switch counts
 * by it. A number keeps its meaning as long as the verdict's label is valid: connections outlive changes of the rules.
 */
import { protocols, type Openings, type RuleReference } from "@beyondfabric/policy";
import { noGroup } from "./tracking.ts";

/** By number; each is the rules of one opening, one per direction that was judged. */
export type RuleGroups = readonly (readonly RuleReference[])[];

export const noRuleGroups: RuleGroups = [];

/** The groups so far, and those of these openings that are new; what is too many has no group. */
export function extendRuleGroups(groups: RuleGroups, openings: Openings): RuleGroups {
  const known = new Set(groups.map(groupKey));
  const found = [...groups];
  for (const rules of rulesOf(openings)) {
    const key = groupKey(rules);
    if (rules.length === 0 || known.has(key) || found.length >= noGroup) continue;
    known.add(key);
    found.push(rules);
  }
  return found.length === groups.length ? groups : found;
}

/** The number of some rules; {@link noGroup} when they have none. */
export function groupOf(groups: RuleGroups, rules: readonly RuleReference[]): number {
  const key = groupKey(rules);
  const number = groups.findIndex((each) => each === rules || groupKey(each) === key);
  return number < 0 ? noGroup : number;
}

/** Whether the same ports are open by the same rules. */
export function sameRules(a: Openings, b: Openings): boolean {
  const [one, other] = [rulesOf(a), rulesOf(b)];
  return one.length === other.length && one.every((rules, index) => groupKey(rules) === groupKey(other[index]!));
}

function rulesOf(openings: Openings): readonly (readonly RuleReference[])[] {
  if (openings.kind === "everything") return [openings.rules];
  return protocols.flatMap((protocol) => openings[protocol].map(({ rules }) => rules));
}

function groupKey(rules: readonly RuleReference[]): string {
  return rules.map(({ policy, direction, index }) => `${policy} ${direction} ${index}`).join();
}

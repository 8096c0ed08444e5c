/**
 * Which rules let the connections of a verdict pass, numbered, so that a label can say it in six bits: the switch counts by it,
 * and where rules change, only connections that passed by something that is closed now are judged again. A number keeps its
 * meaning for as long as the verdict's label is valid, and is never given twice.
 */
import {
  includesOpenings,
  isClosed,
  protocols,
  uniteOpenings,
  type Openings,
  type RuleReference,
} from "@beyondfabric/policy";
import { noGroup } from "./tracking.ts";

export interface RuleGroup {
  /** One for each direction that was judged; none: what passes by no rule, or nobody knows by which. */
  readonly rules: readonly RuleReference[];
  /** Everything that was open to its connections since it has its number. */
  readonly opened: Openings;
  /** Whether all of that is open still: then its connections pass without being judged again. */
  readonly holds: boolean;
}

/** By number. */
export type RuleGroups = readonly RuleGroup[];

export const noRuleGroups: RuleGroups = [];
/** Of a verdict that has more of them than there are numbers: its connections are told apart from no others of it. */
export const tooManyRuleGroups: RuleGroups = [];

const nothing: Openings = { kind: "ports", TCP: [], UDP: [], SCTP: [] };

/**
 * The groups of a verdict whose openings are others now: those of which something is closed hold no more, and what no group holds gets
 * a number.
 * @returns undefined when there are not as many numbers
 */
export function nextRuleGroups(groups: RuleGroups, openings: Openings): RuleGroups | undefined {
  const next = groups.map((group): RuleGroup => {
    const holds = group.holds && includesOpenings(openings, group.opened);
    return holds === group.holds ? group : { ...group, holds };
  });
  const numbers = new Map<string, number>();
  for (const [number, { rules, opened }] of next.entries()) {
    // A number that only kept a place.
    if (!isClosed(opened)) numbers.set(groupKey(rules), number);
  }
  for (const [key, { rules, opened }] of openedBy(openings)) {
    const number = numbers.get(key);
    const known = number === undefined ? undefined : next[number]!;
    if (known?.holds === true) {
      next[number!] = { ...known, opened: unite(known.opened, opened) };
      continue;
    }
    // Entries of a number and of the one after it look at different bits of the mark.
    if (number !== undefined && (next.length & 1) === (number & 1))
      next.push({ rules: [], opened: nothing, holds: false });
    next.push({ rules, opened, holds: true });
    if (next.length > noGroup) return undefined;
  }
  return next;
}

/** The number of some rules; {@link noGroup} when they have none. */
export function groupOf(groups: RuleGroups, rules: readonly RuleReference[]): number {
  const key = groupKey(rules);
  const number = groups.findIndex((each) => each.holds && (each.rules === rules || groupKey(each.rules) === key));
  return number < 0 ? noGroup : number;
}

/** Whether the same ports are open by the same rules. */
export function sameRules(a: Openings, b: Openings): boolean {
  const [one, other] = [rulesOf(a), rulesOf(b)];
  return one.length === other.length && one.every((rules, index) => groupKey(rules) === groupKey(other[index]!));
}

/** What is open by the same rules, and what is open at all: later fragments do not show by which of them they pass. */
function openedBy(openings: Openings): Map<string, Pick<RuleGroup, "rules" | "opened">> {
  const found = new Map<string, { rules: readonly RuleReference[]; opened: Openings }>();
  if (openings.kind === "everything") {
    found.set(groupKey(openings.rules), { rules: openings.rules, opened: openings });
    return found;
  }
  if (isClosed(openings)) return found;
  for (const protocol of protocols) {
    for (const opening of openings[protocol]) {
      const key = groupKey(opening.rules);
      const { opened } = found.get(key) ?? { opened: nothing };
      if (opened.kind !== "ports") continue;
      found.set(key, { rules: opening.rules, opened: { ...opened, [protocol]: [...opened[protocol], opening] } });
    }
  }
  found.set(groupKey([]), { rules: [], opened: openings });
  return found;
}

function unite(a: Openings, b: Openings): Openings {
  if (includesOpenings(a, b)) return a;
  if (a.kind === "everything" || b.kind === "everything") return { kind: "everything", rules: [] };
  const of = (protocol: (typeof protocols)[number]): ReturnType<typeof uniteOpenings> =>
    uniteOpenings([...a[protocol], ...b[protocol]]);
  return { kind: "ports", TCP: of("TCP"), UDP: of("UDP"), SCTP: of("SCTP") };
}

function rulesOf(openings: Openings): readonly (readonly RuleReference[])[] {
  if (openings.kind === "everything") return [openings.rules];
  return protocols.flatMap((protocol) => openings[protocol].map(({ rules }) => rules));
}

function groupKey(rules: readonly RuleReference[]): string {
  return rules.map(({ policy, direction, index }) => `${policy} ${direction} ${index}`).join();
}

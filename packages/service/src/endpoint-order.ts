/** The orders in which endpoints stand: every node comes to the same lists, whatever it learned first. */
import type { EndpointRecord } from "./model.ts";

/** By the text of the address, and of those that have the same the best to have first. */
export function compareEndpoints(a: EndpointRecord, b: EndpointRecord): number {
  return compareTexts(a.address, b.address) || comparePreference(a, b);
}

/**
 * An endpoint that moves from one slice to another stands in both for a while, and one of them may be out of date
 * (EndpointSlice, "Duplicate endpoints"): what can be used comes before what cannot, and what says its node before what
 * does not.
 */
export function comparePreference(a: EndpointRecord, b: EndpointRecord): number {
  return rank(b) - rank(a);
}

function rank({ ready, serving, terminating, node }: EndpointRecord): number {
  return (ready ? 8 : 0) + (serving ? 4 : 0) + (terminating ? 2 : 0) + (node === undefined ? 0 : 1);
}

export function compareTexts(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}

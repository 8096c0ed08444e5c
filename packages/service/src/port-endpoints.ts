/**
 * The endpoints behind one port of a Service, in one family, merged from all of its sources: ordered, each address and port
 * once. A change costs a search for each endpoint that it is about and one copy of the list; the others are not compared.
 */
import { ipFamily, type IpFamily } from "@beyondfabric/packet";
import { comparePreference, compareTexts } from "./endpoint-order.ts";
import type { EndpointRecord, EndpointSource } from "./model.ts";

/** Where a packet may be sent: an endpoint, and the port on which it answers. */
export interface Target {
  readonly endpoint: EndpointRecord;
  readonly port: number;
  /** Name of the source that it comes from. */
  readonly source: string;
}

/** Lists that never change: a change makes new ones. All are in the order of {@link compareTargets}. */
export interface PortEndpoints {
  readonly all: readonly Target[];
  readonly ready: readonly Target[];
  /** About to end and still answering: for when none is ready (KEP-1669). */
  readonly terminating: readonly Target[];
}

export const noEndpoints: PortEndpoints = { all: [], ready: [], terminating: [] };

/** By address, then port: the same on every node. */
function compareTargets(a: Target, b: Target): number {
  return compareTexts(a.endpoint.address, b.endpoint.address) || a.port - b.port;
}

function compareCandidates(a: Target, b: Target): number {
  return compareTargets(a, b) || comparePreference(a.endpoint, b.endpoint) || compareTexts(a.source, b.source);
}

/** The targets of a source on one of its ports, in order; none without that port. */
export function targetsOf(source: EndpointSource, port: number | undefined, family: IpFamily): Target[] {
  if (port === undefined) return [];
  const ofFamily = source.endpoints.filter(({ address }) => ipFamily(address) === family);
  return ofFamily.map((endpoint) => ({ endpoint, port, source: source.name }));
}

export class MergedEndpoints {
  #lists: PortEndpoints;
  /** Targets whose address and port another source offers better. Most often none. */
  #spare: readonly Target[];

  constructor(targets: readonly Target[]) {
    const sorted = targets.toSorted(compareCandidates);
    const isFirst = (target: Target, index: number): boolean =>
      index === 0 || compareTargets(sorted[index - 1]!, target) !== 0;
    this.#spare = sorted.filter((target, index) => !isFirst(target, index));
    const all = this.#spare.length === 0 ? sorted : sorted.filter(isFirst);
    this.#lists = listsOf(all, all.filter(isReady), all.filter(isTerminating));
  }

  get lists(): PortEndpoints {
    return this.#lists;
  }

  /** Takes the targets of sources out, and others in. What is in both (the same record) stays untouched. */
  exchange(removed: readonly Target[], added: readonly Target[]): void {
    const { leaving, entering } = difference(removed, added);
    if (leaving.length + entering.length === 0) return;
    const { all } = this.#lists;
    const out: Target[] = [];
    const into: Target[] = [];
    const spareOut: Target[] = [];
    const spareInto: Target[] = [];
    for (const [gone, come] of byPlace(leaving, entering)) {
      const sample = (gone[0] ?? come[0])!;
      const shown = all[findFirst(all, sample)];
      const former = shown !== undefined && compareTargets(shown, sample) === 0 ? shown : undefined;
      const spares = equalTo(this.#spare, sample);
      const stayed = [...(former === undefined ? [] : [former]), ...spares].filter(
        (each) => !gone.some((other) => other.source === each.source),
      );
      const [best, ...rest] = [...stayed, ...come].sort(compareCandidates);
      if (best !== former) {
        if (former !== undefined) out.push(former);
        if (best !== undefined) into.push(best);
      }
      spareOut.push(...spares);
      spareInto.push(...rest);
    }
    this.#spare = spliced(this.#spare, spareOut, spareInto);
    this.#lists = changedLists(this.#lists, out, into);
  }
}

function changedLists(lists: PortEndpoints, out: readonly Target[], into: readonly Target[]): PortEndpoints {
  if (out.length + into.length === 0) return lists;
  const all = spliced(lists.all, out, into);
  const ready = spliced(lists.ready, out.filter(isReady), into.filter(isReady));
  const terminating = spliced(lists.terminating, out.filter(isTerminating), into.filter(isTerminating));
  return listsOf(all, ready, terminating);
}

/** Most often all are ready: one list then serves for both. */
function listsOf(all: readonly Target[], ready: readonly Target[], terminating: readonly Target[]): PortEndpoints {
  return { all, ready: ready.length === all.length ? all : ready, terminating };
}

function isReady({ endpoint }: Target): boolean {
  return endpoint.ready;
}

function isTerminating({ endpoint }: Target): boolean {
  return !endpoint.ready && endpoint.serving && endpoint.terminating;
}

/** What is in one of the lists alone. A record that a source kept is the same object. */
function difference(
  removed: readonly Target[],
  added: readonly Target[],
): { readonly leaving: Target[]; readonly entering: Target[] } {
  const kept = new Map<EndpointRecord, Target>();
  for (const target of removed) kept.set(target.endpoint, target);
  const staying = new Set<EndpointRecord>();
  const entering = added.filter(({ endpoint, port, source }) => {
    const former = kept.get(endpoint);
    if (former === undefined || former.port !== port || former.source !== source) return true;
    staying.add(endpoint);
    return false;
  });
  return { leaving: removed.filter(({ endpoint }) => !staying.has(endpoint)), entering };
}

/** Both lists cut into pieces of the same address and port, in order. */
function* byPlace(leaving: Target[], entering: Target[]): Iterable<readonly [gone: Target[], come: Target[]]> {
  leaving.sort(compareTargets);
  entering.sort(compareTargets);
  let [from, of] = [0, 0];
  while (from < leaving.length || of < entering.length) {
    const [left, right] = [leaving[from], entering[of]];
    const sample = left === undefined || (right !== undefined && compareTargets(right, left) < 0) ? right! : left;
    const gone: Target[] = [];
    const come: Target[] = [];
    for (; from < leaving.length && compareTargets(leaving[from]!, sample) === 0; from++) gone.push(leaving[from]!);
    for (; of < entering.length && compareTargets(entering[of]!, sample) === 0; of++) come.push(entering[of]!);
    yield [gone, come];
  }
}

/** The first place in a list whose target is not before this one. */
function findFirst(sorted: readonly Target[], target: Target): number {
  let [low, high] = [0, sorted.length];
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (compareTargets(sorted[middle]!, target) < 0) low = middle + 1;
    else high = middle;
  }
  return low;
}

function equalTo(sorted: readonly Target[], target: Target): Target[] {
  const found: Target[] = [];
  for (let index = findFirst(sorted, target); index < sorted.length; index++) {
    if (compareTargets(sorted[index]!, target) !== 0) break;
    found.push(sorted[index]!);
  }
  return found;
}

/** A list without some of its targets and with others, all in order: where nothing changes, it is copied as it is. */
function spliced(sorted: readonly Target[], out: readonly Target[], into: readonly Target[]): readonly Target[] {
  if (out.length + into.length === 0) return sorted;
  const leaving = new Set(out);
  const result: Target[] = [];
  let from = 0;
  for (const [gone, come] of byPlace([...out], [...into])) {
    const sample = (gone[0] ?? come[0])!;
    for (const end = findFirst(sorted, sample); from < end; from++) result.push(sorted[from]!);
    for (; from < sorted.length && compareTargets(sorted[from]!, sample) === 0; from++) {
      if (!leaving.has(sorted[from]!)) result.push(sorted[from]!);
    }
    result.push(...come);
  }
  for (; from < sorted.length; from++) result.push(sorted[from]!);
  return result;
}

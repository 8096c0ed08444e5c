/** Who had an address, and which addresses a pod had: the histories of claims and of blocks as one. */
import { compareIps, type Ip } from "@beyondfabric/packet";
import { namesOf, type AddressFacts } from "./audit.ts";

/** One pod's time with one address; times are milliseconds since the epoch. */
export interface Tenure {
  readonly address: Ip;
  readonly namespace: string;
  readonly pod: string;
  readonly uid: string;
  readonly node: string;
  /** Known of claimed addresses only. */
  readonly mac?: string;
  readonly from: number;
  /** Absent while it lasts. */
  readonly until?: number;
  /** Why it ended, as far as it is known. */
  readonly reason?: string;
  /** The object that tells it. */
  readonly source: "IPAddress" | "AddressBlock";
}

/** Every tenure that the facts still tell, the oldest first. */
export function* tenures({ claims, blocks }: Pick<AddressFacts, "claims" | "blocks">): Generator<Tenure> {
  for (const { address, holder, phase, since, history } of claims) {
    for (const { podUid, ...entry } of history) yield { address, uid: podUid, ...entry, source: "IPAddress" };
    // Until it is granted the pod does not use it.
    if (holder === undefined || phase !== "Bound") continue;
    const { podUid, nodeUid: _, ...user } = holder;
    yield { address, uid: podUid, ...user, from: since, source: "IPAddress" };
  }
  for (const { block, status } of blocks) {
    const { node } = block;
    const source = "AddressBlock" as const;
    for (const { address, pod, uid, from, until } of status?.history ?? []) {
      yield { address, ...namesOf(pod), uid, node, from, until, source };
    }
    for (const { address, pod, uid, since } of status?.allocations ?? []) {
      yield { address, ...namesOf(pod), uid, node, from: since, source };
    }
  }
}

/** Who has and had an address, newest first. */
export function historyOfAddress(facts: Pick<AddressFacts, "claims" | "blocks">, address: Ip): Tenure[] {
  return newestFirst(tenures(facts).filter((each) => each.address === address));
}

/** Which addresses pods of this name have and had, newest first. */
export function historyOfPod(facts: Pick<AddressFacts, "claims" | "blocks">, namespace: string, pod: string): Tenure[] {
  return newestFirst(tenures(facts).filter((each) => each.namespace === namespace && each.pod === pod));
}

/** What lasts comes first; after that what ended last. */
function newestFirst(found: Iterable<Tenure>): Tenure[] {
  const end = ({ until }: Tenure): number => until ?? Number.POSITIVE_INFINITY;
  return [...found].toSorted((a, b) =>
    end(a) === end(b) ? b.from - a.from || compareIps(a.address, b.address) : end(a) < end(b) ? 1 : -1,
  );
}

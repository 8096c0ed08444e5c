/** The last refusals by policies and tenancy, for people who ask why: newest last, a bounded number, equal ones counted as one. */
import type { Connection, JudgedDirection, Question, Reason } from "@beyondfabric/datapath";
import type { Ip } from "@beyondfabric/packet";
import { policyName, type Direction } from "@beyondfabric/policy";

/** No rule of the policies that isolate an end lets it pass; `policy`: neither end alone closes it. */
export type PolicyRefusal = "policy" | `policy-${Direction}`;

export interface Denial {
  readonly reason: PolicyRefusal | Extract<Reason, "tenant-differs">;
  readonly source: Ip;
  readonly destination: Ip;
  /** IANA's number; 0 when it is not known. */
  readonly protocol: number;
  readonly destinationPort?: number;
  /** At which end it was refused, when policies of one end refused it. */
  readonly direction?: Direction;
  /** `namespace/name` of the isolated pod. */
  readonly pod?: string;
  /** The policies that isolate it, none of whose rules matched. */
  readonly policies: readonly string[];
  /** ms since the epoch */
  last: number;
  count: number;
}

const capacity = 256;

export class DenialLog {
  readonly #denials = new Map<string, Denial>();

  /** @param count packets; those that an entry refused come several at once, and do not say which ports they tried */
  add(
    { source, destination }: Question,
    { protocol, destinationPort }: Pick<Connection, "protocol" | "destinationPort">,
    reason: Denial["reason"],
    closed: JudgedDirection | undefined,
    count: number,
  ): void {
    const key = `${source} ${destination} ${protocol} ${destinationPort ?? ""} ${reason}`;
    const before = this.#denials.get(key);
    this.#denials.delete(key);
    const denial: Denial = {
      reason,
      source,
      destination,
      protocol,
      ...(destinationPort === undefined ? {} : { destinationPort }),
      ...(closed === undefined ? {} : { direction: closed.direction, pod: closed.pod }),
      policies: (closed?.verdict.isolation?.policies ?? []).map(policyName),
      last: Date.now(),
      count: (before?.count ?? 0) + count,
    };
    this.#denials.set(key, denial);
    for (const oldest of this.#denials.keys()) {
      if (this.#denials.size <= capacity) break;
      this.#denials.delete(oldest);
    }
  }

  /** Oldest first. */
  list(): Denial[] {
    return [...this.#denials.values()];
  }
}

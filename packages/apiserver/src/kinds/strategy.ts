/**
 * What a kind does when one of its objects is created or changed (a "strategy" in the API server's terms).
 */
import type { KubeObject } from "../object.ts";
import type { StatusCause } from "../status.ts";

/** All functions may change the object they are given: it is a copy that is not stored yet. */
export interface Strategy {
  /** Fills in defaults and what the server owns. */
  prepareCreate?: (object: KubeObject) => void;
  /** Defaults for an update through the main endpoint, and what an update may not touch. */
  prepareUpdate?: (object: KubeObject, old: KubeObject) => void;
  /** What breaks the kind's rules; `old` is the object before an update. */
  validate?: (object: KubeObject, old?: KubeObject) => StatusCause[];
  /** What may not change; called for the main endpoint only. */
  validateUpdate?: (object: KubeObject, old: KubeObject) => StatusCause[];
  /** Rules for a change through `/status`. */
  validateStatus?: (object: KubeObject, old: KubeObject) => StatusCause[];
  /** Seconds between the request to delete and the removal; 0 removes at once. Absent: 0. */
  gracePeriod?: (object: KubeObject, asked: number | undefined) => number;
}

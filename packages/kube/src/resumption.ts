/**
 * What to do after a list or a watch ended: list, or watch from where; at once, or after a while. No socket, no clock:
 * it is told what happened.
 */
import type { Backoff } from "./backoff.ts";
import { isGone, isVersionTooLarge, KubeApiError, KubeError } from "./errors.ts";

export type Step =
  | { readonly action: "list"; /** ms */ readonly delay: number; readonly paged: boolean }
  | { readonly action: "watch"; /** ms */ readonly delay: number; readonly version: string };

/** A watch that lived so long (ms) was healthy, even if it had nothing to tell. */
const healthyAfter = 10_000;

export class Resumption {
  readonly #backoff: Backoff;
  #version: string | undefined;
  #paged = true;
  #progress = false;
  #opened: number | undefined;

  constructor(backoff: Backoff) {
    this.#backoff = backoff;
  }

  /** The first step: list, at once. */
  begin(): Step {
    return this.#step(0);
  }

  /** A list was read to its end. */
  listed(version: string): Step {
    this.#version = version;
    this.#paged = true;
    return this.#step(0);
  }

  listFailed(error: unknown): Step {
    // The pages outlived the version that they belong to. Reading them faster than before is not to be expected, so the
    // next list comes in one piece.
    if (isGone(error)) this.#paged = false;
    return this.#step(this.#pause(error));
  }

  /** The server accepted the watch, at this time (ms). */
  watchOpened(now: number): void {
    this.#opened = now;
    this.#progress = false;
  }

  /** The watch brought an event or a bookmark. */
  progressed(version: string): void {
    this.#version = version;
    this.#progress = true;
  }

  /** @param error absent when the server ended the watch as it should, which it does every few minutes */
  watchEnded(error: unknown, now: number): Step {
    const opened = this.#opened;
    const healthy = opened !== undefined && (this.#progress || now - opened >= healthyAfter);
    this.#opened = undefined;
    if (healthy && !isProtocol(error)) this.#backoff.reset();
    if (versionIsUseless(error)) this.#version = undefined;
    const orderly = error === undefined || isGone(error);
    return this.#step(orderly && healthy ? 0 : this.#pause(error));
  }

  #pause(error: unknown): number {
    const asked = error instanceof KubeApiError ? (error.retryAfterMilliseconds ?? 0) : 0;
    return Math.max(asked, this.#backoff.next());
  }

  #step(delay: number): Step {
    const version = this.#version;
    return version === undefined ? { action: "list", delay, paged: this.#paged } : { action: "watch", delay, version };
  }
}

function isProtocol(error: unknown): boolean {
  return error instanceof KubeError && error.code === "KUBE_PROTOCOL";
}

/**
 * Whether going on from the same version would meet the same end: it is too old, or lies in a future that a restored
 * server has not reached, or is not understood, or what follows it cannot be read.
 */
function versionIsUseless(error: unknown): boolean {
  if (isProtocol(error) || isGone(error) || isVersionTooLarge(error)) return true;
  return error instanceof KubeApiError && (error.status === 400 || error.status === 404 || error.status === 422);
}

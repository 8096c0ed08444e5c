import { StreamError } from "./errors.ts";

/**
 * Where a connection is in its life:
 * - `void`: switched off, nothing happens until `enable`;
 * - `backoff`: waits before the next attempt;
 * - `connecting`: an attempt is under way;
 * - `active`: connected, and the peer was heard within the probe interval;
 * - `idle`: connected, but silent for a probe interval; a probe was sent and its answer is awaited.
 */
export type ReconnectState = "void" | "backoff" | "connecting" | "active" | "idle";

/** What the owner of the socket must do now. */
export type ReconnectAction = "connect" | "disconnect" | "probe";

/** The answer to every event: what to do now, and when to call `run` at the latest (ms, the clock of `now`). */
export interface ReconnectStep {
  readonly action?: ReconnectAction;
  /** Why, when `action` is `disconnect`. */
  readonly reason?: "silent" | "connect-timeout" | "disabled";
  readonly deadline?: number;
}

export interface ReconnectOptions {
  /** The delay after the first failure, ms. Default 50. */
  readonly minBackoffMs?: number;
  /** The longest delay between attempts, ms. Default 1000. */
  readonly maxBackoffMs?: number;
  /** How long the peer may be silent before it is probed, and how long after that before it is given up, ms. 0: never. Default 5000. */
  readonly probeIntervalMs?: number;
  /** How long one attempt to connect may take, ms. Default 5000. */
  readonly connectTimeoutMs?: number;
  /** Numbers in [0, 1), for the jitter. Default `Math.random`. */
  readonly random?: () => number;
}

/** Each delay is shortened by up to this part, so that many clients of a peer that came back do not return in step. */
const JITTER = 0.25;

/**
 * The life of one connection as a state machine that knows neither sockets nor timers: it is told what happened and
 * when, and answers with what to do and until when. Delays double from `minBackoffMs` to `maxBackoffMs`; a connection
 * that lived for less than the current delay counts as a failure, so that a peer which accepts and then hangs up is
 * not asked in a tight loop.
 */
export class Reconnect {
  readonly #minBackoffMs: number;
  readonly #maxBackoffMs: number;
  readonly #probeIntervalMs: number;
  readonly #connectTimeoutMs: number;
  readonly #random: () => number;
  #state: ReconnectState = "void";
  #backoffMs = 0;
  /** Meaning by state: end of the delay, of the attempt, or of the wait for the probe's answer. */
  #deadline = 0;
  #connectedAt = 0;
  #lastReceived = 0;
  #attempts = 0;

  constructor(options: ReconnectOptions = {}) {
    this.#minBackoffMs = positive("minBackoffMs", options.minBackoffMs ?? 50);
    this.#maxBackoffMs = positive("maxBackoffMs", options.maxBackoffMs ?? 1000);
    this.#connectTimeoutMs = positive("connectTimeoutMs", options.connectTimeoutMs ?? 5000);
    this.#probeIntervalMs = options.probeIntervalMs ?? 5000;
    this.#random = options.random ?? Math.random;
    if (this.#maxBackoffMs < this.#minBackoffMs) {
      throw new StreamError(
        "STREAM_INVALID",
        `maxBackoffMs (${this.#maxBackoffMs}) must not be less than minBackoffMs (${this.#minBackoffMs})`,
      );
    }
    if (!(this.#probeIntervalMs >= 0)) {
      throw new StreamError("STREAM_INVALID", `probeIntervalMs must be 0 or more, not ${this.#probeIntervalMs}`);
    }
  }

  get state(): ReconnectState {
    return this.#state;
  }

  /** Attempts to connect since the last connection that lasted. */
  get attempts(): number {
    return this.#attempts;
  }

  /** Begins: the first attempt is made at once. Without effect unless `void`. */
  enable(now: number): ReconnectStep {
    if (this.#state === "void") {
      this.#state = "backoff";
      this.#backoffMs = 0;
      this.#attempts = 0;
      this.#deadline = now;
    }
    return this.run(now);
  }

  /** Ends: whatever there is must be disconnected. */
  disable(_now: number): ReconnectStep {
    const before = this.#state;
    this.#state = "void";
    return before === "connecting" || before === "active" || before === "idle"
      ? { action: "disconnect", reason: "disabled" }
      : {};
  }

  /** The attempt succeeded. */
  connected(now: number): ReconnectStep {
    if (this.#state === "connecting") {
      this.#state = "active";
      this.#connectedAt = now;
      this.#lastReceived = now;
    }
    return this.run(now);
  }

  /** The attempt failed, or the connection ended. */
  disconnected(now: number): ReconnectStep {
    if (this.#state !== "void" && this.#state !== "backoff") this.#fail(now);
    return this.run(now);
  }

  /**
   * Bytes arrived. Called for every chunk, hence it returns nothing: the deadline it moves only gets later, and a
   * `run` that comes too early is harmless.
   */
  received(now: number): void {
    this.#lastReceived = now;
    if (this.#state === "idle") this.#state = "active";
  }

  /** Time passed. May be called at any moment; must be called at the last `deadline` at the latest. */
  run(now: number): ReconnectStep {
    switch (this.#state) {
      case "void":
        return {};
      case "backoff":
        if (now < this.#deadline) return { deadline: this.#deadline };
        this.#state = "connecting";
        this.#attempts++;
        this.#deadline = now + this.#connectTimeoutMs;
        return { action: "connect", deadline: this.#deadline };
      case "connecting":
        if (now < this.#deadline) return { deadline: this.#deadline };
        this.#fail(now);
        return { action: "disconnect", reason: "connect-timeout", deadline: this.#deadline };
      case "active": {
        if (this.#probeIntervalMs === 0) return {};
        const quietUntil = this.#lastReceived + this.#probeIntervalMs;
        if (now < quietUntil) return { deadline: quietUntil };
        this.#state = "idle";
        this.#deadline = now + this.#probeIntervalMs;
        return { action: "probe", deadline: this.#deadline };
      }
      case "idle":
        if (now < this.#deadline) return { deadline: this.#deadline };
        this.#fail(now);
        return { action: "disconnect", reason: "silent", deadline: this.#deadline };
    }
  }

  #fail(now: number): void {
    const lived = this.#state === "active" || this.#state === "idle" ? now - this.#connectedAt : 0;
    if (lived > 0 && lived >= this.#backoffMs) {
      this.#backoffMs = this.#minBackoffMs;
      this.#attempts = 0;
    } else {
      this.#backoffMs = this.#backoffMs === 0 ? this.#minBackoffMs : Math.min(this.#backoffMs * 2, this.#maxBackoffMs);
    }
    this.#state = "backoff";
    this.#deadline = now + this.#backoffMs * (1 - JITTER * this.#random());
  }
}

function positive(name: string, value: number): number {
  if (!(value > 0)) throw new StreamError("STREAM_INVALID", `${name} must be more than 0, not ${value}`);
  return value;
}

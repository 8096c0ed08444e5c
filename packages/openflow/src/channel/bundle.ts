import { encodeMessage } from "../codec.ts";
import type { Message } from "../tables/messages.ts";
import { SwitchError } from "./errors.ts";

/** What a bundle needs of its channel. */
export interface BundleChannel {
  readonly bundle: number;
  allocateXid(): number;
  ask(message: Message): Promise<Message>;
  /** Queues one frame; resolves when there is room for more. Rejects when the connection is no longer the same. */
  queue(frame: Buffer): Promise<void> | undefined;
}

/**
 * One bundle (OpenFlow 1.5 section 7.3.9): opened, filled, and committed only when the switch has accepted every part of
 * it, because a refused addition does not keep the switch from committing the others.
 */
export class Bundle {
  readonly #channel: BundleChannel;
  readonly #messages: readonly Message[];
  /** Where in `messages` the addition with a transaction number stands, from 1. */
  readonly #positions = new Map<number, number>();
  readonly #refusals: SwitchError[] = [];

  constructor(channel: BundleChannel, messages: readonly Message[]) {
    this.#channel = channel;
    this.#messages = messages;
  }

  /** Whether a refusal concerns this bundle; if so it is kept. */
  claim(refusal: SwitchError): boolean {
    if (!this.#positions.has(refusal.xid)) return false;
    this.#refusals.push(refusal);
    return true;
  }

  async run(): Promise<void> {
    // Everything is encoded before the switch hears of it: a value without encoding leaves no open bundle behind.
    const frames = this.#messages.map((message, index) => {
      const xid = this.#channel.allocateXid();
      this.#positions.set(xid, index + 1);
      return encodeMessage({ type: "bundle_add", bundle: this.#channel.bundle, flags: FLAGS, message }, xid);
    });
    await this.#control("open_request");
    try {
      for (const frame of frames) await this.#channel.queue(frame);
      await this.#channel.ask({ type: "barrier_request" });
      this.#throwRefusal();
    } catch (error) {
      // If it cannot be discarded either, the connection is gone, and the bundle with it.
      await this.#control("discard_request").catch(() => {});
      throw error;
    }
    try {
      await this.#control("commit_request");
    } catch (error) {
      this.#throwRefusal(error);
      throw error;
    }
  }

  #control(control: "open_request" | "commit_request" | "discard_request"): Promise<Message> {
    return this.#channel.ask({ type: "bundle_control", bundle: this.#channel.bundle, control, flags: FLAGS });
  }

  #throwRefusal(cause?: unknown): void {
    const refusal = this.#refusals[0];
    if (refusal === undefined) return;
    const position = this.#positions.get(refusal.xid) ?? 0;
    const what = `message ${position} of ${this.#messages.length} of the bundle, of which nothing was applied`;
    const error = new SwitchError(refusal.xid, refusal.body, what);
    if (cause !== undefined) error.cause = cause;
    throw error;
  }
}

const FLAGS = ["atomic", "ordered"] as const;

import type { Message } from "../tables/messages.ts";
import { ChannelError } from "./errors.ts";

export interface RequestOptions {
  /** How long to wait for the whole answer, ms. Default: the channel's. */
  readonly timeoutMs?: number;
  /** The longest answer accepted, bytes on the wire, all parts together. Default 64 MiB. */
  readonly maxReplyBytes?: number;
  /**
   * Takes the parts of a multipart answer as they come, so that none is kept; `request` then resolves with the last
   * part alone, which `onPart` has seen as well.
   */
  readonly onPart?: (part: MultipartReply) => void;
}

export type MultipartReply = Extract<Message, { type: "multipart_reply" }>;

const DEFAULT_MAX_REPLY_BYTES = 64 * 1024 * 1024;

/** The answer to one request while it arrives (OpenFlow 1.5 section 7.3.5: parts share the request's xid). */
export class ReplyAssembly {
  /** The type of the request, for messages. */
  readonly what: string;
  readonly #options: RequestOptions;
  readonly #onDone: (reply: Message) => void;
  readonly #onFailed: (error: Error) => void;
  readonly #parts: MultipartReply[] = [];
  #bytes = 0;

  constructor(
    what: string,
    options: RequestOptions,
    onDone: (reply: Message) => void,
    onFailed: (error: Error) => void,
  ) {
    this.what = what;
    this.#options = options;
    this.#onDone = onDone;
    this.#onFailed = onFailed;
  }

  fail(error: Error): void {
    this.#onFailed(error);
  }

  take(message: Message, bytes: number): void {
    if (message.type !== "multipart_reply") {
      this.#onDone(message);
      return;
    }
    this.#bytes += bytes;
    const limit = this.#options.maxReplyBytes ?? DEFAULT_MAX_REPLY_BYTES;
    if (this.#options.onPart === undefined && this.#bytes > limit) {
      this.fail(
        new ChannelError(
          "OPENFLOW_REPLY_TOO_LARGE",
          `the answer to ${this.what} passed ${limit} bytes; ask for less at once, take it in parts (onPart), or raise maxReplyBytes`,
        ),
      );
      return;
    }
    if (this.#options.onPart !== undefined) {
      try {
        this.#options.onPart(message);
      } catch (error) {
        this.fail(error as Error);
        return;
      }
      if (message.more !== true) this.#onDone(message);
      return;
    }
    this.#parts.push(message);
    if (message.more !== true) this.#onDone(joined(this.#parts));
  }
}

/** Bodies of several parts differ only in their lists. */
function joined(parts: readonly MultipartReply[]): Message {
  const first = parts[0]!;
  if (parts.length === 1) return first;
  const body: Record<string, unknown> = { ...first.body };
  for (const [name, value] of Object.entries(first.body)) {
    if (!Array.isArray(value)) continue;
    body[name] = parts.flatMap((part) => (part.body as unknown as Record<string, readonly unknown[]>)[name] ?? []);
  }
  return { type: "multipart_reply", body } as unknown as Message;
}

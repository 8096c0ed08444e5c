import { Connection, formatAddress, silentLogger, type Logger } from "@beyondfabric/stream";
import { decodeMessage, encodeMessage, HEADER_SIZE } from "../codec.ts";
import { OpenFlowDecodeError, OpenFlowEncodeError } from "../errors.ts";
import { isPacketIn2 } from "../packet-in-view.ts";
import type { ErrorBody, Message } from "../tables/messages.ts";
import { Bundle } from "./bundle.ts";
import { ChannelError, SwitchError } from "./errors.ts";
import { FrameSplitter } from "./framer.ts";
import { helloMessage, helloRefusal, helloRefused, negotiate } from "./hello.ts";
import type { ChannelOptions, Features } from "./options.ts";
import { ReplyAssembly, type RequestOptions } from "./reply.ts";

const ECHO_REQUEST = 2;
const ECHO_REPLY = 3;

/** Features, configuration, multipart, barrier, role, async and bundle-control replies. */
const REPLY_CODES: ReadonlySet<number> = new Set([6, 8, 19, 21, 25, 27, 33]);

const DEFAULT_MAX_QUEUE_BYTES = 32 * 1024 * 1024;
const DEFAULT_TIMEOUT_MS = 10_000;
const MAX_REQUESTS = 4096;
/** Packet-ins that arrive between the setup that allows them and its confirmation wait for `onConnected`. */
const MAX_EARLY_FRAMES = 512;
/** Own transaction numbers have this bit, so that callers who number their frames themselves can stay out of the way. */
const OWN_XID = 0x8000_0000;

/**
 * The channel to one switch (OpenFlow 1.5 sections 6.3 and 7.5): opens, keeps and reopens the connection, pairs
 * answers with requests, and puts everything that is sent in one turn of the event loop into one write.
 *
 * Callers that number raw frames themselves use transaction numbers below 0x80000000.
 */
export class Channel {
  readonly #options: ChannelOptions;
  readonly #where: string;
  readonly #logger: Logger;
  readonly #timeoutMs: number;
  readonly #maxQueueBytes: number;
  readonly #connection: Connection;
  readonly #requests = new Map<number, ReplyAssembly>();
  #splitter: FrameSplitter | undefined;
  #phase: "down" | "hello" | "features" | "setup" | "up" = "down";
  #features: Features | undefined;
  #setupXids = new Set<number>();
  #early: Buffer[] = [];
  #openingTimer: NodeJS.Timeout | undefined;
  #lastError: Error | undefined;
  #queue: Buffer[] = [];
  #queueBytes = 0;
  #inChunk = false;
  #flushPlanned = false;
  #nextXid = OWN_XID;
  #nextBundle = 1;
  #drainWaiters: (() => void)[] = [];
  readonly #bundles = new Set<Bundle>();

  constructor(options: ChannelOptions) {
    this.#options = options;
    this.#logger = options.logger ?? silentLogger;
    this.#timeoutMs = options.timeoutMs ?? DEFAULT_TIMEOUT_MS;
    this.#maxQueueBytes = options.maxQueueBytes ?? DEFAULT_MAX_QUEUE_BYTES;
    // The channel counts what it has not handed over too, so the limit is kept here.
    this.#connection = new Connection({ ...options, maxQueueBytes: Number.MAX_SAFE_INTEGER });
    this.#where = formatAddress(this.#connection.address);
    this.#connection.on("connected", () => this.#begin());
    this.#connection.on("disconnected", (reason, established) => this.#end(reason, established));
    this.#connection.on("data", (chunk) => this.#received(chunk));
    this.#connection.on("probe", () => this.#probe());
    this.#connection.on("writable", () => this.#drained());
  }

  /** Between `onConnected` and `onDisconnected`. */
  get connected(): boolean {
    return this.#phase === "up";
  }

  /** What the switch said of itself on this connection. */
  get features(): Features | undefined {
    return this.#features;
  }

  /** Why there is no connection, `undefined` while there is one. */
  get lastError(): Error | undefined {
    return this.#phase === "up" ? undefined : this.#lastError;
  }

  /** How full the queue towards the switch is: 0 empty, 1 full. */
  get pressure(): number {
    return (this.#queueBytes + this.#connection.queuedBytes) / this.#maxQueueBytes;
  }

  /** Begins to connect, and reconnects until `close`. */
  start(): void {
    this.#connection.start();
  }

  /** Ends the channel; what is queued is lost (await `barrier` before, if it matters), open requests are rejected. */
  async close(): Promise<void> {
    await this.#connection.close();
  }

  /**
   * Queues a message, or a whole frame that must not change afterwards, and returns its transaction number: a refusal
   * reaches `onError` with it. Throws `OPENFLOW_DISCONNECTED` or `OPENFLOW_CHANNEL_OVERFLOW`, having queued nothing, and
   * `OpenFlowEncodeError` when the message has no encoding.
   */
  send(message: Message | Buffer): number {
    this.#requireUp("the message");
    if (Buffer.isBuffer(message)) {
      this.#enqueue([message]);
      return message.readUInt32BE(4);
    }
    const xid = this.#allocateXid();
    this.#enqueue([encodeMessage(message, xid)]);
    return xid;
  }

  /** Queues whole frames: all of them, or none when it throws as `send` does. */
  sendFrames(frames: readonly Buffer[]): void {
    this.#requireUp("the frames");
    this.#enqueue(frames);
  }

  /**
   * Sends a request and resolves with its answer; the parts of a multipart answer are joined into one. Rejects with
   * `SwitchError` when the switch refuses, and with `ChannelError`: `OPENFLOW_TIMEOUT`, `OPENFLOW_REPLY_TOO_LARGE`, or
   * `OPENFLOW_DISCONNECTED`, when the fate of what was asked is unknown.
   */
  async request(message: Message, options: RequestOptions = {}): Promise<Message> {
    this.#requireUp(message.type);
    return this.#ask(message, options);
  }

  /** Resolves when the switch has processed everything sent before (section 7.3.7). Not: when packets obey it. */
  async barrier(): Promise<void> {
    await this.request({ type: "barrier_request" });
  }

  /**
   * Applies flow-mods, group-mods, port-mods and packet-outs as one: in order, all or none, no packet sees a state in
   * between (section 7.3.9). Rejects with the `SwitchError` of the message that was refused, whose position in
   * `messages` the error's text names; then nothing was applied.
   */
  async bundle(messages: readonly Message[]): Promise<void> {
    this.#requireUp("the bundle");
    const session = this.#splitter;
    const requireSession = (): void => {
      if (this.#splitter === session) return;
      throw new ChannelError(
        "OPENFLOW_DISCONNECTED",
        "the connection ended before the bundle was committed; nothing of it was applied",
        { cause: this.#lastError },
      );
    };
    const bundle = new Bundle(
      {
        bundle: this.#nextBundle++,
        allocateXid: () => this.#allocateXid(),
        ask: async (message) => {
          requireSession();
          return this.#ask(message, {});
        },
        queue: (frame) => {
          requireSession();
          this.#enqueue([frame]);
          return this.pressure <= 0.5 ? undefined : this.#whenDrained().then(requireSession);
        },
      },
      messages,
    );
    this.#bundles.add(bundle);
    try {
      await bundle.run();
    } finally {
      this.#bundles.delete(bundle);
    }
  }

  #requireUp(what: string): void {
    if (this.#phase === "up") return;
    const why = this.#lastError === undefined ? "" : ` (${this.#lastError.message})`;
    throw new ChannelError(
      "OPENFLOW_DISCONNECTED",
      `${what} was not sent: no channel to the switch at ${this.#where}${why}`,
      { cause: this.#lastError },
    );
  }

  #allocateXid(): number {
    const xid = this.#nextXid;
    this.#nextXid = xid === 0xffff_ffff ? OWN_XID : xid + 1;
    return xid;
  }

  #ask(message: Message, options: RequestOptions): Promise<Message> {
    return new Promise((resolve, reject) => {
      if (this.#requests.size >= MAX_REQUESTS) {
        reject(
          new ChannelError(
            "OPENFLOW_CHANNEL_OVERFLOW",
            `${message.type} was not sent: ${MAX_REQUESTS} requests already wait for the switch at ${this.#where}`,
          ),
        );
        return;
      }
      const xid = this.#allocateXid();
      this.#enqueue([encodeMessage(message, xid)]);
      const timeoutMs = options.timeoutMs ?? this.#timeoutMs;
      const timer = setTimeout(() => {
        this.#requests.delete(xid);
        reject(
          new ChannelError(
            "OPENFLOW_TIMEOUT",
            `no answer to ${message.type} from the switch at ${this.#where} within ${timeoutMs} ms`,
          ),
        );
      }, timeoutMs);
      const settled = (): void => {
        clearTimeout(timer);
        this.#requests.delete(xid);
      };
      this.#requests.set(
        xid,
        new ReplyAssembly(
          message.type,
          options,
          (reply) => {
            settled();
            resolve(reply);
          },
          (error) => {
            settled();
            reject(error);
          },
        ),
      );
    });
  }

  // Towards the switch.

  #enqueue(frames: readonly Buffer[]): void {
    let bytes = 0;
    for (const frame of frames) bytes += frame.length;
    const waiting = this.#queueBytes + this.#connection.queuedBytes;
    if (waiting + bytes > this.#maxQueueBytes) {
      throw new ChannelError(
        "OPENFLOW_CHANNEL_OVERFLOW",
        `the switch at ${this.#where} does not read fast enough: ${waiting} bytes wait, ${bytes} more would pass the ` +
          `limit of ${this.#maxQueueBytes}; send less, or wait for onWritable`,
      );
    }
    for (const frame of frames) this.#queue.push(frame);
    this.#queueBytes += bytes;
    if (this.#inChunk || this.#flushPlanned) return;
    this.#flushPlanned = true;
    setImmediate(() => {
      this.#flushPlanned = false;
      this.#flush();
    });
  }

  #flush(): void {
    if (this.#queue.length === 0 || !this.#connection.connected) return;
    const bytes = this.#queue.length === 1 ? this.#queue[0]! : Buffer.concat(this.#queue, this.#queueBytes);
    this.#queue = [];
    this.#queueBytes = 0;
    // What the system took at once leaves nothing to drain, and then no event comes.
    if (this.#connection.write(bytes) || this.#connection.queuedBytes === 0) this.#wakeDrainWaiters();
  }

  #drained(): void {
    this.#wakeDrainWaiters();
    if (this.#phase === "up" && this.#queueBytes === 0) this.#listener(() => this.#options.onWritable?.());
  }

  #whenDrained(): Promise<void> {
    return new Promise((resolve) => {
      this.#drainWaiters.push(resolve);
    });
  }

  #wakeDrainWaiters(): void {
    const waiters = this.#drainWaiters;
    this.#drainWaiters = [];
    for (const wake of waiters) wake();
  }

  #probe(): void {
    if (this.#phase === "down") return;
    this.#guarded(() =>
      this.#enqueue([encodeMessage({ type: "echo_request", data: Buffer.alloc(0) }, this.#allocateXid())]),
    );
  }

  // The life of one connection: hello, features, setup, up.

  #begin(): void {
    this.#phase = "hello";
    this.#splitter = new FrameSplitter((frame) => this.#frame(frame));
    this.#openingTimer = setTimeout(() => {
      this.#connection.reset(
        new ChannelError(
          "OPENFLOW_TIMEOUT",
          `the switch at ${this.#where} did not finish the opening dialogue (${this.#phase}) in time`,
        ),
      );
    }, this.#timeoutMs);
    this.#guarded(() => this.#connection.write(encodeMessage(helloMessage, this.#allocateXid())));
  }

  #end(reason: Error, established: boolean): void {
    const wasUp = this.#phase === "up";
    clearTimeout(this.#openingTimer);
    this.#phase = "down";
    this.#splitter = undefined;
    this.#features = undefined;
    this.#lastError = reason;
    this.#setupXids.clear();
    this.#early = [];
    this.#queue = [];
    this.#queueBytes = 0;
    this.#wakeDrainWaiters();
    if (established) this.#logger.warn({ address: this.#where, reason: reason.message }, "channel to the switch lost");
    else this.#logger.debug({ address: this.#where, reason: reason.message }, "switch not reached");
    for (const request of this.#requests.values()) {
      request.fail(
        new ChannelError(
          "OPENFLOW_DISCONNECTED",
          `${request.what} was sent to the switch at ${this.#where} and not answered: ${reason.message}; what it asked for may or may not have happened`,
          { cause: reason },
        ),
      );
    }
    if (wasUp) this.#listener(() => this.#options.onDisconnected?.(reason));
  }

  #received(chunk: Buffer): void {
    const splitter = this.#splitter;
    if (splitter === undefined) return;
    this.#inChunk = true;
    this.#guarded(() => splitter.push(chunk));
    this.#inChunk = false;
    this.#guarded(() => this.#flush());
  }

  #frame(frame: Buffer): void {
    if (this.#splitter === undefined) return;
    if (isPacketIn2(frame)) {
      if (this.#phase === "up") this.#packetIn(frame);
      else if (this.#early.length < MAX_EARLY_FRAMES) this.#early.push(Buffer.from(frame));
      return;
    }
    const code = frame[1]!;
    if (code === ECHO_REQUEST) {
      const reply = Buffer.from(frame);
      reply[1] = ECHO_REPLY;
      this.#enqueue([reply]);
      return;
    }
    if (code === ECHO_REPLY) return;
    const xid = frame.readUInt32BE(4);
    const request = this.#requests.get(xid);
    // The rest of an answer that was refused or came too late: nobody waits for it.
    if (request === undefined && xid >= OWN_XID && REPLY_CODES.has(code)) return;
    let message: Message;
    try {
      message = decodeMessage(frame);
    } catch (error) {
      this.#unreadable(frame, error as Error, request);
      return;
    }
    if (message.type === "error") this.#refused(xid, message, request);
    else if (this.#phase === "hello") this.#hello(message);
    else if (request !== undefined) request.take(message, frame.length);
    else if (this.#phase === "up") this.#listener(() => this.#options.onMessage?.(message, xid));
  }

  #packetIn(frame: Buffer): void {
    try {
      this.#options.onPacketIn?.(frame);
    } catch (error) {
      this.#failedListener(error);
    }
  }

  /**
   * A full queue, or a packet-in that cannot be read or resumed, is the switch's doing and goes to `onError`. Anything
   * else is the listener's own mistake: it surfaces as an uncaught error, but not in the middle of a chunk of frames.
   */
  #failedListener(error: unknown): void {
    const switchsDoing =
      error instanceof ChannelError || error instanceof OpenFlowDecodeError || error instanceof OpenFlowEncodeError;
    if (switchsDoing && this.#options.onError !== undefined) {
      try {
        this.#options.onError(error);
        return;
      } catch (second) {
        surface(second);
        return;
      }
    }
    surface(error);
  }

  /** The frame ends where it says, so the stream is still in step: only this message is lost. */
  #unreadable(frame: Buffer, error: Error, request: ReplyAssembly | undefined): void {
    if (this.#phase === "hello") throw error;
    this.#logger.warn(
      { address: this.#where, error: error.message, frame: frame.toString("hex", 0, HEADER_SIZE + 56) },
      "the switch sent a message that cannot be read",
    );
    if (request !== undefined) request.fail(error);
    else this.#listener(() => this.#options.onError?.(error));
  }

  #refused(xid: number, body: ErrorBody, request: ReplyAssembly | undefined): void {
    // Its refusal of our hello may come after its own hello.
    if (this.#phase === "hello" || (this.#phase === "features" && body.errorType === 0)) throw helloRefused(body);
    const error = new SwitchError(xid, body);
    if (request !== undefined) {
      request.fail(error);
      return;
    }
    if (this.#setupXids.has(xid)) {
      throw new ChannelError("OPENFLOW_SETUP", `the switch at ${this.#where} cannot be prepared: ${error.message}`, {
        cause: error,
      });
    }
    for (const bundle of this.#bundles) if (bundle.claim(error)) return;
    this.#listener(() => this.#options.onError?.(error));
  }

  #hello(message: Message): void {
    if (message.type !== "hello") {
      throw new ChannelError(
        "OPENFLOW_PROTOCOL",
        `the switch at ${this.#where} began with ${message.type} instead of hello`,
      );
    }
    try {
      negotiate(message);
    } catch (error) {
      this.#connection.write(encodeMessage(helloRefusal((error as Error).message), this.#allocateXid()));
      throw error;
    }
    this.#phase = "features";
    this.#step({ type: "features_request" }, (reply) => {
      if (reply.type !== "features_reply") {
        throw new ChannelError("OPENFLOW_PROTOCOL", `the switch answered features_request with ${reply.type}`);
      }
      this.#features = reply;
      this.#phase = "setup";
      const frames = (this.#options.setup ?? []).map((each) => {
        const xid = this.#allocateXid();
        this.#setupXids.add(xid);
        return encodeMessage(each, xid);
      });
      this.#enqueue(frames);
      this.#step({ type: "barrier_request" }, () => this.#ready(reply));
    });
  }

  /** A request of the opening dialogue; its answer is taken at once, in the order of arrival. */
  #step(message: Message, next: (reply: Message) => void): void {
    const xid = this.#allocateXid();
    this.#requests.set(
      xid,
      new ReplyAssembly(
        message.type,
        {},
        (reply) => {
          this.#requests.delete(xid);
          next(reply);
        },
        (error) => {
          this.#requests.delete(xid);
          if (this.#phase !== "down") this.#connection.reset(error);
        },
      ),
    );
    this.#enqueue([encodeMessage(message, xid)]);
  }

  #ready(features: Features): void {
    clearTimeout(this.#openingTimer);
    this.#phase = "up";
    this.#lastError = undefined;
    this.#setupXids.clear();
    this.#logger.info(
      { address: this.#where, datapathId: features.datapathId.toString(16) },
      "channel to the switch open",
    );
    this.#listener(() => this.#options.onConnected?.(features));
    const early = this.#early;
    this.#early = [];
    for (const frame of early) if (this.#phase === "up") this.#packetIn(frame);
  }

  /** Whatever goes wrong while talking to the switch ends this connection, never the process. */
  #guarded(step: () => void): void {
    try {
      step();
    } catch (error) {
      this.#connection.reset(error as Error);
    }
  }

  #listener(call: () => void): void {
    try {
      call();
    } catch (error) {
      this.#failedListener(error);
    }
  }
}

function surface(error: unknown): void {
  queueMicrotask(() => {
    throw error;
  });
}

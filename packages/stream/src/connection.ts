import { EventEmitter } from "node:events";
import type { Socket } from "node:net";
import { formatAddress, parseAddress, type Address } from "./address.ts";
import { openSocket, unreachable } from "./connect.ts";
import { StreamError } from "./errors.ts";
import { Reconnect, type ReconnectOptions, type ReconnectState, type ReconnectStep } from "./reconnect.ts";

export interface ConnectionOptions extends ReconnectOptions {
  /** `unix:/path` or `tcp:host:port`. */
  readonly address: string | Address;
  /** The most bytes that may wait for a slow peer; a write beyond it throws `STREAM_OVERFLOW`. Default 16 MiB. */
  readonly maxQueueBytes?: number;
}

export interface ConnectionEvents {
  connected: [];
  /** An attempt failed, or an established connection ended; the next attempt is already planned unless closed. */
  disconnected: [reason: StreamError | Error, established: boolean];
  /** Bytes of the peer, valid until the listener returns: the next read overwrites them. */
  data: [chunk: Buffer];
  /** The peer was silent for the probe interval: send something that it must answer. */
  probe: [];
  /** Everything that was queued has been handed to the system. */
  writable: [];
}

const DEFAULT_MAX_QUEUE_BYTES = 16 * 1024 * 1024;

/**
 * A connection that comes back: `Reconnect` run with a real socket and real timers. Both protocols sit on it. It knows
 * nothing of messages; whoever owns it resets it when the bytes make no sense.
 */
export class Connection extends EventEmitter<ConnectionEvents> {
  readonly address: Address;
  readonly #machine: Reconnect;
  readonly #maxQueueBytes: number;
  #socket: Socket | undefined;
  #established = false;
  #timer: NodeJS.Timeout | undefined;
  #timerDeadline: number | undefined;
  #due: NodeJS.Immediate | undefined;
  #lastError: Error | undefined;

  constructor(options: ConnectionOptions) {
    super();
    this.address = typeof options.address === "string" ? parseAddress(options.address) : options.address;
    this.#machine = new Reconnect(options);
    this.#maxQueueBytes = options.maxQueueBytes ?? DEFAULT_MAX_QUEUE_BYTES;
  }

  get state(): ReconnectState {
    return this.#machine.state;
  }

  get connected(): boolean {
    return this.#established;
  }

  /** Bytes handed to `write` that the system has not taken yet. */
  get queuedBytes(): number {
    return this.#established ? (this.#socket?.writableLength ?? 0) : 0;
  }

  /** The most recent reason for having no connection, `undefined` while connected. */
  get lastError(): Error | undefined {
    return this.#lastError;
  }

  /** Begins to connect, and to reconnect until `close`. */
  start(): void {
    this.#obey(this.#machine.enable(performance.now()));
  }

  /**
   * Queues bytes; they must not be changed afterwards. Returns `false` when the peer is slower than the writer: the
   * caller should pause until `writable`. Throws `STREAM_CLOSED` when not connected and `STREAM_OVERFLOW` when the
   * queue is full; in both cases nothing of `bytes` was queued.
   */
  write(bytes: Uint8Array | string): boolean {
    const socket = this.#socket;
    if (socket === undefined || !this.#established) {
      throw new StreamError("STREAM_CLOSED", `not connected to ${formatAddress(this.address)}`, {
        cause: this.#lastError,
      });
    }
    const length = typeof bytes === "string" ? Buffer.byteLength(bytes) : bytes.length;
    if (socket.writableLength + length > this.#maxQueueBytes) {
      throw new StreamError(
        "STREAM_OVERFLOW",
        `${formatAddress(this.address)} does not read fast enough: ${socket.writableLength} bytes wait, ${length} more ` +
          `would pass the limit of ${this.#maxQueueBytes}; send less, or wait for "writable"`,
      );
    }
    return socket.write(bytes);
  }

  /** Drops the present connection because its content makes no sense (`reason`), and connects again after the delay. */
  reset(reason: Error): void {
    if (this.#socket === undefined) return;
    this.#lost(reason);
  }

  /** Ends it for good; what is still queued is dropped. Resolves when the socket is closed. May be started again. */
  async close(): Promise<void> {
    const socket = this.#socket;
    const established = this.#established;
    this.#machine.disable(performance.now());
    this.#clearTimer();
    this.#socket = undefined;
    this.#established = false;
    if (socket === undefined) return;
    const closed = new Promise<void>((resolve) => {
      if (socket.closed) resolve();
      else socket.once("close", () => resolve());
    });
    socket.destroy();
    await closed;
    if (established) {
      this.emit("disconnected", new StreamError("STREAM_CLOSED", "closed by this side"), true);
    }
  }

  #obey(step: ReconnectStep): void {
    if (step.action === "connect") this.#open();
    else if (step.action === "probe") this.emit("probe");
    else if (step.action === "disconnect") {
      const where = formatAddress(this.address);
      this.#drop(
        step.reason === "silent"
          ? new StreamError("STREAM_SILENT", `${where} did not answer a probe; is the service stuck?`)
          : unreachable(this.address, new Error("no answer to the attempt to connect")),
      );
    }
    this.#arm(step.deadline);
  }

  #open(): void {
    const socket = openSocket(this.address, (chunk) => {
      if (this.#socket !== socket) return;
      this.#machine.received(performance.now());
      this.emit("data", chunk);
    });
    this.#socket = socket;
    let failure: Error | undefined;
    socket.on("connect", () => {
      if (this.#socket !== socket) return;
      this.#established = true;
      this.#lastError = undefined;
      this.#obey(this.#machine.connected(performance.now()));
      this.emit("connected");
    });
    socket.on("drain", () => {
      if (this.#socket === socket) this.emit("writable");
    });
    socket.on("error", (error) => {
      failure = error;
    });
    // A peer that ends its half has no more to say in either protocol, and would leave a half-open socket behind.
    socket.on("end", () => socket.destroy());
    socket.on("close", () => {
      if (this.#socket !== socket) return;
      const where = formatAddress(this.address);
      if (!this.#established) this.#lost(unreachable(this.address, failure ?? new Error("closed while connecting")));
      else {
        const why = failure === undefined ? "the peer ended the connection" : failure.message;
        this.#lost(new StreamError("STREAM_CLOSED", `connection to ${where} lost: ${why}`, { cause: failure }));
      }
    });
  }

  /** The socket is to be given up: tells the machine, then the owner. */
  #lost(reason: Error): void {
    const step = this.#machine.disconnected(performance.now());
    this.#drop(reason);
    this.#obey(step);
  }

  #drop(reason: Error): void {
    const socket = this.#socket;
    const established = this.#established;
    this.#socket = undefined;
    this.#established = false;
    this.#lastError = reason;
    socket?.destroy();
    this.emit("disconnected", reason, established);
  }

  #arm(deadline: number | undefined): void {
    if (deadline === this.#timerDeadline && this.#timer !== undefined) return;
    this.#clearTimer();
    // A listener may have closed the connection in the meantime.
    if (deadline === undefined || this.#machine.state === "void") return;
    this.#timerDeadline = deadline;
    this.#timer = setTimeout(
      () => {
        // After a stall of this process the timer is due before the answer that lies in the socket has been read: let
        // the event loop read first, or a healthy peer would be taken for a silent one.
        this.#due = setImmediate(() => {
          this.#timer = undefined;
          this.#due = undefined;
          this.#obey(this.#machine.run(performance.now()));
        });
      },
      Math.max(1, Math.ceil(deadline - performance.now())),
    );
  }

  #clearTimer(): void {
    clearTimeout(this.#timer);
    clearImmediate(this.#due);
    this.#timer = undefined;
    this.#due = undefined;
    this.#timerDeadline = undefined;
  }
}

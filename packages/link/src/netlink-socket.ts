/**
 * A rtnetlink socket that belongs to one network namespace. Requests that are made in the same turn of the event loop
 * travel in one send, in order, and each gets its own answer; the kernel works on them on a pool thread, because it may
 * wait there for its configuration lock while somebody else deletes an interface.
 */
import {
  AF_NETLINK,
  bindSocket,
  closeDescriptor,
  EAGAIN,
  EINTR,
  ENOBUFS,
  openSocket,
  receiveInPool,
  receiveNow,
  sendInPool,
  setSocketOption,
  setSocketOptionBytes,
  SO_RCVBUF,
  SO_RCVTIMEO,
  SOCK_RAW,
  SOL_NETLINK,
  SOL_SOCKET,
  type CallResult,
} from "./libc.ts";
import { errnoName, LinkError } from "./errors.ts";
import { withNamespace } from "./namespace.ts";
import {
  NLM_F_DUMP_INTR,
  NLMSG_DONE,
  NLMSG_ERROR,
  NLMSG_OVERRUN,
  parseAcknowledgement,
  parseMessages,
  type Acknowledgement,
  type Message,
  type MessageWriter,
} from "./netlink.ts";

const NETLINK_ROUTE = 0;
const NETLINK_CAP_ACK = 10;
const NETLINK_EXT_ACK = 11;
const NETLINK_GET_STRICT_CHK = 12;
/** The kernel never makes a datagram of a dump larger than this. */
const RECEIVE_BYTES = 64 << 10;
/** Enough for a batch's acknowledgements many times over. */
const RECEIVE_QUEUE_BYTES = 1 << 20;
const MAX_BATCH_MESSAGES = 32;
const MAX_BATCH_BYTES = 32 << 10;
const RECEIVE_TIMEOUT_SECONDS = 10;

/** For receiving without waiting: used and copied within one turn, so one serves all sockets. */
const sharedBuffer = Buffer.alloc(RECEIVE_BYTES);

/** What came back for one request. */
export interface Reply {
  readonly acknowledgement: Acknowledgement;
  readonly messages: readonly Message[];
  /** The kernel says that the set changed during the dump, so that it may be incomplete. */
  readonly interrupted: boolean;
}

interface Pending {
  readonly writer: MessageWriter;
  readonly isDump: boolean;
  readonly resolve: (reply: Reply) => void;
  readonly reject: (error: unknown) => void;
  readonly messages: Message[];
  interrupted: boolean;
}

/** See the file's comment. */
export class NetlinkSocket {
  readonly #descriptor: number;
  readonly #object: string;
  /** For receiving on a pool thread; made when first needed, because most sockets live for one pod's wiring. */
  #poolBuffer: Buffer | undefined;
  readonly #queue: Pending[] = [];
  #sequence = 0;
  #running: Promise<void> | undefined;
  #closed = false;

  private constructor(descriptor: number, object: string) {
    this.#descriptor = descriptor;
    this.#object = object;
  }

  /** Opens a socket in the namespace at `netns`, by default the calling thread's. Throws LINK_NO_NAMESPACE. */
  static open(netns?: string): NetlinkSocket {
    const object = `rtnetlink of ${netns ?? "this namespace"}`;
    const descriptor = withNamespace(netns, () => openSocket(AF_NETLINK, SOCK_RAW, NETLINK_ROUTE, object));
    try {
      const address = Buffer.alloc(12);
      address.writeUInt16LE(AF_NETLINK, 0);
      bindSocket(descriptor, address, object);
      for (const option of [NETLINK_CAP_ACK, NETLINK_EXT_ACK, NETLINK_GET_STRICT_CHK]) {
        setSocketOption(descriptor, SOL_NETLINK, option, 1, object);
      }
      setSocketOption(descriptor, SOL_SOCKET, SO_RCVBUF, RECEIVE_QUEUE_BYTES, object);
      const timeout = Buffer.alloc(16);
      timeout.writeBigInt64LE(BigInt(RECEIVE_TIMEOUT_SECONDS), 0);
      setSocketOptionBytes(descriptor, SOL_SOCKET, SO_RCVTIMEO, timeout, object);
    } catch (error) {
      closeDescriptor(descriptor, object);
      throw error;
    }
    return new NetlinkSocket(descriptor, object);
  }

  /** The descriptor, for ioctls about interfaces of this socket's namespace. */
  get descriptor(): number {
    if (this.#closed) throw this.#closedError();
    return this.#descriptor;
  }

  /** Sends a request (NLM_F_REQUEST and NLM_F_ACK set) and gives its answer, also when that is a refusal. */
  request(writer: MessageWriter): Promise<Reply> {
    return this.#enqueue(writer, false);
  }

  /** Sends a dump request (NLM_F_DUMP set) and gives all of its messages. */
  dump(writer: MessageWriter): Promise<Reply> {
    return this.#enqueue(writer, true);
  }

  /** Closes the socket once what was already requested has been answered. */
  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    await this.#running;
    closeDescriptor(this.#descriptor, this.#object);
  }

  #closedError(): LinkError {
    return new LinkError("LINK_CLOSED", `${this.#object} is closed`, { object: this.#object });
  }

  #enqueue(writer: MessageWriter, isDump: boolean): Promise<Reply> {
    if (this.#closed) return Promise.reject(this.#closedError());
    return new Promise((resolve, reject) => {
      this.#queue.push({ writer, isDump, resolve, reject, messages: [], interrupted: false });
      // The microtask lets the rest of the caller's turn join the batch.
      this.#running ??= Promise.resolve().then(() => this.#run());
    });
  }

  async #run(): Promise<void> {
    while (this.#queue.length > 0) {
      const batch = new Map<number, Pending>();
      const frames: Buffer[] = [];
      let bytes = 0;
      while (this.#queue.length > 0 && batch.size < MAX_BATCH_MESSAGES && bytes < MAX_BATCH_BYTES) {
        // A dump keeps the socket busy until it is read to its end, so it travels alone.
        if (this.#queue[0]!.isDump && batch.size > 0) break;
        const pending = this.#queue.shift()!;
        this.#sequence = (this.#sequence + 1) >>> 0;
        const frame = pending.writer.finish(this.#sequence);
        batch.set(this.#sequence, pending);
        frames.push(frame);
        bytes += frame.length;
        if (pending.isDump) break;
      }
      try {
        await this.#exchange(Buffer.concat(frames), batch);
      } catch (error) {
        for (const pending of batch.values()) pending.reject(error);
      }
    }
    // In the same turn as the last look at the queue: whoever asks from now on must start the work again.
    this.#running = undefined;
  }

  async #exchange(frames: Buffer, batch: Map<number, Pending>): Promise<void> {
    const isDump = batch.values().some((pending) => pending.isDump);
    let sent: CallResult;
    do sent = await sendInPool(this.#descriptor, frames);
    while (sent.value < 0 && sent.errno === EINTR);
    if (sent.value !== frames.length) throw this.#systemCall("send", sent.errno);
    while (batch.size > 0) {
      // Answers to requests are queued before send returns; further parts of a dump are made while they are read.
      let buffer: Buffer = sharedBuffer;
      let received = isDump ? undefined : receiveNow(this.#descriptor, buffer, 0);
      if (received === undefined || (received.value < 0 && received.errno === EAGAIN)) {
        buffer = this.#poolBuffer ??= Buffer.alloc(RECEIVE_BYTES);
        received = await receiveInPool(this.#descriptor, buffer, 0);
      }
      if (received.value < 0) {
        if (received.errno === EINTR) continue;
        throw this.#systemCall("recv", received.errno);
      }
      // Payloads outlive the buffer.
      this.#accept(Buffer.from(buffer.subarray(0, received.value)), batch);
    }
  }

  #accept(datagram: Buffer, batch: Map<number, Pending>): void {
    for (const message of parseMessages(datagram)) {
      const pending = batch.get(message.sequence);
      // Answers to a request that failed half-way before; its caller has been told.
      if (pending === undefined) continue;
      if ((message.flags & NLM_F_DUMP_INTR) !== 0) pending.interrupted = true;
      if (message.type === NLMSG_OVERRUN) throw this.#systemCall("recv", ENOBUFS);
      if (message.type === NLMSG_ERROR || message.type === NLMSG_DONE) {
        batch.delete(message.sequence);
        pending.resolve({
          acknowledgement: parseAcknowledgement(message),
          messages: pending.messages,
          interrupted: pending.interrupted,
        });
      } else {
        pending.messages.push(message);
      }
    }
  }

  #systemCall(call: string, errno: number): LinkError {
    return new LinkError("LINK_PROTOCOL", `${call} on ${this.#object} failed`, {
      object: this.#object,
      errno,
      remedy: `what the request did is unknown (${errnoName(errno)}): look before repeating it`,
    });
  }
}

/** Raw frames on an interface (packet(7)): one at a time for announcements, in batches for measurements. */
import {
  AF_PACKET,
  bindSocket,
  closeDescriptor,
  EAGAIN,
  EINTR,
  ENOBUFS,
  ENODEV,
  ioctl,
  MSG_DONTWAIT,
  MSG_TRUNC,
  MSG_WAITFORONE,
  nativeMemory,
  openSocket,
  receiveMany,
  sendMany,
  sendTo,
  setSocketOption,
  setSocketOptionBytes,
  SO_RCVBUF,
  SO_RCVTIMEO,
  SO_SNDBUF,
  SOCK_RAW,
  SOL_PACKET,
  SOL_SOCKET,
  type NativeMemory,
} from "./libc.ts";
import { LinkError } from "./errors.ts";
import { withNamespace } from "./namespace.ts";
import { checkLinkName } from "./rtnetlink.ts";

const SIOCGIFINDEX = 0x8933;
const ETH_P_ALL = 0x0003;
const PACKET_QDISC_BYPASS = 20;
const PACKET_IGNORE_OUTGOING = 23;
const SO_TIMESTAMPNS = 35;
const MMSGHDR_BYTES = 64;
const IOVEC_BYTES = 16;
const CONTROL_BYTES = 64;
const MAX_FRAME = 65_550;

/** How a packet socket is opened. */
export interface PacketSocketOptions {
  /** Path of the interface's namespace; by default the calling thread's. */
  readonly netns?: string;
  readonly ifname: string;
  /** EtherType to receive; 3 (all) by default, 0 receives nothing and is cheapest for a sender. */
  readonly etherType?: number;
  /** Frames that one call handles at most. Default 64. */
  readonly batch?: number;
  /** Bytes of the largest frame. Default 2048; longer received frames are cut. */
  readonly frameBytes?: number;
  /** Have the kernel note when each frame arrived. */
  readonly timestamps?: boolean;
  /** Hand frames to the driver without the interface's queueing discipline. */
  readonly bypassQueue?: boolean;
  /** Bytes of the socket's queue in the kernel, each way. Default: the kernel's. */
  readonly queueBytes?: number;
}

/** A frame that arrived. */
export interface ReceivedFrame {
  /** Valid until the next receive. */
  readonly bytes: Buffer;
  /** Its length on the wire; larger than `bytes` when it was cut. */
  readonly length: number;
  /** Nanoseconds of the system clock; with `timestamps` only. */
  readonly timestamp?: bigint;
}

function failure(call: string, ifname: string, errno: number): LinkError {
  return new LinkError(
    errno === ENODEV ? "LINK_NOT_FOUND" : "LINK_SYSTEM_CALL",
    `${call} on interface ${ifname} failed`,
    {
      object: ifname,
      errno,
    },
  );
}

/** A block of `count` message headers that point to `count` frames. */
class Ring {
  readonly #memory: NativeMemory;
  readonly #frames: number;
  readonly #frameBytes: number;
  readonly #control: number;
  readonly count: number;
  readonly headers: Buffer;

  constructor(count: number, frameBytes: number, withControl: boolean) {
    const vectors = count * MMSGHDR_BYTES;
    const control = vectors + count * IOVEC_BYTES;
    const frames = control + (withControl ? count * CONTROL_BYTES : 0);
    this.#memory = nativeMemory(frames + count * frameBytes);
    this.count = count;
    this.#frameBytes = frameBytes;
    this.#frames = frames;
    this.#control = control;
    this.headers = this.#memory.bytes.subarray(0, vectors);
    const { bytes, address } = this.#memory;
    for (let index = 0; index < count; index++) {
      bytes.writeBigUInt64LE(address + BigInt(vectors + index * IOVEC_BYTES), index * MMSGHDR_BYTES + 16);
      bytes.writeBigUInt64LE(1n, index * MMSGHDR_BYTES + 24);
      bytes.writeBigUInt64LE(address + BigInt(frames + index * frameBytes), vectors + index * IOVEC_BYTES);
      bytes.writeBigUInt64LE(BigInt(frameBytes), vectors + index * IOVEC_BYTES + 8);
      if (withControl) {
        bytes.writeBigUInt64LE(address + BigInt(control + index * CONTROL_BYTES), index * MMSGHDR_BYTES + 32);
      }
    }
  }

  /** Puts a frame into its place for sending. */
  put(index: number, frame: Uint8Array): void {
    const { bytes } = this.#memory;
    bytes.set(frame, this.#frames + index * this.#frameBytes);
    bytes.writeUInt32LE(frame.length, this.count * MMSGHDR_BYTES + index * IOVEC_BYTES + 8);
  }

  /** The kernel writes the length of what it put into the control block; it wants the room again before each call. */
  resetControl(): void {
    for (let index = 0; index < this.count; index++) {
      this.headers.writeUInt32LE(CONTROL_BYTES, index * MMSGHDR_BYTES + 40);
    }
  }

  received(index: number, timestamps: boolean): ReceivedFrame {
    const { bytes } = this.#memory;
    const length = bytes.readUInt32LE(index * MMSGHDR_BYTES + 56);
    const start = this.#frames + index * this.#frameBytes;
    const frame = bytes.subarray(start, start + Math.min(length, this.#frameBytes));
    const control = this.#control + index * CONTROL_BYTES;
    if (!timestamps || bytes.readInt32LE(control + 12) !== SO_TIMESTAMPNS) return { bytes: frame, length };
    const timestamp = bytes.readBigInt64LE(control + 16) * 1_000_000_000n + bytes.readBigInt64LE(control + 24);
    return { bytes: frame, length, timestamp };
  }

  free(): void {
    this.#memory.free();
  }
}

/** A raw socket on one interface. Its calls may block the thread; use it in a worker when they do. Throws LinkError. */
export class PacketSocket implements Disposable {
  readonly #descriptor: number;
  readonly #ifname: string;
  readonly #frameBytes: number;
  readonly #timestamps: boolean;
  readonly #send: Ring;
  readonly #receive: Ring;
  #timeout = -1;
  #closed = false;

  private constructor(descriptor: number, options: PacketSocketOptions) {
    const batch = options.batch ?? 64;
    this.#descriptor = descriptor;
    this.#ifname = options.ifname;
    this.#frameBytes = options.frameBytes ?? 2048;
    this.#timestamps = options.timestamps === true;
    this.#send = new Ring(batch, this.#frameBytes, false);
    this.#receive = new Ring(batch, this.#frameBytes, this.#timestamps);
  }

  /** Opens a socket on an interface. Throws LINK_NOT_FOUND, LINK_NO_NAMESPACE, LINK_NOT_PERMITTED. */
  static open(options: PacketSocketOptions): PacketSocket {
    const { ifname } = options;
    checkLinkName(ifname);
    const { batch = 64, frameBytes = 2048 } = options;
    if (!(batch >= 1 && batch <= 1024) || !(frameBytes >= 64 && frameBytes <= MAX_FRAME)) {
      throw new RangeError(`batch must be 1 to 1024 and frameBytes 64 to ${MAX_FRAME}, not ${batch} and ${frameBytes}`);
    }
    // Protocol 0: nothing is queued before the socket is bound to its interface.
    const descriptor = withNamespace(options.netns, () => openSocket(AF_PACKET, SOCK_RAW, 0, `packets of ${ifname}`));
    try {
      if (options.queueBytes !== undefined) {
        setSocketOption(descriptor, SOL_SOCKET, SO_RCVBUF, options.queueBytes, ifname);
        setSocketOption(descriptor, SOL_SOCKET, SO_SNDBUF, options.queueBytes, ifname);
      }
      if (options.timestamps === true) setSocketOption(descriptor, SOL_SOCKET, SO_TIMESTAMPNS, 1, ifname);
      if (options.bypassQueue === true) setSocketOption(descriptor, SOL_PACKET, PACKET_QDISC_BYPASS, 1, ifname);
      setSocketOption(descriptor, SOL_PACKET, PACKET_IGNORE_OUTGOING, 1, ifname);
      bindSocket(descriptor, linkAddress(descriptor, ifname, options.etherType ?? ETH_P_ALL), ifname);
      return new PacketSocket(descriptor, options);
    } catch (error) {
      closeDescriptor(descriptor, ifname);
      throw error;
    }
  }

  /**
   * Sends frames, Ethernet header first, and returns how many the kernel took: all, or fewer when the queue is full.
   * At most `batch` frames are taken by one call.
   */
  send(frames: readonly Uint8Array[]): number {
    this.#assertOpen();
    const count = Math.min(frames.length, this.#send.count);
    for (let index = 0; index < count; index++) {
      const frame = frames[index]!;
      if (frame.length > this.#frameBytes) {
        throw new RangeError(`a frame of ${frame.length} bytes; frameBytes of this socket is ${this.#frameBytes}`);
      }
      this.#send.put(index, frame);
    }
    for (;;) {
      const { value, errno } = sendMany(this.#descriptor, this.#send.headers, count, 0);
      if (value >= 0) return value;
      if (errno === ENOBUFS || errno === EAGAIN) return 0;
      if (errno !== EINTR) throw failure("send", this.#ifname, errno);
    }
  }

  /**
   * Receives what is there, at most `batch` frames; waits up to `milliseconds` for the first one (0: not at all).
   * The bytes are valid until the next call.
   */
  receive(milliseconds = 0): ReceivedFrame[] {
    this.#assertOpen();
    if (milliseconds > 0 && milliseconds !== this.#timeout) {
      const time = Buffer.alloc(16);
      time.writeBigInt64LE(BigInt(Math.floor(milliseconds / 1000)), 0);
      time.writeBigInt64LE(BigInt(Math.max(1, Math.floor((milliseconds % 1000) * 1000))), 8);
      setSocketOptionBytes(this.#descriptor, SOL_SOCKET, SO_RCVTIMEO, time, this.#ifname);
      this.#timeout = milliseconds;
    }
    if (this.#timestamps) this.#receive.resetControl();
    const flags = MSG_TRUNC | (milliseconds > 0 ? MSG_WAITFORONE : MSG_DONTWAIT);
    const { value, errno } = receiveMany(this.#descriptor, this.#receive.headers, this.#receive.count, flags);
    if (value < 0) {
      if (errno === EAGAIN || errno === EINTR) return [];
      throw failure("receive", this.#ifname, errno);
    }
    return Array.from({ length: value }, (_, index) => this.#receive.received(index, this.#timestamps));
  }

  /** Gives everything back; frames that were received become invalid. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    closeDescriptor(this.#descriptor, this.#ifname);
    this.#send.free();
    this.#receive.free();
  }

  [Symbol.dispose](): void {
    this.close();
  }

  #assertOpen(): void {
    // The rings are memory outside the heap: touching them after close would be touching somebody else's.
    if (this.#closed) {
      throw new LinkError("LINK_CLOSED", `the packet socket of ${this.#ifname} is closed`, { object: this.#ifname });
    }
  }
}

function interfaceIndex(descriptor: number, ifname: string): number {
  const request = Buffer.alloc(40);
  request.write(ifname, 0, 15, "utf8");
  const { value, errno } = ioctl(descriptor, SIOCGIFINDEX, request);
  if (value < 0) throw failure("find", ifname, errno);
  return request.readInt32LE(16);
}

function linkAddress(descriptor: number, ifname: string, etherType: number): Buffer {
  const address = Buffer.alloc(20);
  address.writeUInt16LE(AF_PACKET, 0);
  address.writeUInt16BE(etherType, 2);
  address.writeInt32LE(interfaceIndex(descriptor, ifname), 4);
  return address;
}

/**
 * Sends one frame, Ethernet header first, on an interface of the namespace at `netns` (by default the calling thread's):
 * gratuitous ARP, unsolicited neighbour advertisements, probes. Throws LINK_NOT_FOUND, LINK_NO_NAMESPACE, and
 * LINK_SYSTEM_CALL with ENETDOWN when the interface is down.
 */
export function sendFrame(netns: string | undefined, ifname: string, frame: Uint8Array): void {
  checkLinkName(ifname);
  const descriptor = withNamespace(netns, () => openSocket(AF_PACKET, SOCK_RAW, 0, `packets of ${ifname}`));
  try {
    const { value, errno } = sendTo(descriptor, frame, linkAddress(descriptor, ifname, 0));
    if (value < 0) throw failure("send", ifname, errno);
  } finally {
    closeDescriptor(descriptor, ifname);
  }
}

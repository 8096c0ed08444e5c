/**
 * Raw frames in batches: sendmmsg and recvmmsg on AF_PACKET sockets, with the frames in native memory so that nothing
 * is copied or allocated per packet (packet(7), sendmmsg(2), recvmmsg(2)).
 *
 * Not `PacketSocket` of packages/link, on purpose. That one copies a frame in when it sends, makes an object and a BigInt
 * for each frame that it receives, and repeats nothing: right for announcements and probes, but here its garbage would
 * be measured as the switch's latency. This one fills frames where they lie, writes the send time behind everything else,
 * forces its queues beyond the system's limits, and counts what its own socket dropped.
 */
import { readFileSync } from "node:fs";
import {
  checked,
  EAGAIN,
  EINTR,
  ENOBUFS,
  bindSocket,
  lastErrno,
  library,
  monotonicNow,
  nativeMemory,
  openSocket,
  setOption,
  setOptionBytes,
  SOL_SOCKET,
  timeval,
  type NativeMemory,
} from "./libc.ts";

const AF_PACKET = 17;
const SOCK_RAW = 3;
const SOL_PACKET = 263;
const PACKET_IGNORE_OUTGOING = 23;
const PACKET_STATISTICS = 6;
const SO_RCVTIMEO = 20;
const SO_SNDBUFFORCE = 32;
const SO_RCVBUFFORCE = 33;
const SO_TIMESTAMPNS = 35;
const MSG_WAITFORONE = 0x10000;
const ETH_P_IP = 0x0800;

/** struct mmsghdr: a msghdr of 56 bytes, the number of bytes moved, padding. */
const HEADER = 64;
const NAME = 20;
const CONTROL = 64;

const sendmmsg = library.func("int sendmmsg(int, uintptr_t, unsigned int, int)");
const recvmmsg = library.func("int recvmmsg(int, uintptr_t, unsigned int, int, void *)");
const getsockopt = library.func("int getsockopt(int, int, int, uint8_t *, uint32_t *)");
const clockGettime = library.func("int clock_gettime(int, uint8_t *)");

/** Index of an interface of this network namespace. */
function interfaceIndex(name: string): number {
  const indexFile = `/sys/class/net/${name}/ifindex`;
  return Number.parseInt(readFileSync(indexFile, "utf8"), 10);
}

function packetAddress(protocol: number, name: string): Uint8Array {
  const bytes = new Uint8Array(NAME);
  const view = new DataView(bytes.buffer);
  view.setUint16(0, AF_PACKET, true);
  view.setUint16(2, protocol);
  view.setInt32(4, interfaceIndex(name), true);
  return bytes;
}

/** `slots` message headers, each with one buffer of `frameLength` bytes, and optionally room for control messages. */
class Batch {
  readonly slots: number;
  readonly headers: NativeMemory;
  readonly frames: NativeMemory;
  readonly control: NativeMemory | undefined;
  readonly frameLength: number;

  constructor(slots: number, frameLength: number, withControl: boolean) {
    this.slots = slots;
    this.frameLength = frameLength;
    this.headers = nativeMemory(slots * HEADER);
    this.frames = nativeMemory(slots * frameLength);
    this.control = withControl ? nativeMemory(slots * CONTROL) : undefined;
    const vectors = nativeMemory(slots * 16);
    for (let slot = 0; slot < slots; slot++) {
      const at = slot * HEADER;
      vectors.view.setBigUint64(slot * 16, this.frames.address + BigInt(slot * frameLength), true);
      vectors.view.setBigUint64(slot * 16 + 8, BigInt(frameLength), true);
      this.headers.view.setBigUint64(at + 16, vectors.address + BigInt(slot * 16), true);
      this.headers.view.setBigUint64(at + 24, 1n, true);
      if (this.control) this.headers.view.setBigUint64(at + 32, this.control.address + BigInt(slot * CONTROL), true);
    }
    this.#vectors = vectors;
  }

  readonly #vectors: NativeMemory;

  /** Sets how many bytes of a slot's buffer are sent. */
  setLength(slot: number, length: number): void {
    this.#vectors.view.setBigUint64(slot * 16 + 8, BigInt(length), true);
  }

  /** Room for control messages must be declared again before every receive. */
  offerControl(): void {
    for (let slot = 0; slot < this.slots; slot++)
      this.headers.view.setBigUint64(slot * HEADER + 40, BigInt(CONTROL), true);
  }

  /** Bytes moved in a slot by the last call. */
  moved(slot: number): number {
    return this.headers.view.getUint32(slot * HEADER + 56, true);
  }
}

/** Sends frames on one interface. Slots are filled through `view`, then the first `count` leave in one call. */
export class FrameSender {
  readonly slots: number;
  readonly #descriptor: number;
  readonly #batch: Batch;
  readonly #views: DataView[];
  /** Times that the kernel had no room and the call was repeated. */
  retries = 0;

  constructor(interfaceName: string, slots: number, frameLength: number) {
    this.slots = slots;
    // Protocol 0: this socket receives nothing.
    this.#descriptor = openSocket(AF_PACKET, SOCK_RAW, 0);
    setOption(this.#descriptor, SOL_SOCKET, SO_SNDBUFFORCE, 8 << 20);
    bindSocket(this.#descriptor, packetAddress(0, interfaceName), interfaceName);
    this.#batch = new Batch(slots, frameLength, false);
    const { frames } = this.#batch;
    this.#views = Array.from(
      { length: slots },
      (_, slot) => new DataView(frames.view.buffer, slot * frameLength, frameLength),
    );
  }

  view(slot: number): DataView {
    return this.#views[slot]!;
  }

  /** Sends the frames in slots 0 to count-1. Repeats while the kernel has no room; throws on any other error. */
  send(count: number): void {
    let done = 0;
    while (done < count) {
      const address = this.#batch.headers.address + BigInt(done * HEADER);
      const sent = sendmmsg(this.#descriptor, address, count - done, 0) as number;
      if (sent >= 0) {
        done += sent;
        continue;
      }
      const errno = lastErrno();
      if (errno !== ENOBUFS && errno !== EAGAIN && errno !== EINTR) checked(-1, "sendmmsg", "packet socket");
      this.retries += 1;
    }
  }
}

/** Receives frames on one interface, each with the time at which the kernel took it from the device. */
export class FrameReceiver {
  readonly #descriptor: number;
  readonly #batch: Batch;
  #offset = 0;

  /** `timeoutMilliseconds` bounds how long `receive` waits for the first frame. */
  constructor(interfaceName: string, slots: number, frameLength: number, timeoutMilliseconds: number) {
    this.#descriptor = openSocket(AF_PACKET, SOCK_RAW, 0);
    setOption(this.#descriptor, SOL_PACKET, PACKET_IGNORE_OUTGOING, 1);
    setOption(this.#descriptor, SOL_SOCKET, SO_RCVBUFFORCE, 64 << 20);
    setOption(this.#descriptor, SOL_SOCKET, SO_TIMESTAMPNS, 1);
    setOptionBytes(this.#descriptor, SOL_SOCKET, SO_RCVTIMEO, timeval(timeoutMilliseconds));
    bindSocket(this.#descriptor, packetAddress(ETH_P_IP, interfaceName), interfaceName);
    this.#batch = new Batch(slots, frameLength, true);
    this.measureClocks();
  }

  /** All slots' bytes; slot n begins at `offsetOf(n)`. */
  get frames(): DataView {
    return this.#batch.frames.view;
  }

  offsetOf(slot: number): number {
    return slot * this.#batch.frameLength;
  }

  lengthOf(slot: number): number {
    return this.#batch.moved(slot);
  }

  /** Waits for frames; returns how many slots are filled, 0 when the time-out passed. */
  receive(): number {
    this.#batch.offerControl();
    const { headers, slots } = this.#batch;
    const received = recvmmsg(this.#descriptor, headers.address, slots, MSG_WAITFORONE, null) as number;
    if (received >= 0) return received;
    const errno = lastErrno();
    if (errno === EAGAIN || errno === EINTR) return 0;
    return checked(-1, "recvmmsg", "packet socket");
  }

  /**
   * When the frame in a slot reached the interface, as CLOCK_MONOTONIC nanoseconds: the kernel's receive time stamp
   * (SCM_TIMESTAMPNS, a realtime clock) moved by the difference of the clocks. The current time if there is no stamp.
   */
  arrivedAt(slot: number): number {
    const { headers, control } = this.#batch;
    const length = Number(headers.view.getBigUint64(slot * HEADER + 40, true));
    const at = slot * CONTROL;
    const view = control!.view;
    if (length < 32 || view.getInt32(at + 8, true) !== SOL_SOCKET || view.getInt32(at + 12, true) !== SO_TIMESTAMPNS) {
      return monotonicNow();
    }
    const seconds = view.getUint32(at + 16, true) + view.getUint32(at + 20, true) * 0x1_0000_0000;
    return (seconds - this.#offset) * 1e9 + view.getUint32(at + 24, true) - this.#offsetNanoseconds;
  }

  #offsetNanoseconds = 0;

  /** Measures by how much the realtime clock leads the monotonic one: the tightest of several readings. */
  measureClocks(): void {
    const time = new Uint8Array(16);
    const view = new DataView(time.buffer);
    let best = Number.POSITIVE_INFINITY;
    for (let attempt = 0; attempt < 50; attempt++) {
      const before = process.hrtime.bigint();
      clockGettime(0, time);
      const after = process.hrtime.bigint();
      const width = Number(after - before);
      if (width >= best) continue;
      best = width;
      const lead = view.getBigInt64(0, true) * 1_000_000_000n + view.getBigInt64(8, true) - (before + after) / 2n;
      this.#offset = Number(lead / 1_000_000_000n);
      this.#offsetNanoseconds = Number(lead % 1_000_000_000n);
    }
  }

  /** Frames that the kernel dropped at this socket since the last call: they must be 0, or the receiver was too slow. */
  dropped(): number {
    const statistics = new Uint8Array(8);
    const length = new Uint32Array([8]);
    const result = getsockopt(this.#descriptor, SOL_PACKET, PACKET_STATISTICS, statistics, length) as number;
    checked(result, "getsockopt", "PACKET_STATISTICS");
    return new DataView(statistics.buffer).getUint32(4, true);
  }
}

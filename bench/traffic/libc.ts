/**
 * The few system calls that the traffic programs need and Node does not offer: raw frames, absolute sleeps, network
 * namespaces, blocking connects. x86-64 and arm64 Linux with glibc or musl; layouts are those of the 64-bit kernel ABI.
 */
import koffi from "koffi";

/** Memory outside the JavaScript heap whose address stays put, for structures that hold pointers. */
export interface NativeMemory {
  readonly address: bigint;
  readonly bytes: Uint8Array;
  readonly view: DataView;
}

/** Raised when a system call fails; `errno` is the kernel's number. */
export class SystemCallError extends Error {
  readonly code = "BENCH_SYSTEM_CALL";
  readonly errno: number;
  constructor(call: string, object: string, errno: number) {
    super(`${call} on ${object} failed with errno ${errno}; run as root inside a namespace that has this object`);
    this.errno = errno;
  }
}

const library = koffi.load(null);

const nativeSocket = library.func("int socket(int, int, int)");
const nativeBind = library.func("int bind(int, const uint8_t *, uint32_t)");
const nativeSetsockopt = library.func("int setsockopt(int, int, int, const uint8_t *, uint32_t)");
const nativeNanosleep = library.func("int clock_nanosleep(int, int, const uint8_t *, void *)");
const nativePrctl = library.func("int prctl(int, unsigned long, unsigned long, unsigned long, unsigned long)");

/** Linux numbers used below (asm-generic, identical on x86-64 and arm64). */
export const EINTR = 4;
export const EAGAIN = 11;
export const ENOBUFS = 105;
export const SOL_SOCKET = 1;

const CLOCK_MONOTONIC = 1;
const TIMER_ABSTIME = 1;
const PR_SET_TIMERSLACK = 29;

/** Reserves zeroed memory for the life of the process. */
export function nativeMemory(length: number): NativeMemory {
  const pointer: unknown = koffi.alloc("uint8_t", length);
  const buffer = koffi.view(pointer, length);
  const bytes = new Uint8Array(buffer);
  bytes.fill(0);
  return { address: koffi.address(pointer), bytes, view: new DataView(buffer) };
}

/** The calling thread's last errno. */
export function lastErrno(): number {
  return koffi.errno();
}

/** Returns a call's result, or throws when it is negative. */
export function checked(result: number, call: string, object: string): number {
  if (result < 0) throw new SystemCallError(call, object, koffi.errno());
  return result;
}

/** socket(2). */
export function openSocket(family: number, type: number, protocol: number): number {
  return checked(nativeSocket(family, type, protocol) as number, "socket", `family ${family}`);
}

/** bind(2) with a ready socket address. */
export function bindSocket(descriptor: number, address: Uint8Array, what: string): void {
  checked(nativeBind(descriptor, address, address.length) as number, "bind", what);
}

/** setsockopt(2) with an int value. */
export function setOption(descriptor: number, level: number, option: number, value: number): void {
  const bytes = new Uint8Array(4);
  new DataView(bytes.buffer).setInt32(0, value, true);
  setOptionBytes(descriptor, level, option, bytes);
}

/** setsockopt(2) with any value. */
export function setOptionBytes(descriptor: number, level: number, option: number, value: Uint8Array): void {
  checked(nativeSetsockopt(descriptor, level, option, value, value.length) as number, "setsockopt", `option ${option}`);
}

/** A struct timeval for SO_RCVTIMEO and SO_SNDTIMEO. */
export function timeval(milliseconds: number): Uint8Array {
  const bytes = new Uint8Array(16);
  const view = new DataView(bytes.buffer);
  view.setBigInt64(0, BigInt(Math.floor(milliseconds / 1000)), true);
  view.setBigInt64(8, BigInt(Math.round((milliseconds % 1000) * 1000)), true);
  return bytes;
}

/** Asks the kernel to wake this thread when a sleep ends, not up to 50 microseconds later. */
export function removeTimerSlack(): void {
  nativePrctl(PR_SET_TIMERSLACK, 1, 0, 0, 0);
}

const sleepUntilTime = new Uint8Array(16);
const sleepUntilView = new DataView(sleepUntilTime.buffer);

/** Blocks the thread until CLOCK_MONOTONIC (the clock of `process.hrtime`) shows `nanoseconds`. */
export function sleepUntil(nanoseconds: number): void {
  const seconds = Math.floor(nanoseconds / 1e9);
  sleepUntilView.setBigInt64(0, BigInt(seconds), true);
  sleepUntilView.setBigInt64(8, BigInt(Math.floor(nanoseconds - seconds * 1e9)), true);
  nativeNanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, sleepUntilTime, null);
}

/** CLOCK_MONOTONIC in nanoseconds. A double holds it exactly for 104 days of uptime, and to 2 ns for years after. */
export function monotonicNow(): number {
  return Number(process.hrtime.bigint());
}

export { library };

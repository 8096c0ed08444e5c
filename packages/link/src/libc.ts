/**
 * The system calls that Node does not offer. The only file that knows the foreign-function library, so that another one
 * can take its place. Structures are laid out by hand; they are those of 64-bit Linux on any architecture.
 */
import koffi from "koffi";
import { LinkError } from "./errors.ts";

const library = koffi.load(null);

/** Memory that native code reads or writes. Kept alive by the caller for as long as the call runs. */
export type Bytes = Uint8Array;

const native = {
  setns: library.func("int setns(int, int)"),
  unshare: library.func("int unshare(int)"),
  socket: library.func("int socket(int, int, int)"),
  close: library.func("int close(int)"),
  bind: library.func("int bind(int, const void *, uint32_t)"),
  setsockopt: library.func("int setsockopt(int, int, int, const void *, uint32_t)"),
  send: library.func("intptr_t send(int, const void *, uintptr_t, int)"),
  recv: library.func("intptr_t recv(int, void *, uintptr_t, int)"),
  sendto: library.func("intptr_t sendto(int, const void *, uintptr_t, int, const void *, uint32_t)"),
  sendmmsg: library.func("int sendmmsg(int, void *, uint32_t, int)"),
  recvmmsg: library.func("int recvmmsg(int, void *, uint32_t, int, void *)"),
  ioctl: library.func("int ioctl(int, unsigned long, void *)"),
  getpid: library.func("int getpid()"),
};

export const AF_UNSPEC = 0;
export const AF_INET = 2;
export const AF_INET6 = 10;
export const AF_NETLINK = 16;
export const AF_PACKET = 17;
export const SOCK_DGRAM = 2;
export const SOCK_RAW = 3;
export const SOCK_CLOEXEC = 0o2000000;
export const SOL_SOCKET = 1;
export const SO_RCVBUF = 8;
export const SO_RCVTIMEO = 20;
export const SO_SNDBUF = 7;
export const SOL_NETLINK = 270;
export const SOL_PACKET = 263;
export const MSG_DONTWAIT = 0x40;
export const MSG_TRUNC = 0x20;
export const MSG_WAITFORONE = 0x10000;
export const CLONE_NEWNET = 0x40000000;

export const EPERM = 1;
export const ENOENT = 2;
export const ESRCH = 3;
export const EINTR = 4;
export const EAGAIN = 11;
export const EACCES = 13;
export const EEXIST = 17;
export const ENODEV = 19;
export const EINVAL = 22;
export const EOPNOTSUPP = 95;
export const EADDRNOTAVAIL = 99;
export const ENOBUFS = 105;

/** The result of a system call: what it returned, and the error number when that is negative. */
export interface CallResult {
  readonly value: number;
  readonly errno: number;
}

function failure(call: string, object: string, errno: number): LinkError {
  const permitted = errno !== EPERM && errno !== EACCES;
  return new LinkError(permitted ? "LINK_SYSTEM_CALL" : "LINK_NOT_PERMITTED", `${call} on ${object} failed`, {
    object,
    errno,
    remedy: permitted ? undefined : "run with CAP_NET_ADMIN, CAP_NET_RAW and CAP_SYS_ADMIN",
  });
}

function result(value: number | bigint): CallResult {
  const number = Number(value);
  return { value: number, errno: number < 0 ? koffi.errno() : 0 };
}

function checked(value: number | bigint, call: string, object: string): number {
  const outcome = result(value);
  if (outcome.value < 0) throw failure(call, object, outcome.errno);
  return outcome.value;
}

/** Runs a call on a thread of Node's pool, so that one that waits in the kernel does not hold up the event loop. */
function inPool(call: { async: (...values: never[]) => void }, ...values: unknown[]): Promise<CallResult> {
  return new Promise((resolve, reject) => {
    const done = (error: unknown, value: number | bigint) => {
      if (error !== null && error !== undefined) reject(error);
      else resolve(result(value));
    };
    (call.async as (...all: unknown[]) => void)(...values, done);
  });
}

/** setns(2): moves the calling thread into a namespace. */
export function setns(descriptor: number, type: number, object: string): void {
  checked(native.setns(descriptor, type) as number, "setns", object);
}

/** socket(2), close-on-exec. */
export function openSocket(family: number, type: number, protocol: number, object: string): number {
  return checked(native.socket(family, type | SOCK_CLOEXEC, protocol) as number, "socket", object);
}

/** close(2); a descriptor that is already closed is a mistake of ours and throws. */
export function closeDescriptor(descriptor: number, object: string): void {
  checked(native.close(descriptor) as number, "close", object);
}

/** bind(2) with an encoded socket address. */
export function bindSocket(descriptor: number, address: Bytes, object: string): void {
  checked(native.bind(descriptor, address, address.length) as number, "bind", object);
}

/** setsockopt(2) with an int. */
export function setSocketOption(
  descriptor: number,
  level: number,
  option: number,
  value: number,
  object: string,
): void {
  const bytes = Buffer.alloc(4);
  bytes.writeInt32LE(value);
  setSocketOptionBytes(descriptor, level, option, bytes, object);
}

/** setsockopt(2) with encoded bytes. */
export function setSocketOptionBytes(
  descriptor: number,
  level: number,
  option: number,
  value: Bytes,
  object: string,
): void {
  checked(native.setsockopt(descriptor, level, option, value, value.length) as number, "setsockopt", object);
}

/** send(2) on a pool thread. */
export function sendInPool(descriptor: number, bytes: Bytes): Promise<CallResult> {
  return inPool(native.send, descriptor, bytes, bytes.length, 0);
}

/** recv(2) on a pool thread: blocks there until something arrives or SO_RCVTIMEO is over. */
export function receiveInPool(descriptor: number, into: Bytes, flags: number): Promise<CallResult> {
  return inPool(native.recv, descriptor, into, into.length, flags);
}

/** recv(2) without waiting. */
export function receiveNow(descriptor: number, into: Bytes, flags: number): CallResult {
  return result(native.recv(descriptor, into, into.length, flags | MSG_DONTWAIT) as number);
}

/** sendto(2), blocking only as long as the interface's queue does. */
export function sendTo(descriptor: number, bytes: Bytes, address: Bytes): CallResult {
  return result(native.sendto(descriptor, bytes, bytes.length, 0, address, address.length) as number);
}

/** sendmmsg(2) over an encoded array of `struct mmsghdr`. */
export function sendMany(descriptor: number, headers: Bytes, count: number, flags: number): CallResult {
  return result(native.sendmmsg(descriptor, headers, count, flags) as number);
}

/** recvmmsg(2) over an encoded array of `struct mmsghdr`, without a time limit of its own. */
export function receiveMany(descriptor: number, headers: Bytes, count: number, flags: number): CallResult {
  return result(native.recvmmsg(descriptor, headers, count, flags, null) as number);
}

/** ioctl(2) with a structure that is read and written in place. */
export function ioctl(descriptor: number, request: number, argument: Bytes | null): CallResult {
  return result(native.ioctl(descriptor, request, argument) as number);
}

/** ioctl(2) on a pool thread; the caller keeps `argument` and what it points to alive. */
export function ioctlInPool(descriptor: number, request: number, argument: Bytes): Promise<CallResult> {
  return inPool(native.ioctl, descriptor, request, argument);
}

/** A piece of memory outside the JavaScript heap whose address is known, for structures that hold pointers. */
export interface NativeMemory {
  readonly address: bigint;
  readonly bytes: Buffer;
  /** Gives the memory back. `bytes` must not be touched afterwards. */
  free(): void;
}

/** Reserves zeroed memory. */
export function nativeMemory(length: number): NativeMemory {
  const pointer: unknown = koffi.alloc("uint8_t", length);
  const bytes = Buffer.from(koffi.view(pointer, length));
  bytes.fill(0);
  return { address: koffi.address(pointer), bytes, free: () => koffi.free(pointer) };
}

let poolStarted = false;

/**
 * Starts Node's thread pool if nothing has used it yet. Its threads inherit the namespaces of the thread that starts
 * them: started inside a foreign namespace they would look names up there for the rest of the process's life.
 */
export function startThreadPool(): void {
  if (poolStarted) return;
  poolStarted = true;
  (native.getpid.async as (done: () => void) => void)(() => {});
}

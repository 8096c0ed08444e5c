/** Blocking TCP over system calls: a connection's time without an event loop in between, and sockets in any namespace. */
import { closeSync, openSync } from "node:fs";
import { parseAddress } from "./frame.ts";
import {
  bindSocket,
  checked,
  library,
  monotonicNow,
  openSocket,
  setOption,
  setOptionBytes,
  SOL_SOCKET,
  timeval,
} from "./libc.ts";

const AF_INET = 2;
const SOCK_STREAM = 1;
const IPPROTO_TCP = 6;
const TCP_NODELAY = 1;
const SO_REUSEADDR = 2;
const SO_LINGER = 13;
const SO_RCVTIMEO = 20;
const SO_SNDTIMEO = 21;
const CLONE_NEWNET = 0x40000000;
const SOCK_NONBLOCK = 0o4000;

const nativeConnect = library.func("int connect(int, const uint8_t *, uint32_t)");
const nativeListen = library.func("int listen(int, int)");
const nativeAccept = library.func("int accept4(int, void *, void *, int)");
const nativeClose = library.func("int close(int)");
const nativeSend = library.func("intptr_t send(int, const uint8_t *, size_t, int)");
const nativeReceive = library.func("intptr_t recv(int, uint8_t *, size_t, int)");
const nativeSetns = library.func("int setns(int, int)");

/** A struct sockaddr_in. */
function socketAddress(address: string, port: number): Uint8Array {
  const bytes = new Uint8Array(16);
  const view = new DataView(bytes.buffer);
  view.setUint16(0, AF_INET, true);
  view.setUint16(2, port);
  view.setUint32(4, parseAddress(address));
  return bytes;
}

/** Moves this thread into a named network namespace; sockets that it opens from now on belong there. */
export function enterNamespace(name: string): void {
  const descriptor = openSync(`/run/netns/${name}`, "r");
  checked(nativeSetns(descriptor, CLONE_NEWNET) as number, "setns", name);
  closeSync(descriptor);
}

/** Listens on a port of every address of the current namespace. */
export function listenOn(port: number): number {
  const descriptor = openSocket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
  setOption(descriptor, SOL_SOCKET, SO_REUSEADDR, 1);
  bindSocket(descriptor, socketAddress("0.0.0.0", port), `port ${port}`);
  checked(nativeListen(descriptor, 1024) as number, "listen", `port ${port}`);
  return descriptor;
}

/** The next connection that waits, as a blocking socket; -1 if none does. */
export function acceptWaiting(listener: number): number {
  const descriptor = nativeAccept(listener, null, null, 0) as number;
  if (descriptor >= 0) setOption(descriptor, IPPROTO_TCP, TCP_NODELAY, 1);
  return descriptor;
}

/** Connects, waiting at most 5 s. Returns the socket and the milliseconds from the SYN to the established connection. */
export function connectTo(address: string, port: number): { descriptor: number; milliseconds: number } {
  const descriptor = openSocket(AF_INET, SOCK_STREAM, 0);
  setOption(descriptor, IPPROTO_TCP, TCP_NODELAY, 1);
  setOptionBytes(descriptor, SOL_SOCKET, SO_SNDTIMEO, timeval(5000));
  setOptionBytes(descriptor, SOL_SOCKET, SO_RCVTIMEO, timeval(5000));
  const peer = socketAddress(address, port);
  const start = monotonicNow();
  checked(nativeConnect(descriptor, peer, peer.length) as number, "connect", `${address}:${port}`);
  return { descriptor, milliseconds: (monotonicNow() - start) / 1e6 };
}

/** Closes with a reset, so that neither side keeps the connection in TIME_WAIT. */
export function resetConnection(descriptor: number): void {
  const linger = new Uint8Array(8);
  new DataView(linger.buffer).setInt32(0, 1, true);
  setOptionBytes(descriptor, SOL_SOCKET, SO_LINGER, linger);
  nativeClose(descriptor);
}

/** Closes in the ordinary way. */
export function closeConnection(descriptor: number): void {
  nativeClose(descriptor);
}

/** Sends all bytes. */
export function sendAll(descriptor: number, bytes: Uint8Array): void {
  const sent = nativeSend(descriptor, bytes, bytes.length, 0) as number;
  checked(sent === bytes.length ? 0 : -1, "send", "connection");
}

/** Receives at least one byte; 0 when the peer closed or the time-out passed. */
export function receiveSome(descriptor: number, bytes: Uint8Array): number {
  return Math.max(0, nativeReceive(descriptor, bytes, bytes.length, 0) as number);
}

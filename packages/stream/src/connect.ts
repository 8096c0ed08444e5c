import { createConnection, type OnReadOpts, type Socket } from "node:net";
import { formatAddress, type Address } from "./address.ts";
import { StreamError } from "./errors.ts";

/**
 * Starts to connect; the socket emits `connect` or `error` as usual. Nagle's delay is off: both protocols are dialogues.
 * With `onChunk` it emits no `data`: every read goes into the same memory, and what is handed over is valid for the time
 * of the call only. A socket that makes memory for each read instead feeds the garbage collector 64 KiB a time.
 */
export function openSocket(address: Address, onChunk?: (chunk: Buffer) => void): Socket {
  const reading = onChunk === undefined ? {} : { onread: readingInto(Buffer.allocUnsafeSlow(readBytes), onChunk) };
  return address.kind === "unix"
    ? createConnection({ path: address.path, ...reading })
    : createConnection({ host: address.host, port: address.port, noDelay: true, keepAlive: true, ...reading });
}

/** Bytes that one read may bring. */
const readBytes = 65_536;

function readingInto(buffer: Buffer, onChunk: (chunk: Buffer) => void): OnReadOpts {
  return {
    buffer,
    callback: (bytes) => {
      onChunk(buffer.subarray(0, bytes));
      return true;
    },
  };
}

/** One attempt to connect, for callers that need no second one. Rejects with `STREAM_UNREACHABLE`. */
export function connect(address: Address, timeoutMs = 5000): Promise<Socket> {
  return new Promise((resolve, reject) => {
    const socket = openSocket(address);
    const timer = setTimeout(() => {
      socket.destroy();
      reject(unreachable(address, new Error(`no answer within ${timeoutMs} ms`)));
    }, timeoutMs);
    const onError = (cause: Error): void => {
      clearTimeout(timer);
      reject(unreachable(address, cause));
    };
    socket.once("error", onError);
    socket.once("connect", () => {
      clearTimeout(timer);
      socket.off("error", onError);
      resolve(socket);
    });
  });
}

/** `STREAM_UNREACHABLE` with what an operator should look at, from the system's error. */
export function unreachable(address: Address, cause: Error): StreamError {
  const system = (cause as NodeJS.ErrnoException).code;
  const where = formatAddress(address);
  let remedy = "";
  if (system === "ENOENT") remedy = ": no such socket; is the service running, and is the path right?";
  else if (system === "ECONNREFUSED") remedy = ": nobody listens there; is the service running?";
  else if (system === "EACCES" || system === "EPERM") remedy = ": permission denied; run as a user that may open it";
  else remedy = `: ${cause.message}`;
  return new StreamError("STREAM_UNREACHABLE", `cannot connect to ${where}${remedy}`, { cause });
}

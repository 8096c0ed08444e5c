import { StreamError } from "./errors.ts";

/** Where a peer listens. The text forms are those of Open vSwitch's active connection methods (ovsdb(7)). */
export type Address =
  | { readonly kind: "unix"; readonly path: string }
  | { readonly kind: "tcp"; readonly host: string; readonly port: number };

/** `sun_path` holds 108 bytes on Linux, the terminating zero included (unix(7)); a longer path is cut off silently. */
const MAX_UNIX_PATH_BYTES = 107;

/**
 * Reads `unix:/path/to/socket`, `tcp:host:port` or `tcp:[2001:db8::1]:port`.
 * Throws `StreamError` (`STREAM_INVALID`) that names the text and what is wrong with it.
 */
export function parseAddress(text: string): Address {
  if (text.startsWith("unix:")) {
    const path = text.slice("unix:".length);
    if (!path.startsWith("/")) throw invalid(text, "the path of a unix socket must be absolute");
    if (path.includes("\0")) throw invalid(text, "the path of a unix socket cannot contain a zero byte");
    const bytes = Buffer.byteLength(path);
    if (bytes > MAX_UNIX_PATH_BYTES) {
      throw invalid(
        text,
        `the path of a unix socket holds at most ${MAX_UNIX_PATH_BYTES} bytes, this one has ${bytes}; use a shorter directory`,
      );
    }
    return { kind: "unix", path };
  }
  if (text.startsWith("tcp:")) {
    const rest = text.slice("tcp:".length);
    const bracketed = /^\[([0-9A-Fa-f:.]+(?:%[\w.-]+)?)\]:(\d+)$/.exec(rest);
    const plain = /^([^\s:[\]]+):(\d+)$/.exec(rest);
    const found = bracketed ?? plain;
    if (found === null) throw invalid(text, "expected tcp:HOST:PORT, or tcp:[ADDRESS]:PORT for IPv6");
    const host = found[1] ?? "";
    const port = Number(found[2]);
    if (port < 1 || port > 65535) throw invalid(text, `the port must be between 1 and 65535, not ${found[2]}`);
    return { kind: "tcp", host, port };
  }
  throw invalid(text, "expected unix:/PATH or tcp:HOST:PORT");
}

/** The text that `parseAddress` reads back. */
export function formatAddress(address: Address): string {
  if (address.kind === "unix") return `unix:${address.path}`;
  const host = address.host.includes(":") ? `[${address.host}]` : address.host;
  return `tcp:${host}:${address.port}`;
}

function invalid(text: string, why: string): StreamError {
  return new StreamError("STREAM_INVALID", `address ${JSON.stringify(text)}: ${why}`);
}

/** The closed list of `StreamError` codes. */
export type StreamErrorCode =
  /** The text of an address, or an option, is not acceptable: the caller's configuration is wrong. */
  | "STREAM_INVALID"
  /** The peer could not be reached; `cause` is the system's error. */
  | "STREAM_UNREACHABLE"
  /** The peer stopped answering: neither data nor an answer to the probe. */
  | "STREAM_SILENT"
  /** The peer, or the network, ended the connection. */
  | "STREAM_CLOSED"
  /** More bytes wait for the peer than the queue may hold. */
  | "STREAM_OVERFLOW";

/** What can go wrong with a byte stream, with a stable `code` and, when the system said more, its `cause`. */
export class StreamError extends Error {
  readonly code: StreamErrorCode;

  constructor(code: StreamErrorCode, message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = "StreamError";
    this.code = code;
  }
}

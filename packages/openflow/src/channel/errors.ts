import { errorName } from "../tables/errors.ts";
import { EXPERIMENTER_MESSAGE, messageRows, type ErrorBody } from "../tables/messages.ts";

/** The closed list of `ChannelError` codes. */
export type ChannelErrorCode =
  /** The two sides have no version of OpenFlow in common. */
  | "OPENFLOW_VERSION"
  /** The switch sent bytes that are not OpenFlow; the connection is given up and made again. */
  | "OPENFLOW_PROTOCOL"
  /** Not connected, or no longer: `message` says whether the request had been sent. */
  | "OPENFLOW_DISCONNECTED"
  /** No answer within the time given. */
  | "OPENFLOW_TIMEOUT"
  /** The switch does not read as fast as it is written to, or too many requests are open; nothing was queued. */
  | "OPENFLOW_CHANNEL_OVERFLOW"
  /** An answer larger than allowed. */
  | "OPENFLOW_REPLY_TOO_LARGE"
  /** The switch refused one of the messages that prepare the channel. */
  | "OPENFLOW_SETUP";

/** What can go wrong with the channel to a switch. */
export class ChannelError extends Error {
  readonly code: ChannelErrorCode;

  constructor(code: ChannelErrorCode, message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = "ChannelError";
    this.code = code;
  }
}

/** OFPT_ERROR (OpenFlow 1.5 section 7.5.4): the switch refused a message; nothing of that message was applied. */
export class SwitchError extends Error {
  readonly code = "OPENFLOW_REFUSED";
  /** Of the refused message. */
  readonly xid: number;
  /** The error's name, such as `OFPBMC_BAD_PREREQ`. */
  readonly error: string;
  readonly body: ErrorBody;

  constructor(xid: number, body: ErrorBody, what = messageName(body.data)) {
    const error = errorName(body);
    super(`the switch refused ${what} (xid ${xid}): ${error}`);
    this.name = "SwitchError";
    this.xid = xid;
    this.error = error;
    this.body = body;
  }
}

/** What kind of message begins with these bytes; the switch returns the first 64 at least. */
function messageName(data: Uint8Array): string {
  const code = data[1];
  if (code === undefined) return "a message";
  const view = new DataView(data.buffer, data.byteOffset, data.byteLength);
  const row =
    code === EXPERIMENTER_MESSAGE && data.length >= 16
      ? messageRows.find((each) => each.vendor === view.getUint32(8) && each.code === view.getUint32(12))
      : messageRows.find((each) => each.vendor === undefined && each.code === code);
  return row?.type ?? `a message of type ${code}`;
}

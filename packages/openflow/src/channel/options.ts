import type { ConnectionOptions, Logger } from "@beyondfabric/stream";
import type { Message } from "../tables/messages.ts";
import type { SwitchError } from "./errors.ts";

export type Features = Extract<Message, { type: "features_reply" }>;

export interface ChannelOptions extends Omit<ConnectionOptions, "maxQueueBytes"> {
  /** Sent on every connection, in order, before `onConnected`; a refusal ends the connection with `OPENFLOW_SETUP`. */
  readonly setup?: readonly Message[];
  /** The most bytes that may wait for the switch. Default 32 MiB. */
  readonly maxQueueBytes?: number;
  /** How long to wait for an answer, and for each step of the opening dialogue, ms. Default 10,000. */
  readonly timeoutMs?: number;
  readonly logger?: Logger;
  /**
   * An NXT_PACKET_IN2, not decoded. The frame is a view of what was read from the socket: copy what outlives the
   * call. What is sent from here leaves in one write when every frame that arrived with it has been handed over.
   */
  readonly onPacketIn?: (frame: Buffer) => void;
  /** Any other message that answers no request: port status, flow removed, and so on. */
  readonly onMessage?: (message: Message, xid: number) => void;
  /** The switch is ready: versions agreed, features known, setup done. */
  readonly onConnected?: (features: Features) => void;
  /** After `onConnected`, the connection ended. What was queued is lost, open requests are rejected. */
  readonly onDisconnected?: (reason: Error) => void;
  /**
   * The switch refused a message that was sent with `send` (`SwitchError`), or sent one that cannot be read; or one of
   * these callbacks threw an error of this package, such as `OPENFLOW_CHANNEL_OVERFLOW` from `send`. May come often.
   */
  readonly onError?: (error: SwitchError | Error) => void;
  /** Everything that was queued has left; `pressure` is 0. */
  readonly onWritable?: () => void;
}

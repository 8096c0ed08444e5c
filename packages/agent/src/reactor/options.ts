/** What the reactive core is given: facts, limits, where its frames go, and whom it tells. */
import type { Facts, ListeningEnd, Question, TrackedPacket } from "@beyondfabric/datapath";
import type { Ip } from "@beyondfabric/packet";

export interface ReactorLimits {
  /** Most verdict entries in the switch; beyond it the least recently used go. */
  readonly entries: number;
  /** An entry that no packet used for so long goes (ms). */
  readonly idleMilliseconds: number;
  readonly heldPerPort: number;
  readonly holdMilliseconds: number;
  /** Changes of entries that exist are gathered for so long (ms) before they are written. */
  readonly coalesceMilliseconds: number;
  /** New pairs per second that get an entry with their first packet; beyond it a pair must be seen twice. */
  readonly entriesPerSecond: number;
}

/** Where frames go; several sends of one turn leave in one write. */
export interface FrameSink {
  send(frame: Buffer): void;
  /** Resolves when the switch has taken everything that was sent; absent: writes are not paced by it. */
  taken?(): Promise<void>;
}

/**
 * Whether the switch can send into a tunnel at once. The userspace datapath drops packets towards a node whose
 * link-layer address it has not learned; the first packet must not be one of them.
 */
export interface TunnelGate {
  /** False starts finding out; `Reactor.tunnelReady` follows when it is done. */
  ready(destination: Ip): boolean;
}

export interface ReactorOptions {
  readonly facts: Facts;
  readonly gate?: TunnelGate;
  readonly limits: ReactorLimits;
  readonly sink: FrameSink;
  /** Milliseconds, monotonic. */
  readonly now: () => number;
  /** The first number of an entry, from 1 to 2^32 - 1; far from those of a former life that stand in the switch. */
  readonly firstId?: number;
  /** Drawn at the agent's start (below `maxLife`): labels of connections carry it, and no other life's are valid. */
  readonly life?: number;
  /**
   * Which end of a TCP connection that was met in the middle listens for others to open it. Asked of the pods of this
   * node only, and rarely.
   */
  readonly listening?: (question: Question, packet: TrackedPacket) => ListeningEnd;
  readonly onUndecodable?: (error: unknown) => void;
  /** A packet that is too large for its way, whole, from the port that sent it. */
  readonly onTooLarge?: (packet: Buffer, port: number) => void;
  /** What a pod said under a false name, from the port that sent it; valid until this returns. */
  readonly onForgery?: (frame: Buffer, port: number) => void;
  /** What somebody says about an address that pods pass on, from the port it came in by; valid until this returns. */
  readonly onAnnouncement?: (frame: Buffer, port: number) => void;
}

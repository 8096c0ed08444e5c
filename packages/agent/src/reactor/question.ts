/** What a packet-in asks: the pair, what the answer's would be, and what conntrack says of the packet. */
import {
  originatorOf,
  sourceClass,
  standingOf,
  type Connection,
  type Question,
  type Settled,
  type TrackedPacket,
} from "@beyondfabric/datapath";
import type { PacketInView } from "@beyondfabric/openflow";
import {
  ipFromBytes,
  ipProtocol,
  opensAssociation,
  parsePacket,
  tcpFlag,
  type Ip,
  type Packet,
} from "@beyondfabric/packet";

/** The question that the answer to a packet will be; undefined when no answer can come. */
export function answerTo(question: Question, decision: Settled): Question | undefined {
  if (decision.verdict !== "allow") return undefined;
  const back = { source: question.destination, destination: question.source };
  switch (decision.way.kind) {
    case "local":
      return { from: "pod", ...back };
    case "host":
      return { from: "host", ...back };
    case "tunnel":
      return { from: "tunnel", ...back, tunnelSource: decision.way.destination };
    case "uplink":
      // What went straight to another segment is answered on the pod's own, which the way does not tell.
      return decision.way.mac === undefined ? { from: "uplink", ...back, segment: decision.way.segment } : undefined;
  }
}

/** What a packet-in asks. Undefined when the packet is no IPv4 or IPv6 packet, or is cut short. */
export function questionOf(view: PacketInView): Question | undefined {
  const { frame, packetStart } = view;
  const length = view.packetEnd - packetStart;
  if (length < 34) return undefined;
  const type = frame.readUInt16BE(packetStart + 12);
  let source: Ip;
  let destination: Ip;
  if (type === 0x0800) {
    source = ipFromBytes(frame, packetStart + 26, 4);
    destination = ipFromBytes(frame, packetStart + 30, 4);
  } else if (type === 0x86dd && length >= 54) {
    source = ipFromBytes(frame, packetStart + 22, 6);
    destination = ipFromBytes(frame, packetStart + 38, 6);
  } else {
    return undefined;
  }
  // The registers tell where the packet came from; the table number in a packet-in that paused does not.
  switch (view.readRegister(0) & 0xf) {
    case sourceClass.pod:
      return { from: "pod", source, destination };
    case sourceClass.host:
      return { from: "host", source, destination };
    case sourceClass.uplink:
      return { from: "uplink", source, destination, segment: view.readRegister(1) };
    case sourceClass.tunnel: {
      const tunnelSource = view.tunnelSource();
      return tunnelSource === undefined ? undefined : { from: "tunnel", source, destination, tunnelSource };
    }
    default:
      return undefined;
  }
}

/** `ct_state` bits (ovs-fields(7)). */
const ctNew = 0x01;
const ctRelated = 0x04;

/**
 * What is known of the packet's connection. A packet that was not tracked counts as one of a connection that conntrack
 * has not met: tracking begins just now, and what it may do is asked of it all the same. Undefined when the packet cannot
 * be read.
 */
export function trackedPacketOf(view: PacketInView, source: Ip): TrackedPacket | undefined {
  const conntrack = view.conntrack();
  const packet = parsePacket(view.packet);
  const connection = conntrack?.connection ?? connectionOf(packet);
  if (connection === undefined) return undefined;
  const standing = standingOf(view.readRegister(8));
  const isRemembered = conntrack !== undefined && (conntrack.state & ctNew) === 0;
  const originator = isRemembered ? originatorOf(conntrack.label) : undefined;
  return {
    standing: standing === "untracked" ? (opens(packet) ? "fresh" : "doubtful") : standing,
    source,
    connection,
    isRemembered,
    isLaterFragment: packet.fragment === "later",
    isRelated: conntrack !== undefined && (conntrack.state & ctRelated) !== 0,
    ...(originator === undefined ? {} : { originator }),
  };
}

/** A packet of SCTP whose ports conntrack does not tell. */
export interface SctpPacket {
  readonly sourcePort: number;
  readonly destinationPort: number;
  /** Whether it is an INIT. */
  readonly opens: boolean;
}

/** Undefined for packets of connections that conntrack tells apart; those without ports of their own are of none. */
export function sctpPacketOf(view: PacketInView): SctpPacket | undefined {
  const connection = view.conntrack()?.connection;
  if (connection?.protocol !== ipProtocol.sctp || connection.destinationPort !== 0) return undefined;
  const packet = parsePacket(view.packet);
  const opens = opensAssociation(view.packet, packet);
  return { sourcePort: Math.max(0, packet.srcPort), destinationPort: Math.max(0, packet.dstPort), opens };
}

/** Whether a packet is the first of its connection for certain. */
function opens({ ipProto, tcpFlags }: Packet): boolean {
  return ipProto !== ipProtocol.tcp || (tcpFlags & (tcpFlag.syn | tcpFlag.ack)) === tcpFlag.syn;
}

/** The connection that a packet would begin. */
function connectionOf({ ipVersion, ipSrc, ipDst, ipProto, srcPort, dstPort }: Packet): Connection | undefined {
  if (ipVersion < 0 || ipProto < 0) return undefined;
  return {
    source: ipSrc,
    destination: ipDst,
    protocol: ipProto,
    ...(srcPort < 0 ? {} : { sourcePort: srcPort }),
    ...(dstPort < 0 ? {} : { destinationPort: dstPort }),
  };
}

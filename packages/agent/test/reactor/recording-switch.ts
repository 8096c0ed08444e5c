/** A switch that is a map of entries and a list of messages, and packet-ins encoded as a real one encodes them. */
import { flowKey, sourceClass, standing, unset, type Question } from "@beyondfabric/datapath";
import { decodeMessage, encodeMessage, type Flow, type MatchField, type Message } from "@beyondfabric/openflow";
import {
  buildEthernet,
  buildIp,
  buildSctp,
  buildUdp,
  etherType,
  ipProtocol,
  ipToBigInt,
  type Ip,
  type SctpOptions,
} from "@beyondfabric/packet";

export class RecordingSwitch {
  readonly entries = new Map<string, Flow>();
  readonly messages: Message[] = [];

  send(frame: Buffer): void {
    const message = decodeMessage(Buffer.from(frame));
    this.messages.push(message);
    if (message.type !== "flow_mod") return;
    const key = flowKey(message.flow);
    if (message.command === "add") this.entries.set(key, message.flow);
    else if (message.command === "delete_strict") this.entries.delete(key);
    else throw new Error(`the reactive core sent a ${message.command}`);
  }

  /** Everything sent since the last call, by kind: `resume` with its verdict code, `add` and `delete` of entries. */
  take(): string[] {
    return this.messages.splice(0).map((message) => {
      if (message.type === "resume") return `resume ${verdictOf(message)}`;
      return message.type === "flow_mod" ? message.command : message.type;
    });
  }
}

function verdictOf(message: Extract<Message, { type: "resume" }>): number {
  for (const field of message.metadata ?? []) {
    if (field.field === "xreg2") return Number(field.value & 0xffff_ffffn);
  }
  return 0;
}

/** A paused packet of this question, as NXT_PACKET_IN2: a datagram, or a tracked packet of SCTP without its ports. */
export function packetIn(question: Question, { port = 7, sctp }: { port?: number; sctp?: SctpOptions } = {}): Buffer {
  const addresses = { src: question.source, dst: question.destination };
  const payload =
    sctp === undefined ? buildUdp({ ...addresses, srcPort: 4000, dstPort: 53 }, Buffer.from("hello")) : buildSctp(sctp);
  const protocol = sctp === undefined ? ipProtocol.udp : ipProtocol.sctp;
  const packet = buildEthernet(
    {
      src: "0a:58:00:00:00:01",
      dst: "0e:fa:b0:00:00:01",
      etherType: question.source.includes(":") ? etherType.ipv6 : etherType.ipv4,
    },
    buildIp({ ...addresses, protocol }, payload),
  );
  const pair = (BigInt(unset) << 32n) | BigInt(unset);
  const userdata = Buffer.from([1, 1, 0, 0, 0, 0]);
  userdata.writeUInt32BE(port, 2);
  return encodeMessage(
    {
      type: "packet_in2",
      packet,
      fullLength: packet.length,
      table: 0,
      cookie: 0n,
      reason: "action",
      metadata: [
        { field: "in_port", value: BigInt(port) },
        ...(question.tunnelSource === undefined ? [] : [tunnelSource(question.tunnelSource)]),
        { field: "xreg0", value: (BigInt(sourceClass[question.from]) << 32n) | BigInt(question.segment ?? 0) },
        { field: "xreg1", value: pair },
        { field: "xreg2", value: pair },
        { field: "xreg3", value: BigInt(unset) },
        ...(sctp === undefined ? [] : portless(question)),
      ],
      continuation: Uint8Array.of(1, 2, 3, 4),
      userdata,
    },
    5,
  );
}

/** What the userspace datapath knows of a packet of SCTP. */
function portless({ source, destination }: Question): MatchField[] {
  const isIpv6 = source.includes(":");
  return [
    { field: "xreg4", value: BigInt(standing.doubtful) << 32n },
    { field: "ct_state", value: 0x21n },
    { field: isIpv6 ? "ct_ipv6_src" : "ct_nw_src", value: ipToBigInt(source) },
    { field: isIpv6 ? "ct_ipv6_dst" : "ct_nw_dst", value: ipToBigInt(destination) },
    { field: "ct_nw_proto", value: BigInt(ipProtocol.sctp) },
  ];
}

function tunnelSource(address: Ip): { field: "tun_src"; value: bigint } {
  return { field: "tun_src", value: ipToBigInt(address) };
}

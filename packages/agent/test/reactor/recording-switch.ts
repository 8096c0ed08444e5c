/** A switch that is a map of entries and a list of messages, and packet-ins encoded as a real one encodes them. */
import { flowKey, sourceClass, unset, type Question } from "@beyondfabric/datapath";
import { decodeMessage, encodeMessage, type Flow, type Message } from "@beyondfabric/openflow";
import { buildEthernet, buildIp, buildUdp, etherType, ipProtocol, ipToBigInt, type Ip } from "@beyondfabric/packet";

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

/** A paused packet of this question, as NXT_PACKET_IN2. */
export function packetIn(question: Question, port = 7): Buffer {
  const addresses = { src: question.source, dst: question.destination };
  const udp = buildUdp({ ...addresses, srcPort: 4000, dstPort: 53 }, Buffer.from("hello"));
  const packet = buildEthernet(
    {
      src: "0a:58:00:00:00:01",
      dst: "0e:fa:b0:00:00:01",
      etherType: question.source.includes(":") ? etherType.ipv6 : etherType.ipv4,
    },
    buildIp({ ...addresses, protocol: ipProtocol.udp }, udp),
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
      ],
      continuation: Uint8Array.of(1, 2, 3, 4),
      userdata,
    },
    5,
  );
}

function tunnelSource(address: Ip): { field: "tun_src"; value: bigint } {
  return { field: "tun_src", value: ipToBigInt(address) };
}

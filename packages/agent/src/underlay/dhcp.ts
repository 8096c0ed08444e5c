/** A question whether anybody hands out addresses on a link, and what its answers say (RFC 2131, RFC 2132). Pure. */
import {
  buildEthernet,
  buildIpv4,
  buildUdp,
  etherType,
  ipFromBytes,
  ipProtocol,
  macToBytes,
  type Ip,
  type Mac,
  type Packet,
} from "@beyondfabric/packet";

const clientPort = 68;
const serverPort = 67;
const fixedPart = 236;
const magic = 0x63825363;
const optionType = 53;
const optionServer = 54;
const optionEnd = 255;
const discover = 1;
const offer = 2;

/** A DHCPDISCOVER whose offers come as broadcasts. Nothing is taken: an offer that nobody requests lapses. */
export function discoverFrame(mac: Mac, transaction: number): Buffer {
  const message = Buffer.alloc(300);
  message.set([1, 1, 6, 0], 0);
  message.writeUInt32BE(transaction, 4);
  message.writeUInt16BE(0x8000, 10);
  message.set(macToBytes(mac), 28);
  message.writeUInt32BE(magic, fixedPart);
  message.set([optionType, 1, discover, optionEnd], fixedPart + 4);
  const between = { src: "0.0.0.0", dst: "255.255.255.255" };
  const datagram = buildUdp({ ...between, srcPort: clientPort, dstPort: serverPort }, message);
  const packet = buildIpv4({ ...between, protocol: ipProtocol.udp }, datagram);
  return buildEthernet({ src: mac, dst: "ff:ff:ff:ff:ff:ff", etherType: etherType.ipv4 }, packet);
}

/** An address that a server would give. */
export interface DhcpOffer {
  readonly server: Ip;
  /** Who sent the frame: the server, or the relay before it. */
  readonly mac: Mac;
  readonly address: Ip;
}

/** What a frame offers in answer to a question of ours; undefined for any other. */
export function offerIn(packet: Packet, frame: Uint8Array, transaction: number): DhcpOffer | undefined {
  if (packet.malformed || packet.ipProto !== ipProtocol.udp || packet.l4Offset < 0) return undefined;
  if (packet.srcPort !== serverPort || packet.dstPort !== clientPort) return undefined;
  const message = Buffer.from(frame.buffer, frame.byteOffset, frame.byteLength).subarray(packet.l4Offset + 8);
  if (message.length < fixedPart + 4 || message[0] !== 2) return undefined;
  if (message.readUInt32BE(4) !== transaction || message.readUInt32BE(fixedPart) !== magic) return undefined;
  const options = optionsIn(message.subarray(fixedPart + 4));
  if (options.get(optionType)?.[0] !== offer) return undefined;
  const named = options.get(optionServer);
  const server = named?.length === 4 ? ipFromBytes(named, 0, 4) : packet.ipSrc;
  return { server, mac: packet.ethSrc, address: ipFromBytes(message, 16, 4) };
}

/** The first of each option; what is cut short ends the list. */
function optionsIn(bytes: Buffer): Map<number, Buffer> {
  const options = new Map<number, Buffer>();
  for (let at = 0; at < bytes.length;) {
    const code = bytes[at]!;
    if (code === optionEnd) break;
    if (code === 0) {
      at++;
      continue;
    }
    const length = bytes[at + 1];
    if (length === undefined || at + 2 + length > bytes.length) break;
    if (!options.has(code)) options.set(code, bytes.subarray(at + 2, at + 2 + length));
    at += 2 + length;
  }
  return options;
}

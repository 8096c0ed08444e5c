/** Every kind of forged frame that a pod with raw sockets may send, and what it would look like if it arrived. */
import {
  buildArp,
  buildEthernet,
  buildIp,
  buildIpv4,
  buildNeighborAdvertisement,
  buildNeighborSolicitation,
  buildUdp,
  etherType,
  ipProtocol,
  transportChecksum,
  type Ip,
  type Mac,
} from "@beyondfabric/packet";

/** Who forges, and at whose cost. */
export interface Scene {
  /** The forger's own. */
  readonly mac: Mac;
  readonly ipv4: Ip;
  readonly ipv6: Ip;
  readonly linkLocal: Ip;
  /** Where the frames go. */
  readonly target: { readonly mac: Mac; readonly ipv4: Ip; readonly ipv6: Ip };
  /** Somebody else, in whose name the frames are. */
  readonly other: { readonly ipv4: Ip; readonly ipv6: Ip };
  readonly gateway: { readonly ipv4: Ip; readonly ipv6: Ip };
}

export interface ForgedFrame {
  readonly kind: string;
  /** How the agent counts it. */
  readonly reason: string;
  readonly frame: Buffer;
  /** How tcpdump (`-nn -e`) shows it. */
  readonly seen: RegExp;
}

const broadcast = "ff:ff:ff:ff:ff:ff";
const foreignMac = "0a:66:66:66:66:66";
const allNodes = "33:33:00:00:00:01";

/** @param firstPort the first of the UDP ports by which frames are told apart in a capture */
export function forgedFrames(scene: Scene, firstPort: number): ForgedFrame[] {
  const { mac, ipv4, ipv6, linkLocal, target, other, gateway } = scene;
  const frames: ForgedFrame[] = [];
  let port = firstPort;
  const add = (kind: string, reason: string, frame: Buffer, seen: RegExp): void => {
    frames.push({ kind, reason, frame, seen });
  };
  const text = (address: Ip): string => address.replaceAll(".", "\\.");
  const udp = (src: Ip, dst: Ip, dstPort: number, srcPort = 4000): Buffer =>
    buildIp({ src, dst, protocol: ipProtocol.udp }, buildUdp({ src, dst, srcPort, dstPort }, Buffer.from("forged")));
  const typeOf = (address: Ip): number => (address.includes(":") ? etherType.ipv6 : etherType.ipv4);
  const datagram = (kind: string, reason: string, src: Ip, dst: Ip, ethernet: object = {}): void => {
    const number = port++;
    const header = { src: mac, dst: target.mac, etherType: typeOf(src), ...ethernet };
    add(kind, reason, buildEthernet(header, udp(src, dst, number)), new RegExp(`\\.${number}: `));
  };
  datagram("a foreign IPv4 source", "ip", other.ipv4, target.ipv4);
  datagram("a foreign IPv4 source outside", "ip", "192.0.2.66", target.ipv4);
  datagram("the gateway's IPv4 address as source", "ip", gateway.ipv4, target.ipv4);
  datagram("a foreign IPv6 source", "ip", other.ipv6, target.ipv6);
  datagram("a foreign link-local source", "ip", "fe80::66:66", target.ipv6);
  datagram("a foreign MAC, IPv4", "mac", ipv4, target.ipv4, { src: foreignMac });
  datagram("a foreign MAC, IPv6", "mac", ipv6, target.ipv6, { src: foreignMac });
  datagram("a VLAN tag, IPv4", "vlan", ipv4, target.ipv4, { vlans: [40] });
  datagram("a priority tag, IPv6", "vlan", ipv6, target.ipv6, { vlans: [0xe000] });
  datagram("two VLAN tags", "vlan", ipv4, target.ipv4, { vlans: [30, 40] });

  const fragment = (kind: string, fragmentOffset: number, seen: RegExp): void => {
    const addresses = { src: other.ipv4, dst: target.ipv4 };
    const payload = buildUdp({ ...addresses, srcPort: 4000, dstPort: port }, Buffer.alloc(16));
    const header = { ...addresses, protocol: ipProtocol.udp, identification: port++, fragmentOffset };
    const packet = buildIpv4({ ...header, moreFragments: fragmentOffset === 0 }, payload);
    add(kind, "ip", buildEthernet({ src: mac, dst: target.mac, etherType: etherType.ipv4 }, packet), seen);
  };
  fragment("the first fragment of a foreign source", 0, new RegExp(`\\.${port}: `));
  const whole = `${text(other.ipv4)} > ${text(target.ipv4)}: `;
  fragment("a later fragment of a foreign source", 24, new RegExp(`${whole}(ip-proto-17|udp)`));
  const odd = port++;
  add(
    "its own source in an Ethernet type of its own",
    "protocol",
    buildEthernet({ src: mac, dst: target.mac, etherType: 0x88b5 }, udp(ipv4, target.ipv4, odd)),
    /0x88b5/,
  );

  const arp = (kind: string, dst: Mac, message: Parameters<typeof buildArp>[0], seen: RegExp, source = mac): void =>
    add(
      kind,
      source === mac ? "arp" : "mac",
      buildEthernet({ src: source, dst, etherType: etherType.arp }, buildArp(message)),
      seen,
    );
  arp(
    "ARP with a foreign sender address",
    broadcast,
    { operation: "request", senderMac: mac, senderIp: other.ipv4, targetIp: target.ipv4 },
    new RegExp(`who-has ${text(target.ipv4)}.* tell ${text(other.ipv4)},`),
  );
  arp(
    "ARP with a foreign sender MAC",
    broadcast,
    { operation: "request", senderMac: foreignMac, senderIp: ipv4, targetIp: target.ipv4 },
    new RegExp(` ${foreignMac} > .* who-has ${text(target.ipv4)}.* tell ${text(ipv4)},`),
    foreignMac,
  );
  arp(
    "an ARP answer with a foreign MAC inside",
    target.mac,
    { operation: "reply", senderMac: foreignMac, senderIp: ipv4, targetMac: target.mac, targetIp: target.ipv4 },
    new RegExp(`Reply ${text(ipv4)} is-at ${foreignMac}`),
  );
  arp(
    "gratuitous ARP for the gateway",
    broadcast,
    { operation: "request", senderMac: mac, senderIp: gateway.ipv4, targetIp: gateway.ipv4 },
    new RegExp(`who-has ${text(gateway.ipv4)} .*tell ${text(gateway.ipv4)},`),
  );
  arp(
    "an ARP answer for the gateway",
    target.mac,
    { operation: "reply", senderMac: mac, senderIp: gateway.ipv4, targetMac: target.mac, targetIp: target.ipv4 },
    new RegExp(`Reply ${text(gateway.ipv4)} is-at ${mac}`),
  );

  const message = (
    kind: string,
    reason: string,
    dst: Mac,
    addresses: { readonly src: Ip; readonly dst: Ip },
    [body, shown]: readonly [body: Buffer, shown: string],
  ): void => {
    const packet = buildIp({ ...addresses, protocol: ipProtocol.icmpv6, ttl: 255 }, body);
    const seen = new RegExp(` ${addresses.src} > ${addresses.dst}: ICMP6, ${shown}`);
    add(kind, reason, buildEthernet({ src: mac, dst, etherType: etherType.ipv6 }, packet), seen);
  };
  const advertise = (kind: string, dst: Mac, addresses: { src: Ip; dst: Ip }, claimed: Ip, targetMac = mac): void => {
    const body = buildNeighborAdvertisement({ ...addresses, target: claimed, targetMac, override: true });
    message(kind, "nd", dst, addresses, [body, `neighbor advertisement, tgt is ${claimed},`]);
  };
  advertise("an advertisement of another's address", target.mac, { src: ipv6, dst: target.ipv6 }, other.ipv6);
  advertise("an advertisement of the gateway to all", allNodes, { src: linkLocal, dst: "ff02::1" }, gateway.ipv6);
  advertise("an advertisement in another's name", allNodes, { src: other.ipv6, dst: "ff02::1" }, other.ipv6);
  advertise("an advertisement with a foreign MAC", target.mac, { src: linkLocal, dst: target.ipv6 }, ipv6, foreignMac);
  const asked = { src: other.ipv6, dst: target.ipv6 };
  message("a solicitation from a foreign source", "nd", target.mac, asked, [
    buildNeighborSolicitation({ ...asked, target: target.ipv6, sourceMac: mac }),
    "neighbor solicitation, who has",
  ]);

  const rule = (kind: string, type: 134 | 137, dst: Mac, addresses: { src: Ip; dst: Ip }): void => {
    const body = Buffer.alloc(type === 134 ? 16 : 40);
    body[0] = type;
    // A router for half an hour, of high preference (RFC 4191, section 2.2).
    if (type === 134) body.set([64, 0x08, 0x07, 0x08], 4);
    body.writeUInt16BE(transportChecksum(addresses, ipProtocol.icmpv6, body), 2);
    message(kind, "ra", dst, addresses, [body, type === 134 ? "router advertisement" : "redirect"]);
  };
  rule("a router advertisement to all", 134, allNodes, { src: linkLocal, dst: "ff02::1" });
  rule("a router advertisement to one, from its own address", 134, target.mac, { src: ipv6, dst: target.ipv6 });
  rule("a redirect", 137, target.mac, { src: linkLocal, dst: target.ipv6 });

  const dhcp = (kind: string, src: Ip, dst: Ip, to: Mac): void => {
    const [server, client] = src.includes(":") ? [547, 546] : [67, 68];
    const frame = buildEthernet({ src: mac, dst: to, etherType: typeOf(src) }, udp(src, dst, client, server));
    add(kind, "dhcp", frame, new RegExp(` ${text(src)}\\.${server} > ${text(dst)}\\.${client}: `));
  };
  dhcp("a DHCP offer to all", ipv4, "255.255.255.255", broadcast);
  dhcp("a DHCP offer to one", ipv4, target.ipv4, target.mac);
  dhcp("a DHCPv6 advertisement", ipv6, target.ipv6, target.mac);
  return frames;
}

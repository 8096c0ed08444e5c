export { AddressError } from "./errors.ts";
export { isMac, macFromBigInt, macFromBytes, macToBigInt, macToBytes, parseMac } from "./mac.ts";
export type { Mac } from "./mac.ts";
export {
  compareIps,
  ipFamily,
  ipFromBigInt,
  ipFromBytes,
  ipFromObjectName,
  ipToBigInt,
  ipToBytes,
  ipToObjectName,
  isIp,
  parseIp,
} from "./ip.ts";
export type { Ip, IpFamily } from "./ip.ts";
export {
  addressAt,
  cidrContains,
  cidrContainsCidr,
  cidrOf,
  cidrsOverlap,
  cidrSize,
  familyBits,
  firstAddress,
  formatCidr,
  indexOf,
  lastAddress,
  parseCidr,
} from "./cidr.ts";
export type { Cidr } from "./cidr.ts";
export { PrefixMap } from "./prefix-map.ts";
export type { PrefixEntry } from "./prefix-map.ts";
export { arpOperation, etherType, icmpType, icmpv6Type, ipProtocol, tcpFlag } from "./protocol.ts";
export { parsePacket } from "./parse.ts";
export { buildSctp, opensAssociation, sctpChunk } from "./sctp.ts";
export type { SctpOptions } from "./sctp.ts";
export { buildTooBig } from "./too-big.ts";
export type { TooBigOptions } from "./too-big.ts";
export type { Packet } from "./parse.ts";
export {
  buildArp,
  buildEcho,
  buildEthernet,
  buildGratuitousArp,
  buildIp,
  buildIpv4,
  buildIpv6,
  buildNeighborAdvertisement,
  buildNeighborSolicitation,
  buildRouterSolicitation,
  buildTcp,
  buildUdp,
  buildUnsolicitedAdvertisement,
  internetChecksum,
  transportChecksum,
} from "./build.ts";
export type {
  ArpOptions,
  EchoOptions,
  EthernetOptions,
  IpOptions,
  NeighborAdvertisementOptions,
  NeighborSolicitationOptions,
  TcpOptions,
  TransportOptions,
} from "./build.ts";

/** The kernel's interfaces, addresses, routes and packets. */
export { errnoName, LinkError } from "./errors.ts";
export type { LinkErrorCode, LinkErrorFacts } from "./errors.ts";
export { netnsExists, netnsIdentity, openNamespace, withNamespace } from "./namespace.ts";
export { listeningPorts } from "./listening.ts";
export { RouteSocket } from "./route-socket.ts";
export { checkLinkName } from "./rtnetlink.ts";
export type {
  Address,
  AddressSpec,
  Link,
  LinkChange,
  Neighbour,
  Route,
  RouteScope,
  RouteSpec,
  RouteType,
  VethPair,
  VethSpec,
} from "./records.ts";
export type { Offloads } from "./ethtool.ts";
export { moveAddresses } from "./move.ts";
export type { MovedAddresses } from "./move.ts";
export { getSysctl, setSysctls } from "./sysctl.ts";
export { applyRuleset, readTable } from "./nft.ts";
export { PacketSocket, sendFrame } from "./packet-socket.ts";
export type { PacketSocketOptions, ReceivedFrame } from "./packet-socket.ts";

export { formatAddressRange, parseAddressRange } from "./address-range.ts";
export type { AddressRange } from "./address-range.ts";
export {
  addressBlockKind,
  addressBlockManifest,
  addressBlockName,
  MAX_LENT,
  parseAddressBlock,
  validateAddressBlocks,
} from "./address-block.ts";
export type { AddressBlock, AddressBlockManifest } from "./address-block.ts";
export {
  addressBlockStatus,
  MAX_ALLOCATIONS,
  MAX_ENDED_ALLOCATIONS,
  parseAddressBlockStatus,
} from "./address-block-status.ts";
export type { AddressBlockStatus, BlockAllocation, EndedAllocation } from "./address-block-status.ts";
export {
  assignableIntervals,
  blockIndices,
  cidrInterval,
  clip,
  intervalsContain,
  intervalsSize,
  ordinalOf,
  rangeInterval,
  specificIntervals,
  unassignable,
  valueAt,
} from "./assignable.ts";
export type { Interval } from "./assignable.ts";
export { customResourceDefinition } from "./custom-resource-definition.ts";
export type { CustomResourceDefinition, CustomResourceDefinitionOptions } from "./custom-resource-definition.ts";
export type { FamilyCounts } from "./family-counts.ts";
export { IntervalIndex } from "./interval-index.ts";
export {
  ipAddressKind,
  ipAddressManifest,
  ipAddressName,
  ipAddressPatch,
  MAX_HISTORY,
  OWNER_LABEL,
  ownerDigest,
  parseIpAddress,
  SUBNET_LABEL,
  subnetLabel,
} from "./ip-address.ts";
export type {
  AddressClaim,
  AddressHolder,
  AddressOwner,
  AddressPhase,
  AddressRetention,
  HistoryEntry,
  IpAddressManifest,
  IpAddressRecord,
} from "./ip-address.ts";
export { ipPoolKind, parseIpPool, validatePools } from "./ip-pool.ts";
export type { IpPool } from "./ip-pool.ts";
export { API_GROUP, API_VERSION, bySeniority, formatViolation } from "./kind.ts";
export type { CelRule, Identity, Kind, Parsed, PrintColumn, Violation } from "./kind.ts";
export type { LabelSelector } from "./label-selector.ts";
export { networkKind, parseNetwork, validateNetwork, validateNetworks } from "./network.ts";
export type { Network, NetworkInterface, OverlayNetwork, UnderlayNetwork } from "./network.ts";
export { OverlapIndex } from "./overlap.ts";
export { explain, formatPath, ruled, schemaAt } from "./rules.ts";
export type { Rule, ValuePath } from "./rules.ts";
export { parseSubnet, subnetFamily, subnetKind, validateSubnet } from "./subnet.ts";
export type { Subnet, SubnetFamily } from "./subnet.ts";
export { validateSubnets } from "./subnets.ts";
export type { SubnetSurroundings } from "./subnets.ts";
export { formatTimestamp, parseTimestamp } from "./timestamp.ts";

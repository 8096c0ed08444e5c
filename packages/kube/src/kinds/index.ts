export { formatAddressRange, parseAddressRange } from "./address-range.ts";
export type { AddressRange } from "./address-range.ts";
export {
  addressBlockKind,
  addressBlockManifest,
  addressBlockName,
  parseAddressBlock,
  validateAddressBlocks,
} from "./address-block.ts";
export type { AddressBlock, AddressBlockManifest } from "./address-block.ts";
export { customResourceDefinition } from "./custom-resource-definition.ts";
export type { CustomResourceDefinition, CustomResourceDefinitionOptions } from "./custom-resource-definition.ts";
export { API_GROUP, API_VERSION, bySeniority, formatViolation } from "./kind.ts";
export type { CelRule, Identity, Kind, Parsed, PrintColumn, Violation } from "./kind.ts";
export { networkKind, parseNetwork, validateNetwork, validateNetworks } from "./network.ts";
export type { Network, NetworkInterface, OverlayNetwork, UnderlayNetwork } from "./network.ts";
export { OverlapIndex } from "./overlap.ts";
export { explain, formatPath, ruled, schemaAt } from "./rules.ts";
export type { Rule, ValuePath } from "./rules.ts";
export { parseSubnet, subnetFamily, subnetKind, validateSubnet } from "./subnet.ts";
export type { LabelSelector, Subnet, SubnetFamily } from "./subnet.ts";
export { validateSubnets } from "./subnets.ts";
export type { SubnetSurroundings } from "./subnets.ts";

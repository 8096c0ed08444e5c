/** NetworkPolicies and tenants as pure functions: parsed, indexed, judged, explained. */
export { AddressSet, type AddressAnswer, type AddressBlocks } from "./address-set.ts";
export { hasRule, PolicyIndex, type Isolation, type Isolations } from "./compile.ts";
export { evaluateDirection, type DirectionQuestion, type DirectionVerdict } from "./evaluate.ts";
export {
  explainVerdict,
  packetText,
  type DirectionExplanation,
  type Explanation,
  type ExplanationQuestion,
  type Finding,
  type PolicyExplanation,
  type RuleExplanation,
} from "./explain.ts";
export {
  policyName,
  protocols,
  ruleName,
  type Direction,
  type NetworkPolicy,
  type Peer,
  type PolicyPort,
  type PolicyRule,
  type Protocol,
  type RuleReference,
} from "./model.ts";
export {
  intersectOpenings,
  isClosed,
  openingsText,
  passingRules,
  portRangeText,
  includesOpenings,
  sameOpenings,
  uniteOpenings,
  type Opening,
  type Openings,
  type PacketFacts,
} from "./openings.ts";
export { parseNetworkPolicy, type ParsedPolicy } from "./parse.ts";
export {
  partyName,
  type LabelPairs,
  type NamedPort,
  type NamespaceIdentity,
  type Party,
  type PodIdentity,
  type PodParty,
} from "./party.ts";
export { judgeTenancy, tenantAnnotation, type TenancyParty, type TenancyVerdict } from "./tenancy.ts";

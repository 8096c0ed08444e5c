/** The datapath of a node: pipeline, decision, entries. Pure: bytes and facts in, bytes and verdicts out. */
export { BoundedMap } from "./bounded-map.ts";
export {
  bucketSelector,
  cookieBuckets,
  cookieFormat,
  decodeCookie,
  encodeCookie,
  isVerdictKind,
  kindSelector,
  type Cookie,
} from "./cookie.ts";
export { decide } from "./decide.ts";
export {
  sameVerdict,
  type Cube,
  type Decision,
  type Guard,
  type JudgedDirection,
  type Question,
  type Reason,
  type Way,
} from "./decision.ts";
export { DatapathError, type DatapathErrorCode } from "./errors.ts";
export type {
  BlockFact,
  ClaimFact,
  Endpoint,
  PodKey,
  FactKey,
  Facts,
  LocalPort,
  NodeFact,
  SubnetFact,
  WireFact,
} from "./facts.ts";
export { baseFlows, routerAddress, routerMac, type BaseFacts, type SwitchPorts } from "./features/base.ts";
export { announcementIn, announcementMeter, isAnnouncement, type Announcement } from "./features/announcement.ts";
export {
  forgeryMeter,
  forgeryOf,
  forgeryReasons,
  isForgery,
  type Forgery,
  type ForgeryReason,
} from "./features/forgery.ts";
export { isAnswer, type UplinkExamination } from "./features/examination.ts";
export { linkLocal } from "./features/link-local.ts";
export { missPort } from "./features/miss.ts";
export { podFlows } from "./features/pod.ts";
export {
  conflictMeter,
  integrationPort,
  isConflict,
  nicPort,
  uplinkFlows,
  type UplinkFacts,
  type UplinkMember,
} from "./features/uplink.ts";
export { associationFromFlow, type AssociationEnd } from "./features/association.ts";
export { portPrefixes } from "./features/guarded.ts";
export {
  associationEntry,
  flowModFor,
  flowModOf,
  isGuardedFlow,
  verdictEntries,
  verdictFlow,
  verdictFlows,
  verdictFromFlow,
  wayOf,
  type Settled,
  type VerdictMod,
} from "./features/verdict.ts";
export {
  announcementFlows,
  announcementOf,
  askedAddresses,
  isTooLarge,
  neighbourMeter,
  questionAbout,
  taggedWith,
  tooLargeMeter,
  type Wire,
} from "./features/wire.ts";
export { defineFlow, tableName, tables, type TableDeclaration, type TableName } from "./pipeline.ts";
export { flowKey, reconcile, type Difference } from "./reconcile.ts";
export {
  commitPatch,
  segmentOf,
  segmentPort,
  segmentVlan,
  sourceClass,
  unset,
  verdictCode,
  wayPatches,
  type Segment,
  type SourceClass,
  type WayRegisters,
  editions,
} from "./registers.ts";
export type { Counted, VerdictMarks } from "./features/guarded.ts";
export { groupOf, nextRuleGroups, noRuleGroups, type RuleGroup, type RuleGroups } from "./rule-groups.ts";
export { VerdictTable, type Verdict } from "./verdict-table.ts";
export {
  labelOf,
  maxLife,
  originatorOf,
  policyZone,
  standing,
  standingOf,
  type Originator,
  type Standing,
} from "./tracking.ts";
export {
  judgeAssociation,
  judgePacket,
  type Connection,
  type Judgement,
  type ListeningEnd,
  type PairDirection,
  type TrackedPacket,
} from "./judgement.ts";

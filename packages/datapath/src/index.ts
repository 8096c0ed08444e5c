/** The datapath of a node: pipeline, decision, entries. Pure: bytes and facts in, bytes and verdicts out. */
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
export { decide, sameVerdict, type Cube, type Decision, type Question, type Reason } from "./decide.ts";
export { DatapathError, type DatapathErrorCode } from "./errors.ts";
export type { BlockFact, ClaimFact, Endpoint, FactKey, Facts, LocalPort, NodeFact, SubnetFact } from "./facts.ts";
export { baseFlows, missPort, routerMac, type BaseFacts, type SwitchPorts } from "./features/base.ts";
export { linkLocal, podFlows } from "./features/pod.ts";
export { flowModFor, verdictFlow, verdictFromFlow, wayOf, type Settled } from "./features/verdict.ts";
export { defineFlow, tableName, tables, type TableDeclaration, type TableName } from "./pipeline.ts";
export { flowKey, reconcile, type Difference } from "./reconcile.ts";
export { sourceClass, unset, verdictCode, wayPatches, type SourceClass, type Way } from "./registers.ts";
export { VerdictTable, type Verdict } from "./verdict-table.ts";

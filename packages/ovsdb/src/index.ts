export { Cache, type CacheEvents, type CacheUpdate, type Row, type RowChange } from "./cache.ts";
export {
  OvsdbClient,
  type OvsdbClientEvents,
  type OvsdbClientOptions,
  type RetryOptions,
  type TransactOptions,
} from "./client.ts";
export { type Condition, type ConditionFunction } from "./condition.ts";
export { OvsdbError, OvsdbTransactionError, type OvsdbErrorCode } from "./errors.ts";
export { JsonFramer, type JsonFramerOptions, type JsonObject } from "./json-rpc.ts";
export { type MonitorTable } from "./monitor.ts";
export {
  applyDiff,
  decodeValue,
  encodeValue,
  valuesEqual,
  type Atom,
  type InputAtom,
  type InputValue,
  type NamedUuid,
  type Value,
} from "./notation.ts";
export {
  type BridgeRow,
  type ControllerRow,
  type FlowTableRow,
  type InterfaceRow,
  type OpenVswitchRow,
  type OpenVswitchTables,
  type PortRow,
} from "./open-vswitch.ts";
export { parseSchema, type ColumnSchema, type DatabaseSchema, type TableSchema } from "./schema.ts";
export { Transaction, type Mutation, type RowInput, type TransactionResult, type Where } from "./transact.ts";

/** The Container Network Interface: its protocol, the agent's server, the contract with the executable. */
export { CNI_CODE, CniError } from "./errors.ts";
export { FEATURES, LATEST_VERSION, SUPPORTED_VERSIONS } from "./version.ts";
export type { CniVersion, VersionFeatures } from "./version.ts";
export type {
  AttachedIp,
  AttachedRoute,
  Attachment,
  Attachments,
  AttachRequest,
  Dns,
  PodReference,
  PreviousResult,
  ResultInterface,
  ResultIp,
  ResultRoute,
  ValidAttachment,
} from "./attachments.ts";
export { parseArguments, parseOperation } from "./protocol.ts";
export type { AttachmentParameters, Command, Operation } from "./protocol.ts";
export { formatError, formatResult, formatVersion, mergeResult, parsePreviousResult } from "./result.ts";
export {
  decodeRequest,
  decodeResponse,
  DEFAULT_SOCKET,
  encodeRequest,
  encodeResponse,
  ENVIRONMENT_NAMES,
  MAX_STDIN_BYTES,
  RPC_VERSION,
  RpcError,
} from "./rpc.ts";
export type { CallRequest, CallResponse, CniEnvironment, EnvironmentName } from "./rpc.ts";
export { CniServer, CniServerError } from "./server.ts";
export type { CniLogger, CniServerOptions } from "./server.ts";

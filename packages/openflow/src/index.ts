export type {
  Action,
  FieldSlice,
  Flow,
  FlowFlag,
  FlowModCommand,
  Instruction,
  LearnSpec,
  Match,
  MatchField,
  NatRange,
  PacketInReason,
  PortNumber,
  UnknownMatchField,
} from "./model.ts";
export { OpenFlowDecodeError, OpenFlowEncodeError, OpenFlowTextError } from "./errors.ts";
export { fieldByName, fields, findField } from "./tables/fields.ts";
export type { Field, FieldFormat, FieldName } from "./tables/fields.ts";
export { reservedPorts } from "./tables/numbers.ts";
export { errorName } from "./tables/errors.ts";
export type {
  BundleAdd,
  ErrorBody,
  FlowModBody,
  HelloBody,
  Message,
  MessageType,
  UnknownMessage,
} from "./tables/messages.ts";
export type { FlowEntry, FlowSelection, MultipartReplyBody, MultipartRequestBody } from "./tables/multipart.ts";
export type { Band, Bucket, CtTuple, FlowStatistics, Port, TlvMap } from "./tables/structures.ts";
export { decodeMessage, encodeMessage, HEADER_SIZE, readHeader, VERSION } from "./codec.ts";
export type { Header } from "./codec.ts";
export { flowModFrame } from "./flow-mod-frame.ts";
export { canonicalActions, canonicalFlow, canonicalMatch } from "./canonical.ts";
export { isPacketIn2, PacketInView, packetInView, resumeFrame, resumeView } from "./packet-in-view.ts";
export type { ConntrackView, RegisterPatch } from "./packet-in-view.ts";
export { formatFlow, parseFlow } from "./text/flow.ts";
export { formatMatch, parseMatch } from "./text/match.ts";
export { formatActions, formatInstructions } from "./text/format-actions.ts";
export { parseActions, parseInstructions } from "./text/parse-actions.ts";

export { formatAddress, parseAddress, type Address } from "./address.ts";
export { connect } from "./connect.ts";
export { Connection, type ConnectionEvents, type ConnectionOptions } from "./connection.ts";
export { StreamError, type StreamErrorCode } from "./errors.ts";
export { silentLogger, type Logger } from "./logger.ts";
export {
  Reconnect,
  type ReconnectAction,
  type ReconnectOptions,
  type ReconnectState,
  type ReconnectStep,
} from "./reconnect.ts";

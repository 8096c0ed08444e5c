/** Errors of the datapath package: all of them are our own mistakes or refusals, never the wire's. */
export type DatapathErrorCode = "DATAPATH_UNDECLARED" | "DATAPATH_BAD_COOKIE";

export class DatapathError extends Error {
  readonly code: DatapathErrorCode;
  constructor(code: DatapathErrorCode, message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = "DatapathError";
    this.code = code;
  }
}

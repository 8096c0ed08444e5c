/** Errors of the codec. The peer's fault, the caller's fault and a person's typing are three classes. */

/** Bytes that are not the OpenFlow frame they claim to be. The peer's fault; the connection cannot be trusted further. */
export class OpenFlowDecodeError extends Error {
  readonly code = "OPENFLOW_BAD_FRAME";
  constructor(message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = "OpenFlowDecodeError";
  }
}

/** A value that has no encoding, such as a port beyond 32 bits. The caller's fault. */
export class OpenFlowEncodeError extends Error {
  readonly code = "OPENFLOW_BAD_VALUE";
  constructor(message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = "OpenFlowEncodeError";
  }
}

/** Text that is not a flow, match or action in the syntax of ovs-ofctl. */
export class OpenFlowTextError extends Error {
  readonly code = "OPENFLOW_BAD_TEXT";
  constructor(message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = "OpenFlowTextError";
  }
}

/** Codes of everything the lab refuses or fails at. */
export type LabErrorCode =
  | "LAB_BAD_ARGUMENT"
  | "LAB_BAD_CONFIG"
  | "LAB_BAD_MANIFEST"
  | "LAB_BUSY"
  | "LAB_COMMAND_FAILED"
  | "LAB_COMPONENT_FAILED"
  | "LAB_MISSING_PROGRAM"
  | "LAB_NOT_FOUND"
  | "LAB_NOT_RUNNING"
  | "LAB_TIMEOUT"
  | "LAB_CNI_FAILED";

/** A failure of the lab itself; the message names the object, what went wrong and the remedy. */
export class LabError extends Error {
  override readonly name = "LabError";
  readonly code: LabErrorCode;

  constructor(code: LabErrorCode, message: string, options?: ErrorOptions) {
    super(message, options);
    this.code = code;
  }
}

/** The text of anything that was thrown, with its chain of causes. */
export function messageOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  if (error.cause === undefined) return error.message;
  const cause = messageOf(error.cause);
  return error.message.includes(cause) ? error.message : `${error.message}: ${cause}`;
}

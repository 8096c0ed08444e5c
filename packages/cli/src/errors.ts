/** Errors of `fabricctl`; `docs/errors.md` lists the codes. */
export type FabricctlErrorCode =
  | "FABRICCTL_UNREACHABLE"
  | "FABRICCTL_TIMEOUT"
  | "FABRICCTL_REFUSED"
  | "FABRICCTL_REPLY";

export class FabricctlError extends Error {
  readonly code: FabricctlErrorCode;
  constructor(code: FabricctlErrorCode, message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = "FabricctlError";
    this.code = code;
  }
}

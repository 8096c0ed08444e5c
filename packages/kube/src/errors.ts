/** Errors of the Kubernetes client; `docs/errors.md` lists the codes. */
export type KubeErrorCode =
  | "KUBE_CONFIG"
  | "KUBE_CREDENTIALS"
  | "KUBE_UNREACHABLE"
  | "KUBE_TIMEOUT"
  | "KUBE_REFUSED"
  | "KUBE_PROTOCOL";

export class KubeError extends Error {
  readonly code: KubeErrorCode;
  constructor(code: KubeErrorCode, message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = "KubeError";
    this.code = code;
  }
}

/** The API server answered, and the answer is no: `metav1.Status` with the HTTP status. */
export class KubeApiError extends KubeError {
  readonly status: number;
  readonly reason: string;
  readonly retryAfterMilliseconds: number | undefined;

  constructor(what: string, status: number, reason: string, message: string, retryAfterMilliseconds?: number) {
    super("KUBE_REFUSED", `${what}: ${message} (${status} ${reason})`);
    this.name = "KubeApiError";
    this.status = status;
    this.reason = reason;
    this.retryAfterMilliseconds = retryAfterMilliseconds;
  }
}

export function isNotFound(error: unknown): boolean {
  return error instanceof KubeApiError && error.status === 404;
}

/** 409 because an object of that name exists. */
export function isAlreadyExists(error: unknown): boolean {
  return error instanceof KubeApiError && error.status === 409 && error.reason === "AlreadyExists";
}

/** 409 because the object changed since it was read, or a precondition does not hold. */
export function isConflict(error: unknown): boolean {
  return error instanceof KubeApiError && error.status === 409 && error.reason !== "AlreadyExists";
}

/** 410: the resourceVersion is too old to continue from. */
export function isGone(error: unknown): boolean {
  return error instanceof KubeApiError && error.status === 410;
}

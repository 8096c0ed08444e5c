/** Errors of the Kubernetes client; `docs/errors.md` lists the codes. */
import type { Status, StatusDetails } from "./types/meta.ts";

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
  /** The HTTP status, or the `code` of an ERROR event. */
  readonly status: number;
  /** Such as `NotFound`; `Unknown` when something other than the API server answered. */
  readonly reason: string;
  readonly retryAfterMilliseconds: number | undefined;
  /** Which object, and which of its fields. */
  readonly details: StatusDetails | undefined;

  constructor(
    what: string,
    status: number,
    reason: string,
    message: string,
    retryAfterMilliseconds?: number,
    details?: StatusDetails,
  ) {
    super("KUBE_REFUSED", `${what}: ${message} (${status} ${reason})`);
    this.name = "KubeApiError";
    this.status = status;
    this.reason = reason;
    this.retryAfterMilliseconds = retryAfterMilliseconds;
    this.details = details;
  }
}

/** The longest text that is taken over from an answer (characters). */
const maxMessage = 2000;

/**
 * Reads an answer that means no.
 * @param what the request, for the message
 * @param body the answer's body: a `Status`, or whatever something in between said
 * @param retryAfter the header `Retry-After`
 */
export function refusal(what: string, httpStatus: number, body: unknown, retryAfter?: string): KubeApiError {
  const status = statusOf(body);
  const seconds = Number(retryAfter ?? status.details?.retryAfterSeconds);
  const said = typeof body === "string" ? body.trim() : "";
  return new KubeApiError(
    what,
    httpStatus,
    status.reason ?? "Unknown",
    (status.message ?? (said === "" ? "no explanation" : said)).slice(0, maxMessage),
    Number.isFinite(seconds) && seconds > 0 ? Math.min(seconds, 3600) * 1000 : undefined,
    status.details,
  );
}

/** Only the fields of a Status that have the type they should have. */
function statusOf(body: unknown): Status {
  if (typeof body !== "object" || body === null) return {};
  const { reason, message, details } = body as Record<string, unknown>;
  return {
    ...(typeof reason === "string" && reason !== "" ? { reason } : {}),
    ...(typeof message === "string" ? { message } : {}),
    ...(typeof details === "object" && details !== null ? { details } : {}),
  };
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
  return error instanceof KubeApiError && (error.status === 410 || error.reason === "Expired");
}

/** The resourceVersion is one that the server has not reached, as after its store was restored from a backup. */
export function isVersionTooLarge(error: unknown): boolean {
  if (!(error instanceof KubeApiError)) return false;
  const causes = error.details?.causes;
  return Array.isArray(causes) && causes.some((cause) => cause?.reason === "ResourceVersionTooLarge");
}

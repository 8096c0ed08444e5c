/**
 * Kubernetes `Status` objects (meta.k8s.io/v1), the answer to every request that fails.
 */

/** One field error of an `Invalid` status, or one detail of another. */
export interface StatusCause {
  reason: string;
  message: string;
  field?: string;
}

/** What a status is about. */
export interface StatusDetails {
  name?: string;
  group?: string;
  kind?: string;
  uid?: string;
  causes?: StatusCause[];
  retryAfterSeconds?: number;
}

/** The `Status` object as it goes over the wire. */
export interface Status {
  kind: "Status";
  apiVersion: "v1";
  metadata: Record<string, never>;
  status: "Success" | "Failure";
  message?: string;
  reason?: string;
  details?: StatusDetails;
  code: number;
}

/** What a resource is called in messages: `pods`, `networks.beyondfabric.io`. */
export interface GroupResource {
  group: string;
  plural: string;
}

function called(resource: GroupResource): string {
  return resource.group === "" ? resource.plural : `${resource.plural}.${resource.group}`;
}

/** What a status about an object says of it; the legacy group has no name. */
export function detailsOf({ group, plural }: GroupResource, name: string): StatusDetails {
  return group === "" ? { name, kind: plural } : { name, group, kind: plural };
}

/**
 * A request that cannot be served. `httpStatus` and `reason` follow the API conventions ("Response status kind");
 * `code` is stable for programs that embed the server.
 */
export class ApiError extends Error {
  override readonly name = "ApiError";
  readonly code: string;
  readonly httpStatus: number;
  readonly reason: string;
  readonly details: StatusDetails | undefined;

  constructor(httpStatus: number, reason: string, message: string, details?: StatusDetails, cause?: unknown) {
    super(message, cause === undefined ? undefined : { cause });
    this.code = `APISERVER_${reason === "" ? "UNKNOWN" : reason.replaceAll(/(?<=[a-z])(?=[A-Z])/g, "_").toUpperCase()}`;
    this.httpStatus = httpStatus;
    this.reason = reason;
    this.details = details;
  }

  /** The object that is sent. */
  toStatus(): Status {
    return {
      kind: "Status",
      apiVersion: "v1",
      metadata: {},
      status: "Failure",
      message: this.message,
      ...(this.reason === "" ? {} : { reason: this.reason }),
      ...(this.details === undefined ? {} : { details: this.details }),
      code: this.httpStatus,
    };
  }

  static badRequest(message: string, cause?: unknown): ApiError {
    return new ApiError(400, "BadRequest", message, undefined, cause);
  }

  static unauthorized(): ApiError {
    return new ApiError(401, "Unauthorized", "Unauthorized");
  }

  static forbidden(resource: GroupResource, name: string, why: string, causes?: StatusCause[]): ApiError {
    const details: StatusDetails = detailsOf(resource, name);
    if (causes !== undefined) details.causes = causes;
    return new ApiError(403, "Forbidden", `${called(resource)} ${JSON.stringify(name)} is forbidden: ${why}`, details);
  }

  static notFound(resource: GroupResource, name: string): ApiError {
    return new ApiError(
      404,
      "NotFound",
      `${called(resource)} ${JSON.stringify(name)} not found`,
      detailsOf(resource, name),
    );
  }

  /** A path that no resource is served under. */
  static noSuchPath(): ApiError {
    return new ApiError(404, "NotFound", "the server could not find the requested resource", {});
  }

  static methodNotAllowed(method: string, what: string): ApiError {
    return new ApiError(405, "MethodNotAllowed", `${method} is not supported on ${what}`);
  }

  static notAcceptable(offered: readonly string[]): ApiError {
    return new ApiError(
      406,
      "NotAcceptable",
      `only the following media types are accepted: ${offered.join(", ")}; change the Accept header`,
    );
  }

  static unsupportedMediaType(accepted: readonly string[]): ApiError {
    return new ApiError(
      415,
      "UnsupportedMediaType",
      `the body of the request was in an unknown format - accepted media types include: ${accepted.join(", ")}`,
    );
  }

  static alreadyExists(resource: GroupResource, name: string): ApiError {
    return new ApiError(
      409,
      "AlreadyExists",
      `${called(resource)} ${JSON.stringify(name)} already exists`,
      detailsOf(resource, name),
    );
  }

  static conflict(resource: GroupResource, name: string, why: string): ApiError {
    return new ApiError(
      409,
      "Conflict",
      `Operation cannot be fulfilled on ${called(resource)} ${JSON.stringify(name)}: ${why}`,
      detailsOf(resource, name),
    );
  }

  /** The object changed since the version that the request was made from. */
  static staleVersion(resource: GroupResource, name: string): ApiError {
    return ApiError.conflict(
      resource,
      name,
      "the object has been modified; please apply your changes to the latest version and try again",
    );
  }

  static invalid(kind: string, group: string, name: string, causes: StatusCause[]): ApiError {
    const errors = causes.map((cause) =>
      cause.field === undefined ? cause.message : `${cause.field}: ${cause.message}`,
    );
    const list = errors.length === 1 ? errors[0] : `[${errors.join(", ")}]`;
    const what = group === "" ? kind : `${kind}.${group}`;
    return new ApiError(422, "Invalid", `${what} ${JSON.stringify(name)} is invalid: ${list}`, {
      name,
      ...(group === "" ? {} : { group }),
      kind,
      causes,
    });
  }

  /** A resource version older than the history that is kept; the client must list again. */
  static expired(message: string): ApiError {
    return new ApiError(410, "Expired", message);
  }

  static tooLargeResourceVersion(asked: number, current: number): ApiError {
    return new ApiError(504, "Timeout", `Too large resource version: ${asked}, current: ${current}`, {
      causes: [{ reason: "ResourceVersionTooLarge", message: "Too large resource version" }],
      retryAfterSeconds: 1,
    });
  }

  static tooLarge(limit: number): ApiError {
    return new ApiError(413, "RequestEntityTooLarge", `Request entity too large: limit is ${limit} bytes`);
  }

  static internal(cause: unknown): ApiError {
    const message = cause instanceof Error ? cause.message : String(cause);
    return new ApiError(500, "InternalError", `Internal error occurred: ${message}`, undefined, cause);
  }
}

/** Field errors in the forms that Kubernetes uses (`field.Error`). */
export const fieldError = {
  required(field: string, detail = ""): StatusCause {
    return { reason: "FieldValueRequired", message: `Required value${detail === "" ? "" : `: ${detail}`}`, field };
  },
  invalid(field: string, value: unknown, detail: string): StatusCause {
    const shown = value === undefined ? "null" : JSON.stringify(value);
    const short = shown.length > 200 ? `${shown.slice(0, 200)}…` : shown;
    return { reason: "FieldValueInvalid", message: `Invalid value: ${short}: ${detail}`, field };
  },
  notSupported(field: string, value: unknown, supported: readonly unknown[]): StatusCause {
    const values = supported.map((item) => JSON.stringify(item)).join(", ");
    return {
      reason: "FieldValueNotSupported",
      message: `Unsupported value: ${JSON.stringify(value)}: supported values: ${values}`,
      field,
    };
  },
  forbidden(field: string, detail: string): StatusCause {
    return { reason: "FieldValueForbidden", message: `Forbidden: ${detail}`, field };
  },
  duplicate(field: string, value: unknown): StatusCause {
    return { reason: "FieldValueDuplicate", message: `Duplicate value: ${JSON.stringify(value)}`, field };
  },
  tooLong(field: string, detail: string): StatusCause {
    return { reason: "FieldValueTooLong", message: `Too long: ${detail}`, field };
  },
  type(field: string, value: unknown, detail: string): StatusCause {
    const shown = value === undefined ? "null" : JSON.stringify(value);
    const short = shown.length > 200 ? `${shown.slice(0, 200)}…` : shown;
    return { reason: "FieldValueTypeInvalid", message: `Invalid value: ${short}: ${detail}`, field };
  },
};

/** A `Status` that reports success, the answer to deletions and evictions. */
export function success(details?: StatusDetails, code = 200): Status {
  return {
    kind: "Status",
    apiVersion: "v1",
    metadata: {},
    status: "Success",
    ...(details === undefined ? {} : { details }),
    code,
  };
}

/** The closed list of `OvsdbError` codes. */
export type OvsdbErrorCode =
  /** The server sent something that RFC 7047 does not allow; the connection is given up and made again. */
  | "OVSDB_PROTOCOL"
  /** Not connected: the request was never sent, and may be repeated once `connected` is emitted. */
  | "OVSDB_DISCONNECTED"
  /** The connection was lost, or the time was up, after a transaction was sent and before its answer: it may or may not have been committed. */
  | "OVSDB_FATE_UNKNOWN"
  /** No answer to a request that changes nothing, or no connection, within the time given. */
  | "OVSDB_TIMEOUT"
  /** Committed, but ovs-vswitchd did not apply it within the time given. */
  | "OVSDB_SWITCH_TIMEOUT"
  /** A table, column or value that does not fit the database's schema: a mistake of the caller, or another version of the schema. */
  | "OVSDB_SCHEMA"
  /** The server is too old for what was asked. */
  | "OVSDB_UNSUPPORTED"
  /** The server answered with an error. */
  | "OVSDB_REMOTE"
  /** Too many requests, or bytes, wait for the server. */
  | "OVSDB_OVERFLOW"
  /** A `wait` of the transaction did not hold: somebody else changed the rows it relied on. */
  | "OVSDB_CONFLICT"
  /** The transaction broke a rule of the schema: uniqueness, references, ranges. */
  | "OVSDB_CONSTRAINT"
  /** Any other refusal of a transaction. */
  | "OVSDB_TRANSACTION";

/** What can go wrong with the database, with a stable `code` and the `cause` where there is one. */
export class OvsdbError extends Error {
  readonly code: OvsdbErrorCode;

  constructor(code: OvsdbErrorCode, message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = "OvsdbError";
    this.code = code;
  }
}

/** The refusal of a transaction (RFC 7047 section 4.1.3): which operation, and what to do about it. Nothing of it was applied. */
export class OvsdbTransactionError extends OvsdbError {
  /** Position of the refused operation; the number of operations when the commit as a whole was refused. */
  readonly index: number;
  /** The operation's name, or `commit`. */
  readonly operation: string;
  readonly table: string | undefined;
  /** Columns that the operation, or the server's details, name. */
  readonly columns: readonly string[];
  /** The server's own error, as in RFC 7047 section 3.1 and 5.2. */
  readonly error: string;
  readonly details: string | undefined;
  readonly remedy: string;

  constructor(fields: {
    code: OvsdbErrorCode;
    index: number;
    operation: string;
    table: string | undefined;
    columns: readonly string[];
    error: string;
    details: string | undefined;
    remedy: string;
  }) {
    const where =
      fields.operation === "commit"
        ? "commit"
        : `operation ${fields.index + 1}, ${fields.operation}${fields.table === undefined ? "" : ` of table ${fields.table}`}`;
    const columns = fields.columns.length === 0 ? "" : ` (${fields.columns.join(", ")})`;
    const details = fields.details === undefined ? "" : `: ${fields.details}`;
    super(fields.code, `transaction refused at ${where}${columns}: ${fields.error}${details}; ${fields.remedy}`);
    this.name = "OvsdbTransactionError";
    this.index = fields.index;
    this.operation = fields.operation;
    this.table = fields.table;
    this.columns = fields.columns;
    this.error = fields.error;
    this.details = fields.details;
    this.remedy = fields.remedy;
  }
}

/** A short, printable piece of something untrusted, for error messages. */
export function excerpt(value: unknown): string {
  const text = typeof value === "string" ? value : (JSON.stringify(value) ?? String(value));
  return text.length > 120 ? `${text.slice(0, 117)}...` : text;
}

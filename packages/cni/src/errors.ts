/** Errors of CNI operations, with the codes of SPEC.md section 5 "Error". */

/** Well-known codes, and from 100 on our own. */
export const CNI_CODE = {
  incompatibleVersion: 1,
  unsupportedField: 2,
  unknownContainer: 3,
  invalidEnvironment: 4,
  ioFailure: 5,
  decodingFailure: 6,
  invalidConfiguration: 7,
  tryAgainLater: 11,
  /** Of STATUS: cannot serve ADD. */
  notAvailable: 50,
  /** Of STATUS: cannot serve ADD, and pods that exist may have limited connectivity. */
  limitedConnectivity: 51,
  /** A mistake of ours. */
  internal: 100,
  /** The interface name is taken in the container. */
  interfaceExists: 101,
  /** CNI_NETNS leads to no network namespace. */
  noNamespace: 102,
  /** No address is left, or the wanted one is taken. */
  noAddress: 103,
  /** CHECK found something missing or wrong. */
  checkFailed: 104,
} as const;

/** A refusal that goes to the runtime as it is: short message, and details that name object, rule and remedy. */
export class CniError extends Error {
  readonly code: number;
  readonly details: string;
  constructor(code: number, message: string, details = "", options?: ErrorOptions) {
    super(message, options);
    this.name = "CniError";
    this.code = code;
    this.details = details;
  }
}

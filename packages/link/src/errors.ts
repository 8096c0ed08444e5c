/** Errors of everything that this package asks of the kernel. */
import { getSystemErrorName } from "node:util";

/** Stable identifiers of what went wrong. */
export type LinkErrorCode =
  /** An interface, address, route or neighbour of that identity is already there. */
  | "LINK_EXISTS"
  /** The interface, address, route or neighbour is not there. */
  | "LINK_NOT_FOUND"
  /** The path does not lead to a network namespace. */
  | "LINK_NO_NAMESPACE"
  /** An interface name that the kernel cannot take. */
  | "LINK_BAD_NAME"
  /** An interface name of more than 15 bytes. */
  | "LINK_NAME_TOO_LONG"
  /** An address, prefix or hardware address that is not one. */
  | "LINK_BAD_ADDRESS"
  /** The process lacks a privilege (CAP_NET_ADMIN, CAP_NET_RAW, CAP_SYS_ADMIN). */
  | "LINK_NOT_PERMITTED"
  /** The kernel or the driver cannot do this. */
  | "LINK_UNSUPPORTED"
  /** Any other refusal of a netlink request. */
  | "LINK_NETLINK"
  /** A reply that does not follow the protocol, or that was lost. */
  | "LINK_PROTOCOL"
  /** A system call other than a netlink request failed. */
  | "LINK_SYSTEM_CALL"
  /** The socket was closed while, or before, a request was under way. */
  | "LINK_CLOSED"
  /** nft refused a ruleset, or is not installed. */
  | "LINK_NFT";

/** What is known about a failure beside its message. */
export interface LinkErrorFacts {
  /** The interface, address, route, namespace or file that the request was about. */
  readonly object: string;
  /** The kernel's error number, positive. */
  readonly errno?: number | undefined;
  /** What the kernel said in its extended acknowledgement. */
  readonly kernelText?: string | undefined;
  /** What a person can do about it. */
  readonly remedy?: string | undefined;
  readonly cause?: unknown;
}

/** A request to the kernel's network configuration that failed. `message` holds object, reason and remedy. */
export class LinkError extends Error {
  readonly code: LinkErrorCode;
  readonly object: string;
  /** The kernel's error number, positive; absent when the kernel was not asked. */
  readonly errno: number | undefined;
  /** The error number's name, such as `EEXIST`. */
  readonly errnoName: string | undefined;
  readonly kernelText: string | undefined;
  readonly remedy: string | undefined;

  constructor(code: LinkErrorCode, what: string, facts: LinkErrorFacts) {
    const name = facts.errno === undefined ? undefined : errnoName(facts.errno);
    const reason = [name, facts.kernelText].filter((part) => part !== undefined && part !== "").join(", ");
    super(
      `${what}${reason === "" ? "" : `: ${reason}`}${facts.remedy === undefined ? "" : `; ${facts.remedy}`}`,
      facts.cause === undefined ? undefined : { cause: facts.cause },
    );
    this.name = "LinkError";
    this.code = code;
    this.object = facts.object;
    this.errno = facts.errno;
    this.errnoName = name;
    this.kernelText = facts.kernelText;
    this.remedy = facts.remedy;
  }
}

/** The name of an error number, `E<number>` for one that nobody knows. */
export function errnoName(errno: number): string {
  try {
    return getSystemErrorName(-errno);
  } catch {
    return `E${errno}`;
  }
}

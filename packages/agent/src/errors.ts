/** Errors of the agent; `docs/errors.md` lists the codes with their remedies. */
import type { Ip } from "@beyondfabric/packet";

export type AgentErrorCode =
  | "AGENT_SWITCH_CONTROL"
  | "AGENT_SWITCH_ABSENT"
  | "AGENT_BRIDGE_TAKEN"
  | "AGENT_PORT_REFUSED"
  | "AGENT_INTERFACE_TAKEN"
  | "AGENT_TUNNEL_INTERFACE"
  | "AGENT_MEMORY"
  | "AGENT_NETWORK_ABSENT"
  | "AGENT_ADDRESS_CONFLICT"
  | "AGENT_NO_SUBNET"
  | "AGENT_API_NEEDED"
  | "AGENT_GRANT_PENDING"
  | "AGENT_API_REQUEST"
  | "AGENT_INSTALL"
  | "AGENT_RUNNING";

export class AgentError extends Error {
  readonly code: AgentErrorCode;
  /** The address that an `AGENT_ADDRESS_CONFLICT` is about. */
  readonly address?: Ip;
  constructor(code: AgentErrorCode, message: string, options?: ErrorOptions & { readonly address?: Ip }) {
    super(message, options);
    this.name = "AgentError";
    this.code = code;
    if (options?.address !== undefined) this.address = options.address;
  }
}

/** Errors of the agent; `docs/errors.md` lists the codes with their remedies. */
export type AgentErrorCode =
  | "AGENT_SWITCH_CONTROL"
  | "AGENT_SWITCH_ABSENT"
  | "AGENT_BRIDGE_TAKEN"
  | "AGENT_PORT_REFUSED"
  | "AGENT_INTERFACE_TAKEN"
  | "AGENT_TUNNEL_INTERFACE"
  | "AGENT_MEMORY"
  | "AGENT_NO_SUBNET"
  | "AGENT_API_NEEDED"
  | "AGENT_GRANT_PENDING"
  | "AGENT_API_REQUEST"
  | "AGENT_INSTALL";

export class AgentError extends Error {
  readonly code: AgentErrorCode;
  constructor(code: AgentErrorCode, message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = "AgentError";
    this.code = code;
  }
}

/** Why an address or a block cannot be had. */

export type IpamErrorCode =
  | "IPAM_NO_BLOCK"
  | "IPAM_NO_FREE_ADDRESS"
  | "IPAM_SUBNET_EXHAUSTED"
  | "IPAM_POOL_EXHAUSTED"
  | "IPAM_CLAIM_CONTENDED"
  | "IPAM_ADDRESS_TAKEN"
  | "IPAM_FAMILY_MISSING"
  | "IPAM_OWNER_CONFLICT"
  | "IPAM_BLOCK_IN_USE"
  | "IPAM_ADDRESSING_REFUSED";

/** Every message names the subnet or address, the rule and the remedy. */
export class IpamError extends Error {
  override readonly name = "IpamError";
  readonly code: IpamErrorCode;

  constructor(code: IpamErrorCode, message: string, options?: ErrorOptions) {
    super(message, options);
    this.code = code;
  }
}

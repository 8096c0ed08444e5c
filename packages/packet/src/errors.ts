/** A MAC, IP address or CIDR that cannot be what it claims to be; the message says what was given and what is expected. */
export class AddressError extends Error {
  readonly code = "PACKET_BAD_ADDRESS";
  constructor(message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = "AddressError";
  }
}

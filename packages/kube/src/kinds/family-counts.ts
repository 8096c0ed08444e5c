/** Numbers of addresses per family, as a status shows them. */
import { z } from "zod";

/** Decimal numbers as text, per family; a family that the object has no addresses of is absent. */
export interface FamilyCounts {
  readonly ipv4?: string | undefined;
  readonly ipv6?: string | undefined;
}

/** Schema of {@link FamilyCounts}. */
export function familyCounts(description: string) {
  return z
    .object({
      ipv4: z.string().max(40).optional(),
      ipv6: z.string().max(40).optional(),
    })
    .describe(`${description}, in decimal: an IPv6 subnet holds more than 64 bits can count.`)
    .optional();
}

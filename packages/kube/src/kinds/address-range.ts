/** Ranges of addresses as subnets write them: one address, a CIDR, or `first-last`. */
import {
  AddressError,
  compareIps,
  firstAddress,
  ipFamily,
  lastAddress,
  parseCidr,
  parseIp,
} from "@beyondfabric/packet";
import type { Ip, IpFamily } from "@beyondfabric/packet";
import { z } from "zod";
import { ruled } from "./rules.ts";

/** Both ends belong to the range. */
export interface AddressRange {
  readonly family: IpFamily;
  readonly first: Ip;
  readonly last: Ip;
}

/**
 * Reads `10.0.0.5`, `10.0.0.0/28` or `10.0.0.5-10.0.0.9`.
 * @throws AddressError that names the remedy
 */
export function parseAddressRange(text: string): AddressRange {
  if (text.includes("/")) {
    const cidr = parseCidr(text);
    return { family: cidr.family, first: firstAddress(cidr), last: lastAddress(cidr) };
  }
  const dash = text.indexOf("-");
  const first = parseIp(dash < 0 ? text : text.slice(0, dash).trimEnd());
  const last = dash < 0 ? first : parseIp(text.slice(dash + 1).trimStart());
  const family = ipFamily(first);
  if (family !== ipFamily(last)) throw new AddressError(`${text} mixes families; write two ranges`);
  if (compareIps(first, last) > 0) throw new AddressError(`${text} runs backwards; write ${last}-${first}`);
  return { family, first, last };
}

/** `10.0.0.5-10.0.0.9`, or the address alone when there is only one. */
export function formatAddressRange(range: AddressRange): string {
  return range.first === range.last ? range.first : `${range.first}-${range.last}`;
}

/** Schema of a list of ranges; that each entry is a range is checked by {@link parseAddressRange}. */
export function rangeList(description: string) {
  const entry = ruled(
    z
      .string()
      .max(91)
      .regex(/^[0-9a-fA-F.:]+( ?- ?[0-9a-fA-F.:]+|\/[0-9]{1,3})?$/),
    "must be an address, a CIDR or FIRST-LAST",
    "write for example 10.0.0.5, 10.0.0.0/28 or 10.0.0.5-10.0.0.9",
  );
  return ruled(
    z.array(entry).max(256).describe(description),
    "must be a list of at most 256 ranges",
    "join neighbouring ranges into one",
  );
}

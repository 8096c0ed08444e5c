/**
 * The `continue` tokens of paged lists: the revision that all pages show, and the last key of the page before.
 */
import { objectOf } from "./json.ts";
import { ApiError } from "./status.ts";

/** A token for what follows `after` at a revision. */
export function encodeContinue(revision: number, after: string): string {
  return Buffer.from(JSON.stringify({ v: "meta.k8s.io/v1", rv: revision, start: after })).toString("base64url");
}

/** What a token says. @throws ApiError BadRequest */
export function decodeContinue(token: string): { revision: number; after: string } {
  try {
    const value: unknown = JSON.parse(Buffer.from(token, "base64url").toString("utf8"));
    const { rv, start } = objectOf(value);
    if (typeof rv === "number" && Number.isSafeInteger(rv) && rv >= 0 && typeof start === "string") {
      return { revision: rv, after: start };
    }
  } catch {
    // Reported below: whatever is wrong with the token, the remedy is the same.
  }
  throw ApiError.badRequest("continue key is not valid; list again without it");
}

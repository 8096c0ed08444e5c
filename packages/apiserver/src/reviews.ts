/**
 * Reviews: questions about users that are answered and not stored. Every authenticated user may do everything.
 */
import type { User } from "./authentication.ts";
import { objectOf, textOf, type JsonObject } from "./json.ts";
import type { Resource } from "./resources.ts";

/** The fields that answer a review. */
export function review(
  resource: Resource,
  body: JsonObject,
  user: User,
  userOfToken: (token: string) => User | undefined,
): JsonObject {
  const metadata = { ...objectOf(body["metadata"]), creationTimestamp: null };
  const info = (who: User): JsonObject => ({ username: who.name, groups: who.groups });
  switch (resource.plural) {
    case "tokenreviews": {
      const found = userOfToken(textOf(objectOf(body["spec"])["token"]));
      return {
        metadata,
        status: found === undefined ? { user: {}, error: "unknown token" } : { authenticated: true, user: info(found) },
      };
    }
    case "selfsubjectreviews":
      return { metadata, status: { userInfo: info(user) } };
    case "selfsubjectrulesreviews":
      return {
        metadata,
        status: {
          resourceRules: [{ verbs: ["*"], apiGroups: ["*"], resources: ["*"] }],
          nonResourceRules: [{ verbs: ["*"], nonResourceURLs: ["*"] }],
          incomplete: false,
        },
      };
    default:
      return { metadata, status: { allowed: true, reason: "every authenticated user may do everything here" } };
  }
}

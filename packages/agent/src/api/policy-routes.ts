/** The paths of the local API about policies. */
import { asking, jsonAnswer, type Route } from "./route.ts";
import type {
  DenialsReply,
  PolicyCountersReply,
  PolicyExplanationReply,
  PolicyListReply,
  PolicyMatrixReply,
} from "./types.ts";

/** What is said about policies; a question that means nobody throws RequestError. */
export interface PolicySource {
  explain(from: string, to: string, port: string | undefined): Promise<PolicyExplanationReply>;
  list(pod: string): PolicyListReply;
  matrix(namespaces: readonly string[]): PolicyMatrixReply;
  counters(): Promise<PolicyCountersReply>;
  denials(): DenialsReply;
}

export function policyRoutes(source: PolicySource): [string, Route][] {
  return [
    [
      "/v1/policy/explain",
      asking(async ({ searchParams: asked }) =>
        jsonAnswer(
          await source.explain(asked.get("from") ?? "", asked.get("to") ?? "", asked.get("port") ?? undefined),
        ),
      ),
    ],
    ["/v1/policy/list", asking(async (url) => jsonAnswer(source.list(url.searchParams.get("pod") ?? "")))],
    ["/v1/policy/matrix", asking(async (url) => jsonAnswer(source.matrix(url.searchParams.getAll("namespace"))))],
    ["/v1/policy/counters", asking(async () => jsonAnswer(await source.counters()))],
    ["/v1/denials", asking(async () => jsonAnswer(source.denials()))],
  ];
}

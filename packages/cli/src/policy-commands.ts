/** `fabricctl policy ...` and `fabricctl denials`: the questions about isolation. */
import { json, type Commands } from "./commands.ts";
import {
  denialsReply,
  policyCountersReply,
  policyExplanationReply,
  policyListReply,
  policyMatrixReply,
} from "./policy-reply.ts";
import { formatCounters, formatDenials, formatExplanation, formatMatrix, formatPolicyList } from "./policy.ts";

export function addPolicyCommands(commands: Commands): void {
  const { ask, surroundings } = commands;
  const policy = commands.group("policy", "who may talk to whom, and why");

  policy
    .command(
      "explain",
      "why packets pass or not: every policy, rule and part that was looked at",
      async (asked, [from, to], { port }) => {
        const query = new URLSearchParams({ from: from!, to: to! });
        if (typeof port === "string") query.set("port", port);
        const reply = await ask(`/v1/policy/explain?${query.toString()}`, policyExplanationReply, asked);
        return asked.output === "json" ? json(reply) : formatExplanation(reply, surroundings.paint);
      },
    )
    .argument("<from>", "a pod as NAMESPACE/NAME, a node, an address, or svc/NAMESPACE/NAME")
    .argument("<to>", "the same")
    .option("--port <port/protocol>", "one port such as 8080/TCP, or icmp; without it all ports at once");

  policy
    .command("list", "the policies that isolate a pod", async (asked, [pod]) => {
      const query = new URLSearchParams({ pod: pod! });
      const reply = await ask(`/v1/policy/list?${query.toString()}`, policyListReply, asked);
      return asked.output === "json" ? json(reply) : formatPolicyList(reply);
    })
    .argument("<pod>", "NAMESPACE/NAME");

  policy
    .command("matrix", "which pods of these namespaces reach which, on which ports", async (asked, [namespaces]) => {
      // Commander gives a variadic argument as a list.
      const names = namespaces as unknown as string[];
      const query = new URLSearchParams(names.map((each) => ["namespace", each]));
      const reply = await ask(`/v1/policy/matrix?${query.toString()}`, policyMatrixReply, asked);
      return asked.output === "json" ? json(reply) : formatMatrix(reply);
    })
    .argument("<namespaces...>", "names of namespaces");

  policy
    .command("counters", "what each rule let pass at the pods of this node", async (asked, [about]) => {
      const reply = await ask("/v1/policy/counters", policyCountersReply, asked);
      return asked.output === "json" ? json(reply) : formatCounters(reply, about);
    })
    .argument("[about]", "a namespace, or a policy as NAMESPACE/NAME; all without it");

  commands.command("denials", "what policies and tenancy refused lately at the pods of this node", async (asked) => {
    const reply = await ask("/v1/denials", denialsReply, asked);
    return asked.output === "json" ? json(reply) : formatDenials(reply, surroundings.now());
  });
}

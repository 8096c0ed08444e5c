/** `fabricctl policy` and `fabricctl denials`: what isolates whom, who reaches whom, and why a packet passes or not. */
import type {
  DenialsReply,
  PolicyCountersReply,
  PolicyExplanationReply,
  PolicyFinding,
  PolicyListReply,
  PolicyMatrixReply,
} from "@beyondfabric/agent/api";
import { duration } from "./quantities.ts";
import { formatTable } from "./table.ts";
import { visible, type Paint } from "./terminal.ts";

interface ExplanationRow {
  readonly policy: string;
  readonly rule: string;
  readonly part: string;
  readonly result: string;
  readonly why: string;
}

/** One line for a person in a hurry, then every part of every rule that was looked at. */
export function formatExplanation(reply: PolicyExplanationReply, paint: Paint): string {
  const { sentence, allowed, spoofGuard, service, tenancy, directions } = reply;
  const blocks = [paint(allowed ? "good" : "bad", visible(sentence))];
  if (service !== undefined) {
    const { name, endpoints } = service;
    const open = endpoints.filter((each) => each.allowed).length;
    const rows = endpoints.map((each) => `  ${paint(each.allowed ? "good" : "bad", visible(each.sentence))}`);
    blocks[0] = [`${visible(name)}: ${open} of ${endpoints.length} endpoints may be reached`, ...rows].join("\n");
    if (endpoints.length > 1) blocks.push(visible(sentence));
  }
  blocks.push(`anti-spoof: ${visible(spoofGuard)}`);
  blocks.push(`tenancy: ${tenancy.allowed ? "allowed" : "denied"}, ${visible(tenancy.because)}`);
  for (const { direction, pod, allowed: open, because, policies } of directions) {
    const heading = `${direction} of ${visible(pod)}: ${open ? "allowed" : "denied"}, ${visible(because)}`;
    const rows = policies.flatMap(({ policy, rules }) =>
      rules.length === 0
        ? [{ policy, rule: "-", part: "-", result: "no", why: "it has no rule for this direction" }]
        : rules.flatMap(({ rule, peers, ports }) => [
            ...peers.map((finding) => explanationRow(policy, rule, finding)),
            ...ports.map((finding) => explanationRow(policy, rule, finding)),
          ]),
    );
    blocks.push(rows.length === 0 ? heading : [heading, ...explanationTable(rows)].join("\n"));
  }
  return blocks.join("\n\n");
}

function explanationRow(policy: string, rule: string, { part, matched, why }: PolicyFinding): ExplanationRow {
  return { policy, rule: rule.split(" of ")[0]!, part, result: matched ? "yes" : "no", why };
}

function explanationTable(rows: readonly ExplanationRow[]): string[] {
  return formatTable<ExplanationRow>(
    [
      { heading: "POLICY", cell: ({ policy }) => policy },
      { heading: "RULE", cell: ({ rule }) => rule },
      { heading: "PART", cell: ({ part }) => part },
      { heading: "MATCHES", cell: ({ result }) => result },
      { heading: "BECAUSE", cell: ({ why }) => why },
    ],
    rows,
  ).map((line) => `  ${line}`);
}

export function formatPolicyList({ pod, ingressIsolated, egressIsolated, policies }: PolicyListReply): string {
  const isolated = [ingressIsolated ? "ingress" : "", egressIsolated ? "egress" : ""].filter((each) => each !== "");
  const heading =
    isolated.length === 0
      ? `no policy isolates ${visible(pod)}: everything may pass`
      : `${visible(pod)} is isolated for ${isolated.join(" and ")}`;
  if (policies.length === 0) return heading;
  const count = (rules: number | null): string => (rules === null ? "-" : String(rules));
  const table = formatTable(
    [
      { heading: "POLICY", cell: ({ policy }) => policy },
      { heading: "SELECTS", cell: ({ podSelector }) => (podSelector === "" ? "all pods" : podSelector) },
      { heading: "INGRESS RULES", cell: ({ ingressRules }) => count(ingressRules), right: true },
      { heading: "EGRESS RULES", cell: ({ egressRules }) => count(egressRules), right: true },
    ],
    policies,
  );
  return [heading, "", ...table].join("\n");
}

/** A row per source, a column per destination; `all` and `-` for everything and nothing. */
export function formatMatrix({ pods, rows }: PolicyMatrixReply): string {
  if (pods.length === 0) return "no pods in these namespaces";
  const brief = (openings: string): string =>
    openings === "everything" ? "all" : openings === "nothing" ? "-" : openings;
  type Row = PolicyMatrixReply["rows"][number];
  return formatTable<Row>(
    [
      { heading: "FROM \\ TO", cell: ({ from }) => from },
      ...pods.map((pod, index) => ({
        heading: visible(pod),
        cell: ({ openings }: Row): string => brief(openings[index] ?? "nothing"),
      })),
    ],
    rows,
  ).join("\n");
}

/** @param about a namespace, or a policy as `namespace/name`; absent: all of them */
export function formatCounters({ rules }: PolicyCountersReply, about: string | undefined): string {
  const asked = rules.filter(
    ({ policy }) => about === undefined || policy === about || policy.startsWith(`${about.replace(/\/$/, "")}/`),
  );
  if (asked.length === 0) return "no rule let anything pass at this node since its agent started";
  return formatTable<PolicyCountersReply["rules"][number]>(
    [
      { heading: "POLICY", cell: ({ policy }) => policy },
      { heading: "RULE", cell: ({ direction, rule }) => `${direction} ${rule}` },
      { heading: "SESSIONS", cell: ({ sessions }) => sessions, right: true },
      { heading: "PACKETS", cell: ({ packets }) => packets, right: true },
      { heading: "BYTES", cell: ({ bytes }) => bytes, right: true },
    ],
    asked,
  ).join("\n");
}

const protocolNames: Readonly<Record<number, string>> = { 1: "ICMP", 6: "TCP", 17: "UDP", 58: "ICMPv6", 132: "SCTP" };

type DenialRow = DenialsReply["denials"][number];

/** The newest last, as in a log. */
export function formatDenials({ denials }: DenialsReply, now: number): string {
  if (denials.length === 0) return "nothing was refused by policy at this node since its agent started";
  const end = ({ address, pod }: DenialRow["source"]): string => (pod === undefined ? address : `${pod} (${address})`);
  return formatTable<DenialRow>(
    [
      { heading: "LAST", cell: ({ last }) => `${duration(now - last)} ago` },
      { heading: "COUNT", cell: ({ count }) => count, right: true },
      { heading: "FROM", cell: ({ source }) => end(source) },
      { heading: "TO", cell: ({ destination }) => end(destination) },
      {
        heading: "WHAT",
        cell: ({ protocol, destinationPort }) => {
          const name = protocolNames[protocol] ?? (protocol === 0 ? "any" : `protocol ${protocol}`);
          return destinationPort === undefined ? name : `${destinationPort}/${name}`;
        },
      },
      {
        heading: "REFUSED BY",
        cell: ({ reason, direction, isolated, policies }) => {
          if (reason === "tenant-differs") return "tenancy";
          return direction === undefined ? "the pair" : `${direction} of ${isolated}: ${policies.join(", ")}`;
        },
      },
    ],
    denials,
  ).join("\n");
}

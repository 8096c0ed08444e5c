/** `fabricctl ip`: who has an address, who had it, and what is wrong, as a person reads it. */
import type {
  AddressAccount,
  AddressCheckReply,
  AddressesReply,
  AddressHistoryReply,
  AddressRepairReply,
  AddressState,
  Finding,
  RepairStep,
  Tenure,
} from "@beyondfabric/agent/api";
import { duration, instant } from "./quantities.ts";
import { formatTable, type Column } from "./table.ts";
import { visible, type Paint } from "./terminal.ts";

export interface AddressView {
  readonly wide: boolean;
  /** ms since the epoch */
  readonly now: number;
  readonly paint: Paint;
}

const meanings: Readonly<Record<AddressState, string>> = {
  pod: "the ordinary address of a pod",
  bound: "claimed, and in use",
  pending: "claimed, and not granted yet",
  retained: "kept for its owner",
  released: "free for anybody; it has a history",
  node: "a node's own",
  gateway: "the gateway of its subnet",
  excluded: "not handed out: excluded, outside of the ranges, or the first or last of its subnet",
  reserved: "handed out only to those who name it",
  free: "free",
  outside: "of no subnet",
};

/** All that is known of one address. */
export function formatAccount(account: AddressAccount, { now }: AddressView): string {
  const { user, owner, block, since, reclaimAt } = account;
  const facts: [string, string | undefined][] = [
    ["pod", user && `${user.namespace}/${user.pod} on ${user.node}`],
    ["pod UID", user?.uid],
    ["MAC", user?.mac],
    ["node", account.node],
    ["owner", owner && `${owner.kind} ${owner.namespace}/${owner.name}${owner.slot === "" ? "" : ` (${owner.slot})`}`],
    ["kept as", account.retention],
    ["pool", account.pool],
    ["subnet", account.subnet],
    ["block", block && `${block.cidr} of ${block.node}`],
    ["since", since === undefined ? undefined : `${instant(since)} (${duration(now - since)})`],
    ["free from", reclaimAt === undefined ? undefined : instant(reclaimAt)],
    ["refused", account.refusal],
  ];
  return [
    `${visible(account.address)}   ${meanings[account.state]}`,
    ...facts.flatMap(([name, text]) => (text === undefined ? [] : [`  ${name.padEnd(9)}  ${visible(text)}`])),
  ].join("\n");
}

/** One line per address. */
export function formatAddresses({ addresses, more }: AddressesReply, { wide, now }: AddressView): string {
  if (addresses.length === 0) return "no such addresses";
  const dash = (text: string | undefined): string => text ?? "-";
  const columns: Column<AddressAccount>[] = [
    { heading: "ADDRESS", cell: ({ address }) => address },
    { heading: "STATE", cell: ({ state }) => state },
    { heading: "POD", cell: ({ user }) => dash(user && `${user.namespace}/${user.pod}`) },
    { heading: "NODE", cell: ({ user, node }) => dash(user?.node ?? node) },
    { heading: "OWNER", cell: ({ owner }) => dash(owner && `${owner.kind}/${owner.name}`) },
    { heading: "SUBNET", cell: ({ subnet }) => dash(subnet) },
    { heading: "AGE", cell: ({ since }) => (since === undefined ? "-" : duration(now - since)) },
  ];
  const wideColumns: Column<AddressAccount>[] = [
    { heading: "BLOCK", cell: ({ block }) => dash(block?.cidr) },
    { heading: "KEPT AS", cell: ({ retention }) => dash(retention) },
    { heading: "POOL", cell: ({ pool }) => dash(pool) },
    { heading: "MAC", cell: ({ user }) => dash(user?.mac) },
    { heading: "UID", cell: ({ user }) => dash(user?.uid) },
  ];
  const lines = formatTable(wide ? [...columns, ...wideColumns] : columns, addresses);
  if (more) lines.push("", `there are more than these ${addresses.length}: see --limit`);
  return lines.join("\n");
}

/** One line per pod that has or had the address, or per address that the pod has or had. */
export function formatHistory({ tenures }: AddressHistoryReply, whose: string, { wide, now }: AddressView): string {
  if (tenures.length === 0) return `nothing is told of ${whose} any more, or there never was anything`;
  const columns: Column<Tenure>[] = [
    { heading: "ADDRESS", cell: ({ address }) => address },
    { heading: "POD", cell: ({ namespace, pod }) => `${namespace}/${pod}` },
    { heading: "NODE", cell: ({ node }) => node },
    { heading: "FROM", cell: ({ from }) => instant(from) },
    { heading: "UNTIL", cell: ({ until }) => (until === undefined ? "now" : instant(until)) },
    { heading: "FOR", cell: ({ from, until = now }) => duration(until - from) },
    { heading: "ENDED BY", cell: ({ reason, until }) => reason ?? (until === undefined ? "-" : "release") },
  ];
  const wideColumns: Column<Tenure>[] = [
    { heading: "MAC", cell: ({ mac }) => mac ?? "-" },
    { heading: "UID", cell: ({ uid }) => uid },
    { heading: "TOLD BY", cell: ({ source }) => source },
  ];
  return formatTable(wide ? [...columns, ...wideColumns] : columns, tenures).join("\n");
}

/** What is wrong, rule by rule, and what was looked at. */
export function formatCheck({ findings, looked }: AddressCheckReply, paint: Paint): string {
  const { claims, blocks, pods, nodes, subnets } = looked;
  const about = `${claims} claims, ${blocks} blocks, ${pods} pods, ${nodes} nodes, ${subnets} subnets`;
  if (findings.length === 0) return `${paint("good", "nothing is wrong")} in ${about}`;
  return [
    ...findings.flatMap((finding) => [
      `${paint("bad", finding.kind.toUpperCase())} ${visible(finding.rule)}   ${visible(finding.object)}`,
      `  ${visible(finding.message)}`,
      `  remedy: ${visible(finding.remedy)}`,
    ]),
    "",
    `${findings.length} ${findings.length === 1 ? "finding" : "findings"} in ${about}`,
  ].join("\n");
}

/** What a repair would do, with what has to be known before. */
export function formatPlan(findings: readonly Finding[]): string {
  const lines = findings.flatMap(({ repair = [], address, caution }) => [
    ...repair.map((step) => `  ${describe(step, address)}`),
    ...(caution === undefined ? [] : [`    ${visible(caution)}`]),
  ]);
  return ["the repair would do this, each only if the object has not changed meanwhile:", ...lines].join("\n");
}

export function formatRepair({ results }: AddressRepairReply, paint: Paint): string {
  return results
    .map(({ step, state, message }) => {
      const words = {
        done: "done",
        changed: "left alone: it has changed meanwhile",
        refused: "refused",
        failed: "failed",
      };
      const text = `${words[state]}${message === undefined ? "" : `: ${visible(message)}`}`;
      return `${describe(step)}: ${state === "done" ? paint("good", text) : paint("bad", text)}`;
    })
    .join("\n");
}

function describe({ action, kind, name }: RepairStep, address?: string): string {
  const what = `${kind}/${name}${address === undefined ? "" : ` (${address})`}`;
  if (action === "release") return visible(`let the pod that is gone give ${what} up`);
  return visible(action === "reclaim" ? `take ${what} back from its owner` : `delete ${what}`);
}

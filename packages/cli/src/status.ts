/** `fabricctl status`: the first look at a node. */
import type { StatusReply } from "@beyondfabric/agent/api";
import { reasonList } from "./endpoints.ts";
import { bytes, duration, perSecond } from "./quantities.ts";
import { formatTable, type Column } from "./table.ts";
import { visible, type Paint } from "./terminal.ts";

export interface StatusView {
  readonly wide: boolean;
  /** ms since the epoch */
  readonly now: number;
  readonly paint: Paint;
}

/** A node's state in some twenty lines; what needs somebody's attention is in the tone `bad`. */
export function formatStatus(status: StatusReply, view: StatusView): string {
  const { paint, now } = view;
  const state = status.ready ? paint("good", "ready") : paint("bad", "NOT READY");
  const lines = [
    `${visible(status.node)}   ${state}   up ${duration(now - status.startedAt)}   fabric-node ${visible(status.version.version)}`,
    ...status.notReady.map((reason) => `  ${paint("bad", "!")} ${visible(reason)}`),
    ...facts(status, view).map(([name, text]) => `  ${name.padEnd(9)}  ${text}`),
  ];
  lines.push("", ...addressTable(status));
  if (status.noisy.length > 0) {
    const [heading, ...rows] = formatTable(noisyColumns(view), status.noisy);
    lines.push("", heading!, ...rows.map((row) => paint("bad", row)));
  }
  if (status.spoofing.length > 0) {
    const [heading, ...rows] = formatTable(spoofingColumns, status.spoofing);
    lines.push("", heading!, ...rows.map((row) => paint("bad", row)));
  }
  return lines.join("\n");
}

const spoofingColumns: Column<StatusReply["spoofing"][number]>[] = [
  { heading: "SPOOFING POD", cell: ({ pod }) => pod },
  { heading: "DROPPED", cell: ({ packets }) => packets, right: true },
  { heading: "WHAT WAS FALSE", cell: ({ reasons }) => reasonList(reasons) },
  { heading: "CLAIMED LAST", cell: ({ claim }) => claim || "unread" },
  { heading: "LAST SEEN", cell: ({ age }) => `${duration(age)} ago` },
];

function facts(status: StatusReply, { wide, paint }: StatusView): [name: string, text: string][] {
  const { misses, version, api } = status;
  const { connected, bridge, datapathType, failMode, ...entries } = status.switch;
  const yes = (good: boolean, word: string, otherwise: string): string => (good ? word : paint("bad", otherwise));
  const secure =
    failMode === "secure" ? "fail mode secure" : paint("bad", `fail mode ${visible(failMode ?? "not set")}`);
  const full = entries.verdictEntries >= entries.entryBudget;
  const budget = `${entries.verdictEntries} verdict of ${entries.entryBudget}`;
  return [
    [
      "switch",
      `${yes(connected, "connected", "NOT CONNECTED")}, OVS ${visible(version.ovs ?? "unknown")}, ${visible(bridge)} (${visible(datapathType)}, ${secure})`,
    ],
    ["API", `${yes(api.connected, "connected", "NOT CONNECTED")}, ${yes(api.synced, "synced", "NOT SYNCED")}`],
    ["entries", `${entries.baseEntries} base, ${entries.podEntries} pod, ${full ? paint("bad", budget) : budget}`],
    [
      "misses",
      `${misses.total} total, ${perSecond(misses.perSecond)}/s, ${misses.held} held, ${misses.holdExpired} expired, ${misses.withoutEntry} without entry, ${misses.metered} over the limit`,
    ],
    [
      "tunnel",
      `${visible(status.tunnelAddress ?? "no address yet")}, ${status.peers} ${status.peers === 1 ? "peer" : "peers"}`,
    ],
    ["gateways", status.gatewayAddresses.length === 0 ? "none" : visible(status.gatewayAddresses.join(" "))],
    ["pods", noisySummary(status, paint)],
    ["memory", bytes(status.memoryBytes)],
    ...(wide
      ? ([
          ["OpenFlow", visible(version.openflow)],
          ["runtime", visible(version.runtime)],
          ["started", new Date(clampTime(status.startedAt)).toISOString()],
        ] satisfies [string, string][])
      : []),
  ];
}

function noisySummary({ pods, noisy }: StatusReply, paint: Paint): string {
  if (noisy.length === 0) return `${pods}, none noisy`;
  return `${pods}, ${paint("bad", `${noisy.length} noisy: ${visible(noisy[0]!.pod)} is the worst`)}`;
}

/** Times outside of what a Date can hold would make it throw. */
function clampTime(milliseconds: number): number {
  return Math.min(Math.max(milliseconds, 0), 8.64e15);
}

function addressTable({ addresses }: StatusReply): string[] {
  if (addresses.length === 0) return ["no address blocks yet: the first pod of a subnet claims one"];
  return formatTable<StatusReply["addresses"][number]>(
    [
      { heading: "SUBNET", cell: ({ subnet }) => subnet },
      { heading: "BLOCK", cell: ({ block }) => block },
      { heading: "USED", cell: ({ used }) => used, right: true },
      { heading: "CAPACITY", cell: ({ capacity }) => capacity, right: true },
    ],
    addresses,
  );
}

function noisyColumns({ wide, now }: StatusView): Column<StatusReply["noisy"][number]>[] {
  return [
    { heading: "NOISY POD", cell: ({ pod }) => pod },
    ...(wide ? [{ heading: "PORT", cell: ({ ofport }: { ofport: number }) => ofport, right: true }] : []),
    { heading: "MISSES/S", cell: ({ missesPerSecond }) => perSecond(missesPerSecond), right: true },
    { heading: "DROPPED/S", cell: ({ droppedPerSecond }) => perSecond(droppedPerSecond), right: true },
    { heading: "DROPPED", cell: ({ droppedTotal }) => droppedTotal, right: true },
    { heading: "LAST SEEN", cell: ({ lastSeen }) => `${duration(now - lastSeen)} ago` },
  ];
}

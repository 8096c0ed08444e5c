/** `fabricctl endpoints`: the pods of this node as the switch knows them. */
import type { EndpointsReply } from "@beyondfabric/agent/api";
import { duration } from "./quantities.ts";
import { formatTable, type Column } from "./table.ts";

type Endpoint = EndpointsReply["endpoints"][number];

/** `now`: ms since the epoch, for the ages. */
export function formatEndpoints({ endpoints }: EndpointsReply, wide: boolean, now: number): string {
  if (endpoints.length === 0) return "no pods on this node";
  const columns: Column<Endpoint>[] = [
    { heading: "POD", cell: ({ pod }) => pod },
    { heading: "ADDRESSES", cell: ({ addresses }) => addresses.join(",") || "none" },
    { heading: "PORT", cell: ({ ofport }) => ofport, right: true },
    { heading: "INTERFACE", cell: ({ hostInterface }) => hostInterface },
    { heading: "MISSES", cell: ({ misses }) => misses, right: true },
    { heading: "SPOOFED", cell: ({ spoofedPackets }) => spoofedPackets, right: true },
    { heading: "AGE", cell: ({ created }) => duration(now - created) },
  ];
  const wideColumns: Column<Endpoint>[] = [
    { heading: "SUBNET", cell: ({ subnet }) => subnet },
    { heading: "MAC", cell: ({ mac }) => mac },
    { heading: "SPOOFED AS", cell: ({ spoofedAs }) => reasonList(spoofedAs) },
    { heading: "CONTAINER", cell: ({ container }) => container },
    { heading: "UID", cell: ({ uid }) => uid },
  ];
  return formatTable(wide ? [...columns, ...wideColumns] : columns, endpoints).join("\n");
}

/** Counts by reason, the largest first. */
export function reasonList(reasons: Readonly<Record<string, number>>): string {
  const sorted = Object.entries(reasons).sort(([, a], [, b]) => b - a);
  return sorted.map(([reason, count]) => `${reason} ${count}`).join(", ") || "none";
}

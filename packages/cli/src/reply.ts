/**
 * The shapes of the agent's replies, checked before anything is printed: an agent of another version, or another program
 * on the socket, gives a sentence and not a stack trace. Fields that are not known here are let through.
 */
import type { EndpointsReply, FlowsReply, StatusReply, VersionReply } from "@beyondfabric/agent/api";
import { boolean, list, number, object, oneOf, optional, record, string, type Shape } from "./shape.ts";

export const versionReply: Shape<VersionReply> = object<VersionReply>({
  version: string,
  node: string,
  ovs: optional(string),
  openflow: string,
  runtime: string,
});

export const statusReply: Shape<StatusReply> = object<StatusReply>({
  node: string,
  version: versionReply,
  startedAt: number,
  ready: boolean,
  notReady: list(string),
  switch: object<StatusReply["switch"]>({
    connected: boolean,
    datapathType: string,
    bridge: string,
    failMode: optional(string),
    baseEntries: number,
    podEntries: number,
    verdictEntries: number,
    entryBudget: number,
  }),
  api: object<StatusReply["api"]>({ connected: boolean, synced: boolean }),
  addresses: list(
    object<StatusReply["addresses"][number]>({ subnet: string, block: string, used: number, capacity: number }),
  ),
  tunnelAddress: optional(string),
  gatewayAddresses: list(string),
  peers: number,
  pods: number,
  misses: object<StatusReply["misses"]>({
    total: number,
    perSecond: number,
    held: number,
    holdExpired: number,
    withoutEntry: number,
    metered: number,
  }),
  noisy: list(
    object<StatusReply["noisy"][number]>({
      pod: string,
      ofport: number,
      missesPerSecond: number,
      droppedPerSecond: number,
      droppedTotal: number,
      lastSeen: number,
    }),
  ),
  spoofing: list(
    object<StatusReply["spoofing"][number]>({
      pod: string,
      packets: number,
      reasons: record(number),
      claim: string,
      age: number,
    }),
  ),
  memoryBytes: number,
});

export const endpointsReply: Shape<EndpointsReply> = object<EndpointsReply>({
  endpoints: list(
    object<EndpointsReply["endpoints"][number]>({
      pod: string,
      uid: string,
      addresses: list(string),
      mac: string,
      ofport: number,
      hostInterface: string,
      container: string,
      subnet: string,
      created: number,
      spoofedPackets: number,
      spoofedAs: record(number),
      misses: number,
    }),
  ),
});

export const flowsReply: Shape<FlowsReply> = object<FlowsReply>({
  flows: list(
    object<FlowsReply["flows"][number]>({
      table: string,
      kind: oneOf("base", "pod", "verdict", "foreign"),
      text: string,
      packets: number,
      bytes: number,
      explanation: optional(string),
      source: optional(string),
      destination: optional(string),
    }),
  ),
});

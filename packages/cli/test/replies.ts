/** What a busy agent might answer; every figure differs, so that a mixed-up one shows. */
import type { EndpointsReply, FlowsReply, StatusReply, VersionReply } from "@beyondfabric/agent/api";

/** The moment at which the golden texts were printed. */
export const now = Date.parse("2026-03-04T15:06:07Z");

export const version: VersionReply = {
  version: "0.1.0",
  node: "node-1",
  ovs: "3.1.0",
  openflow: "1.5",
  runtime: "node v26.0.0",
};

export const healthy: StatusReply = {
  node: "node-1",
  version,
  startedAt: now - (3 * 3600 + 12 * 60 + 5) * 1000,
  ready: true,
  notReady: [],
  switch: {
    connected: true,
    datapathType: "netdev",
    bridge: "br-int",
    failMode: "secure",
    baseEntries: 41,
    podEntries: 24,
    verdictEntries: 310,
    entryBudget: 20_000,
  },
  api: { connected: true, synced: true },
  addresses: [
    { subnet: "default", block: "10.244.0.0/26", used: 6, capacity: 64 },
    { subnet: "default", block: "fd00:244::/122", used: 6, capacity: 64 },
  ],
  tunnelAddress: "10.10.0.11",
  gatewayAddresses: ["10.244.0.1", "fd00:244::1"],
  peers: 2,
  pods: 6,
  misses: { total: 12_345, perSecond: 1.5, held: 3, holdExpired: 1, withoutEntry: 17, metered: 8 },
  noisy: [],
  spoofing: [],
  memoryBytes: 87_241_523,
};

export const flooded: StatusReply = {
  ...healthy,
  switch: { ...healthy.switch, failMode: "standalone", verdictEntries: 20_000 },
  misses: { ...healthy.misses, perSecond: 497.6 },
  noisy: [
    {
      pod: "default/flood",
      ofport: 7,
      missesPerSecond: 497.2,
      droppedPerSecond: 49_503,
      droppedTotal: 1_234_567,
      lastSeen: now - 400,
    },
    {
      pod: "default/scan",
      ofport: 11,
      missesPerSecond: 60,
      droppedPerSecond: 0.4,
      droppedTotal: 12,
      lastSeen: now - 95_000,
    },
  ],
  spoofing: [
    { pod: "default/rogue", packets: 61, reasons: { arp: 20, ip: 41 }, claim: "source 10.244.0.9", age: 2_000 },
  ],
};

export const starting: StatusReply = {
  ...healthy,
  version: { version: "0.1.0", node: "node-1", openflow: "1.5", runtime: "node v26.0.0", ovs: undefined },
  startedAt: now - 800,
  ready: false,
  notReady: ["the switch is not connected: unix:/run/db.sock", "the API server was not reached yet"],
  switch: {
    connected: false,
    datapathType: "system",
    bridge: "br-int",
    failMode: undefined,
    baseEntries: 0,
    podEntries: 0,
    verdictEntries: 0,
    entryBudget: 20_000,
  },
  api: { connected: false, synced: false },
  addresses: [],
  tunnelAddress: undefined,
  gatewayAddresses: [],
  peers: 1,
  pods: 0,
  misses: { total: 0, perSecond: 0, held: 0, holdExpired: 0, withoutEntry: 0, metered: 0 },
};

export const endpoints: EndpointsReply = {
  endpoints: [
    {
      pod: "default/web-0",
      uid: "5e2c1f9a-0000-4000-8000-000000000001",
      addresses: ["10.244.0.2", "fd00:244::2"],
      mac: "0a:58:0a:f4:00:02",
      ofport: 5,
      hostInterface: "veth5e2c1f9a",
      container: "c0ffee",
      subnet: "default",
      created: now - 90_000,
      spoofedPackets: 0,
      spoofedAs: {},
      misses: 42,
    },
    {
      pod: "kube-system/dns",
      uid: "5e2c1f9a-0000-4000-8000-000000000002",
      addresses: ["10.244.0.3"],
      mac: "0a:58:0a:f4:00:03",
      ofport: 16,
      hostInterface: "veth0d9b",
      container: "decade",
      subnet: "default",
      created: now - 5 * 86_400_000,
      spoofedPackets: 1200,
      spoofedAs: { arp: 150, ip: 1050 },
      misses: 7,
    },
  ],
};

export const flows: FlowsReply = {
  flows: [
    {
      table: "classify",
      kind: "base",
      text: "cookie=0xbf01010100000001, priority=10,in_port=LOCAL actions=resubmit(,1)",
      packets: 9,
      bytes: 980,
    },
    {
      table: "classify",
      kind: "foreign",
      text: "cookie=0x0, table=0, priority=1 actions=NORMAL",
      packets: 0,
      bytes: 0,
    },
    {
      table: "egress",
      kind: "verdict",
      text: "table=4,priority=100,ip,nw_src=10.244.0.2,nw_dst=10.244.1.2 actions=resubmit(,6)",
      packets: 1024,
      bytes: 1_572_864,
      explanation: "allow: same network",
      source: "10.244.0.2/32",
      destination: "10.244.1.2/32",
    },
  ],
};

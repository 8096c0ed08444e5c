/** The entries that `docs/pipeline.md` shows: one node, pods of an overlay, one of them isolated, one on a wire, verdicts. */
import {
  announcementFlows,
  baseFlows,
  labelOf,
  noRuleGroups,
  podFlows,
  segmentOf,
  verdictFlow,
  verdictFlows,
  type AssociationEnd,
  type Guard,
  type Settled,
} from "@beyondfabric/datapath";
import type { Flow } from "@beyondfabric/openflow";
import { parseCidr } from "@beyondfabric/packet";

/** The agent's life in labels of connections. */
const life = 0x5eed;

const gateways = ["10.244.0.1", "fd00:244::1"];
const segment = segmentOf(10, 30);
/** What the pods of the wire pass on among themselves. */
const shared = ["10.30.0.248/29", "fd00:30::f8/125"].map(parseCidr);
const wire = { segment, gateways: ["10.30.0.1", "fd00:30::1"], nodeAddresses: ["10.30.0.11"], shared };

export function exampleFlows(): Flow[] {
  const base = baseFlows({
    ports: { host: 1, tunnel: 2, hostMac: "0e:fb:00:00:00:01" },
    gateways,
    vnis: [1],
    wires: [wire],
    overlayMtu: 1450,
    metered: true,
  });
  const pod = podFlows(
    {
      ofport: 100,
      mac: "0a:58:0a:f4:01:05",
      addresses: ["10.244.1.5", "fd00:244::1:5"],
      pod: "shop/web",
      uid: "1",
      tracked: false,
    },
    true,
  );
  const host = podFlows(
    {
      ofport: 101,
      mac: "0a:58:0a:1e:00:32",
      addresses: ["10.30.0.50", "fd00:30::50"],
      segment,
      allowedAddresses: shared,
      pod: "bank/core",
      uid: "2",
      tracked: false,
    },
    true,
  );
  const isolated = podFlows(
    { ofport: 102, mac: "0a:58:0a:f4:01:06", addresses: ["10.244.1.6"], pod: "shop/cart", uid: "3", tracked: true },
    true,
  );
  const about = (source: string, destination: string): Settled["cube"] => ({
    source: parseCidr(source),
    destination: parseCidr(destination),
  });
  const common = { reason: "to-local-pod", explanation: "", dependsOn: [] } as const;
  const verdicts = [
    verdictFlow(
      {
        ...common,
        verdict: "allow",
        cube: about("10.244.1.5/32", "10.244.2.7/32"),
        way: { kind: "tunnel", destination: "10.10.0.12", vni: 1 },
      },
      { from: "pod" },
      1,
      0,
    ),
    verdictFlow(
      { ...common, verdict: "allow", cube: about("10.244.2.7/32", "10.244.1.5/32"), way: { kind: "local" } },
      { from: "tunnel", tunnelSource: "10.10.0.12" },
      2,
      0,
    ),
    verdictFlow(
      { ...common, verdict: "allow", cube: about("fd00:244::1:5/128", "::/1"), way: { kind: "host" } },
      { from: "pod" },
      3,
      0,
    ),
    verdictFlow({ ...common, verdict: "deny", cube: about("10.244.1.5/32", "10.244.128.0/17") }, { from: "pod" }, 4, 0),
    verdictFlow(
      { ...common, verdict: "allow", cube: about("10.30.0.50/32", "10.30.0.202/32"), way: { kind: "uplink", segment } },
      { from: "pod" },
      5,
      0,
    ),
    verdictFlow(
      { ...common, verdict: "allow", cube: about("10.30.0.202/32", "10.30.0.50/32"), way: { kind: "local" } },
      { from: "uplink", segment },
      6,
      0,
    ),
    verdictFlow(
      {
        ...common,
        verdict: "allow",
        cube: about("10.30.0.50/32", "10.244.1.5/32"),
        way: { kind: "local", narrow: true },
      },
      { from: "pod" },
      7,
      0,
    ),
    verdictFlow(
      {
        ...common,
        verdict: "allow",
        cube: about("10.30.0.50/32", "10.40.0.60/32"),
        way: { kind: "uplink", segment: segmentOf(10, 40), mac: "0a:58:0a:28:00:3c" },
      },
      { from: "pod" },
      8,
      0,
    ),
  ];
  const open80: Guard = {
    judged: [],
    openings: {
      kind: "ports",
      TCP: [{ first: 80, last: 80, rules: [] }],
      UDP: [],
      SCTP: [{ first: 2905, last: 2905, rules: [] }],
    },
  };
  const association: AssociationEnd = {
    direction: "there",
    source: "10.244.2.7",
    destination: "10.244.1.6",
    sourcePort: 40_000,
    destinationPort: 2905,
  };
  const guarded = verdictFlows(
    {
      ...common,
      verdict: "allow",
      cube: about("10.244.2.7/32", "10.244.1.6/32"),
      way: { kind: "local" },
      guard: open80,
    },
    { from: "tunnel", tunnelSource: "10.10.0.12" },
    9,
    { edition: 0, label: labelOf(life, 9), groups: noRuleGroups, associations: [association] },
  );
  return [...base, ...announcementFlows(wire, [101], true), ...pod, ...host, ...isolated, ...verdicts, ...guarded];
}

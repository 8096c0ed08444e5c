/** The entries that `docs/pipeline.md` shows: one node, one pod, one verdict of each kind. */
import { baseFlows, podFlows, verdictFlow, type Settled } from "@beyondfabric/datapath";
import type { Flow } from "@beyondfabric/openflow";
import { parseCidr } from "@beyondfabric/packet";

const gateways = ["10.244.0.1", "fd00:244::1"];

export function exampleFlows(): Flow[] {
  const base = baseFlows({
    ports: { host: 1, tunnel: 2, hostMac: "0e:fb:00:00:00:01" },
    gateways,
    vnis: [1],
    metered: true,
  });
  const pod = podFlows(
    {
      ofport: 100,
      mac: "0a:58:0a:f4:01:05",
      addresses: ["10.244.1.5", "fd00:244::1:5"],
      pod: "shop/web",
      uid: "1",
    },
    gateways,
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
      "pod",
      undefined,
      1,
    ),
    verdictFlow(
      { ...common, verdict: "allow", cube: about("10.244.2.7/32", "10.244.1.5/32"), way: { kind: "local" } },
      "tunnel",
      "10.10.0.12",
      2,
    ),
    verdictFlow(
      { ...common, verdict: "allow", cube: about("fd00:244::1:5/128", "::/1"), way: { kind: "host" } },
      "pod",
      undefined,
      3,
    ),
    verdictFlow({ ...common, verdict: "deny", cube: about("10.244.1.5/32", "10.244.128.0/17") }, "pod", undefined, 4),
  ];
  return [...base, ...pod, ...verdicts];
}

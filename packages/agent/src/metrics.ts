/** Prometheus metrics. Hot counters are plain numbers elsewhere; they are read when somebody scrapes. */
import { Counter, Gauge, Registry } from "prom-client";
import type { FamilyCounts } from "@beyondfabric/kube/kinds";
import type { SubnetFigures } from "./addresses/figures.ts";
import { networkStates, type NetworkState } from "./underlay/placement.ts";
import { decisionBuckets, type ReactorCounters } from "./reactor/counters.ts";
import type { RuleFigures } from "./reactor/rule-counters.ts";

export interface MetricsSource {
  readonly counters: ReactorCounters;
  gauges(): {
    readonly verdictEntries: number;
    readonly entryBudget: number;
    readonly pods: number;
    readonly clusterPods: number;
    readonly held: number;
    readonly pendingWrites: number;
    readonly connectedSwitch: number;
    readonly connectedApi: number;
  };
  /** Per local pod: misses, packets that its meter dropped, packets sent under a false name by what was false. */
  perPod(): Iterable<{
    readonly pod: string;
    readonly misses: number;
    readonly metered: number;
    readonly refused: number;
    readonly spoofed: Readonly<Record<string, number>>;
  }>;
  readonly operations: ReadonlyMap<
    string,
    { readonly count: number; readonly failed: number; readonly seconds: number }
  >;
  addresses(): Iterable<{ subnet: string; block: string; used: number; capacity: number }>;
  /** Of each subnet and family of which this node has blocks. */
  families(): Iterable<{
    readonly subnet: string;
    readonly family: 4 | 6;
    readonly capacity: bigint;
    readonly used: number;
    readonly free: bigint;
    readonly quarantined: number;
    readonly reserved: number;
  }>;
  /** Of each subnet of the cluster, those on wires included. */
  subnets(): ReadonlyMap<string, SubnetFigures>;
  /** What the rules of policies let pass. */
  rules(): readonly RuleFigures[];
  /** How each physical network stands that a NIC of this node is named for. */
  networks(): ReadonlyMap<string, NetworkState>;
  /** Claims of the cluster, by phase. */
  claims(): ReadonlyMap<string, number>;
}

/** Counters of the reactive core, each a plain number. */
const reactorCounters: readonly (readonly [name: string, help: string, value: (of: ReactorCounters) => number])[] = [
  ["fabric_misses_total", "Packets that no entry knew and the agent was asked about.", (of) => of.misses],
  ["fabric_misses_repeated_total", "Misses about a pair whose entry was on its way.", (of) => of.repeated],
  ["fabric_verdicts_without_entry_total", "Verdicts given to a packet without an entry.", (of) => of.withoutEntry],
  ["fabric_packets_held_total", "Packets that waited for a fact.", (of) => of.held],
  ["fabric_packets_too_large_total", "Packets that were too large for an overlay pod.", (of) => of.tooLarge],
  ["fabric_packets_hold_expired_total", "Held packets dropped because no fact came.", (of) => of.holdExpired],
  ["fabric_packets_hold_overflow_total", "Packets dropped because their port held enough.", (of) => of.holdOverflow],
  ["fabric_packets_hold_lost_total", "Held packets lost with the switch's connection.", (of) => of.holdLost],
  ["fabric_packets_refused_absent_total", "Packets to an address that nobody held.", (of) => of.refusedAbsent],
  ["fabric_packet_ins_unreadable_total", "Packet-ins that could not be read.", (of) => of.unreadable],
  ["fabric_packet_ins_foreign_total", "Packet-ins that are no miss.", (of) => of.foreign],
  ["fabric_entries_revoked_total", "Entries changed or removed because a fact changed.", (of) => of.revoked],
  ["fabric_entries_aged_total", "Entries removed because nobody used them.", (of) => of.aged],
  ["fabric_entries_vanished_total", "Entries that somebody else removed from the switch.", (of) => of.vanished],
  ["fabric_entries_evicted_total", "Entries removed because there were too many.", (of) => of.evicted],
];

type Gauges = ReturnType<MetricsSource["gauges"]>;

const gauges: readonly (readonly [name: string, help: string, value: (of: Gauges) => number])[] = [
  ["fabric_entries", "Verdict entries in the switch.", (of) => of.verdictEntries],
  ["fabric_entries_budget", "Most verdict entries that the switch may hold.", (of) => of.entryBudget],
  ["fabric_pods", "Pods of this node.", (of) => of.pods],
  ["fabric_cluster_pods", "Pods of the cluster that the directory knows.", (of) => of.clusterPods],
  ["fabric_packets_held", "Packets waiting for a fact now.", (of) => of.held],
  ["fabric_writes_pending", "Flow-mods waiting to be sent.", (of) => of.pendingWrites],
  ["fabric_switch_connected", "1 while the switch is connected and reconciled.", (of) => of.connectedSwitch],
  ["fabric_api_connected", "1 while the API server answers.", (of) => of.connectedApi],
  ["process_resident_memory_bytes", "Resident memory.", () => process.memoryUsage.rss()],
];

/** Labels of one sample and its value. */
type Sample = readonly [labels: Readonly<Record<string, string>>, value: number];

/** The text of a scrape, in the Prometheus exposition format. */
export async function renderMetrics(source: MetricsSource): Promise<{ contentType: string; text: string }> {
  const registry = new Registry();
  const counter = (name: string, help: string, labelNames: readonly string[], samples: Iterable<Sample>): void => {
    const metric = new Counter({ name, help, labelNames: [...labelNames], registers: [registry] });
    for (const [labels, value] of samples) metric.inc(labels, value);
  };
  const gauge = (name: string, help: string, labelNames: readonly string[], samples: Iterable<Sample>): void => {
    const metric = new Gauge({ name, help, labelNames: [...labelNames], registers: [registry] });
    for (const [labels, value] of samples) metric.set(labels, value);
  };
  const { counters } = source;
  for (const [name, help, value] of reactorCounters) counter(name, help, [], [[{}, value(counters)]]);
  counter(
    "fabric_verdicts_total",
    "Decisions about first packets.",
    ["verdict", "reason"],
    Array.from(counters.verdicts, ([key, count]): Sample => {
      const [verdict = "", reason = ""] = key.split(" ");
      return [{ verdict, reason }, count];
    }),
  );
  counter(
    "fabric_refused_packets_total",
    "Packets that were refused, by the agent or by an entry.",
    ["reason"],
    Array.from(counters.refusals, ([reason, count]): Sample => [{ reason }, count]),
  );
  const rules = source.rules();
  const perRule = (name: string, help: string, value: (of: (typeof rules)[number]) => number): void => {
    const samples = rules.map((each): Sample => {
      const { policy, direction, index } = each.rule;
      return [{ policy, direction, rule: String(index + 1) }, value(each)];
    });
    counter(name, help, ["policy", "direction", "rule"], samples);
  };
  perRule("fabric_policy_rule_sessions_total", "Connections that a rule let in.", ({ sessions }) => sessions);
  perRule("fabric_policy_rule_packets_total", "Packets of such connections, both ways.", ({ packets }) => packets);
  perRule("fabric_policy_rule_bytes_total", "Bytes of such connections, both ways.", ({ bytes }) => bytes);
  const readings = source.gauges();
  for (const [name, help, value] of gauges) gauge(name, help, [], [[{}, value(readings)]]);

  const pods = [...source.perPod()];
  const perPod = (name: string, help: string, value: (of: (typeof pods)[number]) => number): void => {
    const samples = pods.map((pod): Sample => [{ pod: pod.pod }, value(pod)]);
    counter(name, help, ["pod"], samples);
  };
  perPod("fabric_pod_misses_total", "Misses caused by a pod.", ({ misses }) => misses);
  perPod("fabric_pod_metered_packets_total", "Packets of a pod that its meter dropped.", ({ metered }) => metered);
  perPod("fabric_pod_refused_packets_total", "Packets of a pod that entries refused.", ({ refused }) => refused);
  counter(
    "fabric_pod_spoofed_packets_total",
    "Packets of a pod under a false name, by what was false.",
    ["pod", "reason"],
    pods.flatMap(({ pod, spoofed }) =>
      Object.entries(spoofed).map(([reason, count]): Sample => [{ pod, reason }, count]),
    ),
  );

  const operations = [...source.operations];
  const perOperation = (name: string, help: string, value: (of: (typeof operations)[number][1]) => number): void => {
    const samples = operations.map(([operation, figures]): Sample => [{ operation }, value(figures)]);
    counter(name, help, ["operation"], samples);
  };
  perOperation("fabric_cni_operations_total", "CNI operations served.", ({ count }) => count);
  perOperation("fabric_cni_failures_total", "CNI operations refused.", ({ failed }) => failed);
  perOperation("fabric_cni_seconds_total", "Time spent in CNI operations.", ({ seconds }) => seconds);

  const blocks = [...source.addresses()];
  const perBlock = (name: string, help: string, value: (of: (typeof blocks)[number]) => number): void => {
    const samples = blocks.map((each): Sample => [{ subnet: each.subnet, block: each.block }, value(each)]);
    gauge(name, help, ["subnet", "block"], samples);
  };
  perBlock("fabric_addresses_used", "Addresses in use in a block of this node.", ({ used }) => used);
  perBlock(
    "fabric_addresses_capacity",
    "Addresses of a block of this node that may be handed out.",
    ({ capacity }) => capacity,
  );
  const families = [...source.families()];
  const perFamily = (of: (typeof families)[number]): Record<string, string> => ({
    subnet: of.subnet,
    family: `IPv${of.family}`,
  });
  gauge(
    "fabric_subnet_addresses",
    "Addresses of this node's blocks by what they are: used, reserved for claims, resting after use, free.",
    ["subnet", "family", "state"],
    families.flatMap((each): Sample[] => [
      [{ ...perFamily(each), state: "used" }, each.used],
      [{ ...perFamily(each), state: "reserved" }, each.reserved],
      [{ ...perFamily(each), state: "resting" }, each.quarantined],
      [{ ...perFamily(each), state: "free" }, Number(each.free)],
    ]),
  );
  gauge(
    "fabric_subnet_addresses_capacity",
    "Addresses of this node's blocks in all.",
    ["subnet", "family"],
    families.map((each): Sample => [perFamily(each), Number(each.capacity)]),
  );
  const subnets = [...source.subnets()];
  const perSubnet = (name: string, help: string, counts: (of: SubnetFigures) => Record<string, FamilyCounts>): void => {
    const samples = subnets.flatMap(([subnet, figures]) =>
      Object.entries(counts(figures)).flatMap(([state, { ipv4, ipv6 }]): Sample[] => {
        const label = state === "" ? {} : { state };
        return [
          ...(ipv4 === undefined ? [] : [[{ subnet, family: "IPv4", ...label }, Number(ipv4)] as Sample]),
          ...(ipv6 === undefined ? [] : [[{ subnet, family: "IPv6", ...label }, Number(ipv6)] as Sample]),
        ];
      }),
    );
    gauge(name, help, ["subnet", "family", ...(name.endsWith("capacity") ? [] : ["state"])], samples);
  };
  perSubnet(
    "fabric_cluster_subnet_addresses",
    "Addresses of a subnet in the whole cluster, as its status shows them: used, free.",
    ({ used, free }) => ({ used, free }),
  );
  perSubnet(
    "fabric_cluster_subnet_addresses_capacity",
    "Addresses of a subnet that may be handed out in the whole cluster.",
    ({ capacity }) => ({ "": capacity }),
  );
  gauge(
    "fabric_network_state",
    "1 for the state in which a physical network is on this node, 0 for the others.",
    ["network", "state"],
    Array.from(source.networks(), ([network, { state }]) =>
      networkStates.map((each): Sample => [{ network, state: each }, each === state ? 1 : 0]),
    ).flat(),
  );
  const claims = Array.from(source.claims(), ([phase, count]): Sample => [{ phase }, count]);
  gauge("fabric_claims", "Claimed addresses of the cluster by phase.", ["phase"], claims);
  return { contentType: registry.contentType, text: (await registry.metrics()) + decisionHistogram(counters) };
}

/** The histogram of decision times is written by hand: prom-client offers no way to set buckets from outside. */
function decisionHistogram(counters: ReactorCounters): string {
  const name = "fabric_decision_seconds";
  const lines = [`# HELP ${name} From reading a packet-in to its answer.`, `# TYPE ${name} histogram`];
  let cumulative = 0;
  for (const [index, bound] of decisionBuckets.entries()) {
    cumulative += counters.decisionTimes[index]!;
    lines.push(`${name}_bucket{le="${bound / 1000}"} ${cumulative}`);
  }
  cumulative += counters.decisionTimes[decisionBuckets.length]!;
  lines.push(`${name}_bucket{le="+Inf"} ${cumulative}`);
  lines.push(`${name}_sum ${counters.decisionTimeSum / 1000}`, `${name}_count ${cumulative}`, "");
  return lines.join("\n");
}

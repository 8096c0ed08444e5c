/** Prometheus metrics. Hot counters are plain numbers elsewhere; they are read when somebody scrapes. */
import { Counter, Gauge, Registry } from "prom-client";
import { decisionBuckets, type ReactorCounters } from "./reactor/counters.ts";

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
  /** Per local pod: misses, packets that its meter dropped, packets sent under a false name. */
  perPod(): Iterable<{ pod: string; misses: number; metered: number; refused: number; spoofed: number }>;
  readonly operations: ReadonlyMap<
    string,
    { readonly count: number; readonly failed: number; readonly seconds: number }
  >;
  addresses(): Iterable<{ subnet: string; block: string; used: number; capacity: number }>;
}

/** The text of a scrape, in the Prometheus exposition format. */
export async function renderMetrics(source: MetricsSource): Promise<{ contentType: string; text: string }> {
  const registry = new Registry();
  const gauge = (name: string, help: string, value: number): void => {
    new Gauge({ name, help, registers: [registry] }).set(value);
  };
  const counter = (name: string, help: string, value: number): void => {
    new Counter({ name, help, registers: [registry] }).inc(value);
  };
  const { counters } = source;
  counter("fabric_misses_total", "Packets that no entry knew and the agent was asked about.", counters.misses);
  counter("fabric_misses_repeated_total", "Misses about a pair whose entry was on its way.", counters.repeated);
  counter("fabric_verdicts_without_entry_total", "Verdicts given to a packet without an entry.", counters.withoutEntry);
  counter("fabric_packets_held_total", "Packets that waited for a fact.", counters.held);
  counter("fabric_packets_hold_expired_total", "Held packets dropped because no fact came.", counters.holdExpired);
  counter(
    "fabric_packets_hold_overflow_total",
    "Packets dropped because their port held enough.",
    counters.holdOverflow,
  );
  counter("fabric_packets_hold_lost_total", "Held packets lost with the switch's connection.", counters.holdLost);
  counter("fabric_packets_refused_absent_total", "Packets to an address that nobody held.", counters.refusedAbsent);
  counter("fabric_packet_ins_unreadable_total", "Packet-ins that could not be read.", counters.unreadable);
  counter("fabric_packet_ins_foreign_total", "Packet-ins that are no miss.", counters.foreign);
  counter("fabric_entries_revoked_total", "Entries changed or removed because a fact changed.", counters.revoked);
  counter("fabric_entries_aged_total", "Entries removed because nobody used them.", counters.aged);
  counter("fabric_entries_vanished_total", "Entries that somebody else removed from the switch.", counters.vanished);
  counter("fabric_entries_evicted_total", "Entries removed because there were too many.", counters.evicted);
  const verdicts = new Counter({
    name: "fabric_verdicts_total",
    help: "Decisions about first packets.",
    labelNames: ["verdict", "reason"],
    registers: [registry],
  });
  for (const [key, count] of counters.verdicts) {
    const [verdict = "", reason = ""] = key.split(" ");
    verdicts.inc({ verdict, reason }, count);
  }
  const gauges = source.gauges();
  gauge("fabric_entries", "Verdict entries in the switch.", gauges.verdictEntries);
  gauge("fabric_entries_budget", "Most verdict entries that the switch may hold.", gauges.entryBudget);
  gauge("fabric_pods", "Pods of this node.", gauges.pods);
  gauge("fabric_cluster_pods", "Pods of the cluster that the directory knows.", gauges.clusterPods);
  gauge("fabric_packets_held", "Packets waiting for a fact now.", gauges.held);
  gauge("fabric_writes_pending", "Flow-mods waiting to be sent.", gauges.pendingWrites);
  gauge("fabric_switch_connected", "1 while the switch is connected and reconciled.", gauges.connectedSwitch);
  gauge("fabric_api_connected", "1 while the API server answers.", gauges.connectedApi);
  gauge("process_resident_memory_bytes", "Resident memory.", process.memoryUsage.rss());

  const labelled = (name: string, help: string, label: string): Counter =>
    new Counter({ name, help, labelNames: [label], registers: [registry] });
  const podMisses = labelled("fabric_pod_misses_total", "Misses caused by a pod.", "pod");
  const podMetered = labelled("fabric_pod_metered_packets_total", "Packets of a pod that its meter dropped.", "pod");
  const podRefused = labelled("fabric_pod_refused_packets_total", "Packets of a pod that entries refused.", "pod");
  const podSpoofed = labelled("fabric_pod_spoofed_packets_total", "Packets of a pod under a false name.", "pod");
  for (const { pod, misses, metered, refused, spoofed } of source.perPod()) {
    podMisses.inc({ pod }, misses);
    podMetered.inc({ pod }, metered);
    podRefused.inc({ pod }, refused);
    podSpoofed.inc({ pod }, spoofed);
  }
  const operations = labelled("fabric_cni_operations_total", "CNI operations served.", "operation");
  const failures = labelled("fabric_cni_failures_total", "CNI operations refused.", "operation");
  const seconds = labelled("fabric_cni_seconds_total", "Time spent in CNI operations.", "operation");
  for (const [operation, figures] of source.operations) {
    operations.inc({ operation }, figures.count);
    failures.inc({ operation }, figures.failed);
    seconds.inc({ operation }, figures.seconds);
  }
  const used = new Gauge({
    name: "fabric_addresses_used",
    help: "Addresses in use in a block of this node.",
    labelNames: ["subnet", "block"],
    registers: [registry],
  });
  const capacity = new Gauge({
    name: "fabric_addresses_capacity",
    help: "Addresses of a block of this node that may be handed out.",
    labelNames: ["subnet", "block"],
    registers: [registry],
  });
  for (const address of source.addresses()) {
    used.set({ subnet: address.subnet, block: address.block }, address.used);
    capacity.set({ subnet: address.subnet, block: address.block }, address.capacity);
  }
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

/** What the local API says, put together from the parts that know it. */
import { decodeCookie, isVerdictKind, tableName, verdictFromFlow } from "@beyondfabric/datapath";
import { formatFlow, type FlowEntry } from "@beyondfabric/openflow";
import type { AddressPhase, IpAddressRecord } from "@beyondfabric/kube/kinds";
import type { Cache } from "@beyondfabric/ovsdb";
import { formatCidr, type Ip } from "@beyondfabric/packet";
import type { SubnetFigures } from "../addresses/figures.ts";
import type { AddressService } from "../addresses/service.ts";
import type { AttachmentService } from "../attachment/service.ts";
import type { AgentConfig } from "../config.ts";
import { renderMetrics } from "../metrics.ts";
import type { Forgeries } from "../forgeries.ts";
import type { NoiseWatch } from "../noise.ts";
import type { Reactor } from "../reactor/reactor.ts";
import type { BridgeSession } from "../switch/bridge-session.ts";
import type { SwitchTables } from "../switch/database.ts";
import { diagnose } from "../underlay/diagnosis.ts";
import type { Examiner } from "../underlay/examiner.ts";
import type { PhysicalNetworks } from "../underlay/physical-networks.ts";
import { version } from "../version.ts";
import type { View } from "../view.ts";
import type { AddressSource } from "./address-routes.ts";
import { PolicyAnswers } from "./policy-answers.ts";
import type { ServiceEndpoint } from "../directory/service-lookup.ts";
import { StatisticsReader } from "../reactor/aging.ts";
import type { RuleFigures } from "../reactor/rule-counters.ts";
import { hasRule } from "@beyondfabric/policy";
import type { ApiSource } from "./server.ts";
import type { EndpointsReply, FlowsReply, StatusReply, UnderlayReply, VersionReply } from "./types.ts";

export interface ApiAnswersOptions {
  readonly config: AgentConfig;
  readonly startedAt: number;
  readonly notReady: () => readonly string[];
  readonly session: BridgeSession;
  readonly reactor: Reactor;
  readonly view: View;
  readonly cache: Cache<SwitchTables>;
  readonly addresses: AddressService;
  readonly attachments: AttachmentService;
  readonly noise: NoiseWatch;
  readonly forgeries: Forgeries;
  readonly api: () => { connected: boolean; synced: boolean };
  /** Claims of the cluster. */
  readonly claims: () => Iterable<IpAddressRecord>;
  /** How full each subnet of the cluster is. */
  readonly subnets: () => ReadonlyMap<string, SubnetFigures>;
  readonly tunnelAddress: () => Ip | undefined;
  readonly switchVersion: () => string | undefined;
  readonly audit: AddressSource;
  /** Undefined when there is no such service. */
  readonly endpointsOf: (namespace: string, name: string) => Promise<readonly ServiceEndpoint[] | undefined>;
  readonly networks: Pick<PhysicalNetworks, "states">;
  readonly examiner: Examiner;
}

export class ApiAnswers implements ApiSource {
  readonly #parts: ApiAnswersOptions;
  readonly #statistics: StatisticsReader;

  constructor(parts: ApiAnswersOptions) {
    this.#parts = parts;
    this.#statistics = new StatisticsReader(parts.reactor, parts.session);
  }

  get addresses(): AddressSource {
    return this.#parts.audit;
  }

  get policy(): PolicyAnswers {
    const { view, reactor } = this.#parts;
    return new PolicyAnswers({
      view,
      denials: () => reactor.counters.denials.list(),
      rules: () => this.#rules(),
      readCounters: () => this.#statistics.read(),
      endpointsOf: this.#parts.endpointsOf,
    });
  }

  #rules(): readonly RuleFigures[] {
    const { view, reactor } = this.#parts;
    return reactor.counters.rules.list((rule) => hasRule(view.policies, rule));
  }

  async underlay(): Promise<UnderlayReply> {
    const observation = await this.#parts.examiner.examine();
    return { ...observation, findings: diagnose(observation) };
  }

  notReady(): readonly string[] {
    return this.#parts.notReady();
  }

  version(): VersionReply {
    return {
      version,
      node: this.#parts.config.nodeName,
      ovs: this.#parts.switchVersion(),
      openflow: "1.5",
      runtime: `node ${process.version}`,
    };
  }

  status(): Promise<StatusReply> {
    const { config, session, reactor, view, cache, addresses, attachments, noise } = this.#parts;
    const bridge = cache.find("Bridge", (row) => row.name === config.ovs.bridge);
    const notReady = this.#parts.notReady();
    const { counters } = reactor;
    return Promise.resolve({
      node: config.nodeName,
      version: this.version(),
      startedAt: this.#parts.startedAt,
      ready: notReady.length === 0,
      notReady,
      switch: {
        connected: session.ready,
        datapathType: config.ovs.datapathType,
        bridge: config.ovs.bridge,
        failMode: bridge?.fail_mode,
        baseEntries: session.desiredCounts().base,
        podEntries: session.desiredCounts().pods,
        verdictEntries: reactor.verdicts.size,
        entryBudget: config.limits.entries,
      },
      api: this.#parts.api(),
      addresses: addresses.blockUsage(),
      tunnelAddress: this.#parts.tunnelAddress(),
      gatewayAddresses: addresses.nodeAddresses(),
      peers: [...view.nodes.keys()].filter((name) => name !== config.nodeName).length,
      pods: [...attachments.ports()].length,
      misses: {
        total: counters.misses,
        perSecond: Math.round(noise.missesPerSecond * 10) / 10,
        held: reactor.heldCount,
        holdExpired: counters.holdExpired,
        withoutEntry: counters.withoutEntry,
        metered: noise.meteredTotal,
      },
      noisy: noise.noisy,
      spoofing: this.#parts.forgeries.recent,
      memoryBytes: process.memoryUsage.rss(),
    });
  }

  endpoints(): Promise<EndpointsReply> {
    const { attachments, forgeries, reactor } = this.#parts;
    return Promise.resolve({
      endpoints: [...attachments.ports()].map((port) => ({
        pod: `${port.namespace}/${port.name}`,
        uid: port.uid,
        addresses: port.addresses,
        mac: port.mac,
        ofport: port.ofport,
        hostInterface: port.hostInterface,
        container: port.container,
        subnet: port.subnet,
        created: port.created,
        spoofedPackets: forgeries.packetsOf(port.ofport),
        spoofedAs: forgeries.reasonsOf(port.ofport),
        misses: reactor.counters.missesByPort.get(port.ofport) ?? 0,
      })),
    });
  }

  async flows(pod: string | undefined): Promise<FlowsReply> {
    const { session, attachments } = this.#parts;
    const port = pod === undefined ? undefined : [...attachments.ports()].find((each) => podName(each) === pod);
    if (pod !== undefined && port === undefined) return { flows: [] };
    const entries = await session.dump();
    const concerned = port === undefined ? entries : entries.filter((entry) => this.#concerns(entry, port));
    return { flows: concerned.map((entry) => this.#describe(entry)) };
  }

  #concerns({ flow }: FlowEntry, port: { ofport: number; addresses: readonly Ip[] }): boolean {
    const { reactor } = this.#parts;
    const cookie = decodeCookie(flow.cookie);
    if (cookie?.kind === "pod") return cookie.id === port.ofport;
    const verdict = cookie !== undefined && isVerdictKind(cookie.kind) ? reactor.verdicts.get(cookie.id) : undefined;
    const question = verdict?.question ?? verdictFromFlow(flow)?.question;
    if (question === undefined) return false;
    return port.addresses.includes(question.source) || port.addresses.includes(question.destination);
  }

  #describe({ flow, statistics }: FlowEntry): FlowsReply["flows"][number] {
    const cookie = decodeCookie(flow.cookie);
    const verdict =
      cookie !== undefined && isVerdictKind(cookie.kind) ? this.#parts.reactor.verdicts.get(cookie.id) : undefined;
    return {
      table: tableName(flow.table) ?? String(flow.table),
      kind: cookie === undefined ? "foreign" : isVerdictKind(cookie.kind) ? "verdict" : cookie.kind,
      text: formatFlow(flow),
      packets: Number(statistics.packets ?? 0n),
      bytes: Number(statistics.bytes ?? 0n),
      ...(verdict === undefined
        ? {}
        : {
            explanation: `${verdict.decision.verdict}: ${verdict.decision.explanation}`,
            source: formatCidr(verdict.decision.cube.source),
            destination: formatCidr(verdict.decision.cube.destination),
          }),
    };
  }

  metrics(): Promise<{ contentType: string; text: string }> {
    const { config, session, reactor, view, addresses, attachments, noise, forgeries } = this.#parts;
    const { connected } = this.#parts.api();
    return renderMetrics({
      counters: reactor.counters,
      gauges: () => ({
        verdictEntries: reactor.verdicts.size,
        entryBudget: config.limits.entries,
        pods: [...attachments.ports()].length,
        clusterPods: view.podCount,
        held: reactor.heldCount,
        pendingWrites: reactor.pendingWrites,
        connectedSwitch: session.ready ? 1 : 0,
        connectedApi: connected ? 1 : 0,
      }),
      perPod: () =>
        [...attachments.ports()].map((port) => ({
          pod: podName(port),
          misses: reactor.counters.missesByPort.get(port.ofport) ?? 0,
          metered: noise.droppedBy(port.ofport),
          refused: noise.refusedBy(port),
          spoofed: forgeries.reasonsOf(port.ofport),
        })),
      operations: attachments.operations,
      addresses: () => addresses.blockUsage(),
      families: () => addresses.usage(),
      subnets: () => this.#parts.subnets(),
      rules: () => this.#rules(),
      networks: () => this.#parts.networks.states(),
      claims: () => claimsByPhase(this.#parts.claims()),
    });
  }
}

function claimsByPhase(claims: Iterable<IpAddressRecord>): Map<AddressPhase, number> {
  const counts = new Map<AddressPhase, number>([
    ["Pending", 0],
    ["Bound", 0],
    ["Retained", 0],
    ["Released", 0],
  ]);
  for (const { phase } of claims) counts.set(phase, counts.get(phase)! + 1);
  return counts;
}

function podName(port: { namespace: string; name: string }): string {
  return `${port.namespace}/${port.name}`;
}

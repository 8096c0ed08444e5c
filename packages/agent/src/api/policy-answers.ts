/** What the local API says about policies: from the function that enforces, without sending a packet. */
import { protocols, evaluateDirection, explainVerdict, policyName, openingsText } from "@beyondfabric/policy";
import type { PacketFacts, Party, PodIdentity, Protocol } from "@beyondfabric/policy";
import { intersectOpenings, judgeTenancy, type Openings } from "@beyondfabric/policy";
import { ipFamily, ipProtocol, isIp, parseIp, type Ip } from "@beyondfabric/packet";
import type { Denial } from "../reactor/denial-log.ts";
import type { ServiceEndpoint, ServicePort } from "../directory/service-lookup.ts";
import type { View } from "../view.ts";
import { RequestError } from "./route.ts";
import type { PolicySource } from "./policy-routes.ts";
import type { RuleFigures } from "../reactor/rule-counters.ts";
import type {
  DenialsReply,
  PolicyCountersReply,
  PolicyExplanationReply,
  PolicyListReply,
  PolicyMatrixReply,
} from "./types.ts";

const protocolNumber: Readonly<Record<Protocol, number>> = {
  TCP: ipProtocol.tcp,
  UDP: ipProtocol.udp,
  SCTP: ipProtocol.sctp,
};

/** Rows times columns; more is no table that anybody reads. */
const maxMatrixPods = 200;

export interface PolicyAnswersOptions {
  readonly view: View;
  readonly denials: () => readonly Denial[];
  readonly rules: () => readonly RuleFigures[];
  /** Brings the figures of rules up to now. */
  readonly readCounters: () => Promise<void>;
  /** Undefined when there is no such service. */
  readonly endpointsOf: (namespace: string, name: string) => Promise<readonly ServiceEndpoint[] | undefined>;
}

/** What a text means: one end, or each endpoint of a service. */
interface Ends {
  readonly service?: string;
  readonly ends: readonly { readonly parties: readonly Party[]; readonly ports: readonly ServicePort[] }[];
}

export class PolicyAnswers implements PolicySource {
  readonly #view: View;
  readonly #options: PolicyAnswersOptions;

  constructor(options: PolicyAnswersOptions) {
    this.#view = options.view;
    this.#options = options;
  }

  /**
   * Why packets from one party to another pass or not.
   * @param from a pod as `namespace/name`, the name of a node, an address, or a service as `svc/namespace/name`
   * @param port as `8080/TCP`, `icmp`, or absent for all ports; that of the service where one is asked
   * @throws RequestError when nobody is meant by an end, or the port cannot be read
   */
  async explain(from: string, to: string, port: string | undefined): Promise<PolicyExplanationReply> {
    const sources = await this.#ends(from);
    const destinations = await this.#ends(to);
    const asked = destinations.service === undefined ? undefined : parsePort(port);
    const explained = sources.ends.flatMap((source) =>
      destinations.ends.flatMap((destination) => {
        const pair = familyPair(source.parties, destination.parties);
        if (pair === undefined) return [];
        const packet = port === undefined ? undefined : packetOf(port, ipFamily(pair[0].address));
        if (packet === undefined || asked === undefined) return [this.#explained(pair, packet)];
        return destination.ports
          .filter((each) => each.protocol === asked.protocol && each.port === asked.port)
          .map(({ targetPort }) => this.#explained(pair, { ...packet, destinationPort: targetPort }));
      }),
    );
    const telling = explained.find(({ allowed }) => !allowed) ?? explained[0];
    if (telling === undefined) {
      const service = sources.service ?? destinations.service;
      if (service === undefined) {
        throw refused(`${from} and ${to} have no addresses of one family`, "choose an end that has");
      }
      throw refused(
        `${service} has no endpoint of the family that is ready${port === undefined ? "" : ` for ${port}`}`,
        "look with: kubectl get endpointslices",
      );
    }
    const { service = sources.service } = destinations;
    if (service === undefined) return telling;
    const endpoints = explained.map(({ from: source, to: destination, allowed, sentence }) => {
      return { from: source, to: destination, allowed, sentence };
    });
    return { ...telling, service: { name: service, endpoints } };
  }

  #explained([source, destination]: readonly [Party, Party], packet: PacketFacts | undefined): PolicyExplanationReply {
    const explanation = explainVerdict(this.#view.policies, {
      source,
      destination,
      sharedNamespaces: this.#view.sharedNamespaces,
      ...(packet === undefined ? {} : { packet }),
    });
    return {
      allowed: explanation.allowed,
      sentence: explanation.sentence,
      from: source.address,
      to: destination.address,
      spoofGuard: spoofGuardText(source),
      tenancy: explanation.tenancy,
      directions: explanation.directions.map(({ direction, pod, allowed, because, policies }) => ({
        direction,
        pod,
        allowed,
        because,
        policies,
      })),
    };
  }

  async #ends(text: string): Promise<Ends> {
    const [, namespace, name] = /^(?:svc|service)\/([^/]+)\/([^/]+)$/.exec(text) ?? [];
    if (namespace === undefined || name === undefined) return { ends: [{ parties: this.#parties(text), ports: [] }] };
    const endpoints = await this.#options.endpointsOf(namespace, name);
    if (endpoints === undefined)
      throw refused(`there is no service ${namespace}/${name}`, "look with: kubectl get services -A");
    return {
      service: `service ${namespace}/${name}`,
      ends: endpoints.map(({ address, ports }) => ({ parties: [this.#partyAt(address)], ports })),
    };
  }

  /** @throws RequestError when there is no such pod */
  list(pod: string): PolicyListReply {
    const identity = this.#podNamed(pod);
    if (identity === undefined) throw refused(`no pod ${pod} is known`, "write NAMESPACE/NAME as kubectl shows it");
    const isolations = this.#view.policies.isolations(identity);
    const all = new Map(
      [...(isolations.ingress?.policies ?? []), ...(isolations.egress?.policies ?? [])].map((policy) => [
        policyName(policy),
        policy,
      ]),
    );
    return {
      pod,
      ingressIsolated: isolations.ingress !== undefined,
      egressIsolated: isolations.egress !== undefined,
      policies: [...all].map(([policy, { podSelector, ingress, egress }]) => ({
        policy,
        podSelector: podSelector.toString(),
        ingressRules: ingress?.length ?? null,
        egressRules: egress?.length ?? null,
      })),
    };
  }

  /** Who of some namespaces reaches whom, on which ports. @throws RequestError when that are too many pods */
  matrix(namespaces: readonly string[]): PolicyMatrixReply {
    const pods = this.#view.identities().filter(({ namespace }) => namespaces.includes(namespace.name));
    if (pods.length > maxMatrixPods) {
      throw refused(
        `${pods.length} pods are too many for a table`,
        `name namespaces with at most ${maxMatrixPods} pods`,
      );
    }
    const parties = pods.map((pod): Extract<Party, { kind: "pod" }> => {
      const address = this.#view.addressesOf(pod.uid)[0] ?? "0.0.0.0";
      return { kind: "pod", address, pod };
    });
    const names = pods.map(podName);
    return {
      pods: names,
      rows: parties.map((source, row) => ({
        from: names[row]!,
        openings: parties.map((destination) => openingsText(this.#openings(source, destination))),
      })),
    };
  }

  denials(): DenialsReply {
    const podAt = (address: Ip): { pod?: string } => {
      const endpoint = this.#view.endpointAt(address);
      return endpoint?.kind === "pod" ? { pod: endpoint.name } : {};
    };
    return {
      denials: this.#options.denials().map((denial) => ({
        reason: denial.reason,
        source: { address: denial.source, ...podAt(denial.source) },
        destination: { address: denial.destination, ...podAt(denial.destination) },
        protocol: denial.protocol,
        policies: denial.policies,
        last: denial.last,
        count: denial.count,
        ...(denial.destinationPort === undefined ? {} : { destinationPort: denial.destinationPort }),
        ...(denial.direction === undefined ? {} : { direction: denial.direction }),
        ...(denial.pod === undefined ? {} : { isolated: denial.pod }),
      })),
    };
  }

  /** What each rule let pass at the pods of this node, by policy, direction and place. */
  async counters(): Promise<PolicyCountersReply> {
    await this.#options.readCounters();
    const rules = this.#options.rules().map(({ rule: { policy, direction, index }, sessions, packets, bytes }) => {
      return { policy, direction, rule: index + 1, sessions, packets, bytes };
    });
    const place = ({ policy, direction, rule }: (typeof rules)[number]): string =>
      `${policy} ${direction} ${String(rule).padStart(6, "0")}`;
    return { rules: rules.sort((a, b) => (place(a) < place(b) ? -1 : 1)) };
  }

  #openings(source: Extract<Party, { kind: "pod" }>, destination: Extract<Party, { kind: "pod" }>): Openings {
    const { policies, sharedNamespaces } = this.#view;
    if (!judgeTenancy(source, destination, sharedNamespaces).allowed) {
      return { kind: "ports", TCP: [], UDP: [], SCTP: [] };
    }
    return intersectOpenings(
      evaluateDirection(policies, { direction: "egress", subject: source, peer: destination }).openings,
      evaluateDirection(policies, { direction: "ingress", subject: destination, peer: source }).openings,
    );
  }

  /** Everything that a text may mean, one party for each address. */
  #parties(text: string): Party[] {
    if (isIp(text)) return [this.#partyAt(parseIp(text))];
    const pod = this.#podNamed(text);
    if (pod !== undefined) {
      const addresses = this.#view.addressesOf(pod.uid);
      if (addresses.length > 0) return addresses.map((address) => ({ kind: "pod", address, pod }));
      throw refused(`pod ${text} has no address yet`, "wait until it runs");
    }
    const node = this.#view.nodes.get(text);
    if (node !== undefined) return node.gatewayAddresses.map((address) => ({ kind: "node", address, node: node.name }));
    throw refused(
      `${text} is no pod, node or address that is known`,
      "write NAMESPACE/NAME, a node's name, an address, or svc/NAMESPACE/NAME",
    );
  }

  #partyAt(address: Ip): Party {
    const endpoint = this.#view.endpointAt(address);
    if (endpoint === undefined) {
      if (this.#view.subnetOf(address) === undefined) return { kind: "outside", address };
      throw refused(`nobody is known to hold ${address}, which is an address of the cluster`, "choose another");
    }
    if (endpoint.kind === "node") return { kind: "node", address, node: endpoint.node };
    const pod = this.#view.identityOf(endpoint);
    if (pod === undefined) throw refused(`labels of ${endpoint.name} are not known yet`, "try again in a moment");
    return { kind: "pod", address, pod };
  }

  #podNamed(text: string): PodIdentity | undefined {
    return this.#view.identities().find((pod) => podName(pod) === text);
  }
}

function podName({ namespace, name }: PodIdentity): string {
  return `${namespace.name}/${name}`;
}

function sameFamily(a: Ip, b: Ip): boolean {
  return ipFamily(a) === ipFamily(b);
}

/** The first two of one family. */
function familyPair(sources: readonly Party[], destinations: readonly Party[]): readonly [Party, Party] | undefined {
  for (const source of sources) {
    const destination = destinations.find(({ address }) => sameFamily(address, source.address));
    if (destination !== undefined) return [source, destination];
  }
  return undefined;
}

/** What keeps senders to their own names. */
function spoofGuardText(source: Party): string {
  if (source.kind === "pod") return `pod ${podName(source.pod)} sends from ${source.address}, which is its own`;
  return source.kind === "node"
    ? `node ${source.node} is no pod and is not guarded`
    : `${source.address} is outside of the cluster and is not guarded`;
}

function packetOf(text: string, family: 4 | 6): PacketFacts {
  const asked = parsePort(text);
  if (asked === undefined) return { protocol: family === 4 ? ipProtocol.icmp : ipProtocol.icmpv6 };
  return { protocol: protocolNumber[asked.protocol], destinationPort: asked.port };
}

/** Undefined for `icmp`, and for nothing. */
function parsePort(text: string | undefined): { readonly protocol: Protocol; readonly port: number } | undefined {
  if (text === undefined || text.toLowerCase() === "icmp") return undefined;
  const parts = /^([0-9]{1,5})(?:\/([A-Za-z]+))?$/.exec(text);
  const port = Number(parts?.[1]);
  const protocol = protocols.find((each) => each === (parts?.[2] ?? "TCP").toUpperCase());
  if (parts === null || port > 65535 || protocol === undefined) {
    throw refused(`${JSON.stringify(text)} is no port`, "write for example 8080/TCP, 53/UDP or icmp");
  }
  return { protocol, port };
}

function refused(what: string, remedy: string): RequestError {
  return new RequestError(`${what}; ${remedy}`);
}

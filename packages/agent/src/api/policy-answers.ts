/** What the local API says about policies: from the function that enforces, without sending a packet. */
import { protocols, evaluateDirection, explainVerdict, policyName, openingsText } from "@beyondfabric/policy";
import type { PacketFacts, Party, PodIdentity, Protocol } from "@beyondfabric/policy";
import { intersectOpenings, judgeTenancy, type Openings } from "@beyondfabric/policy";
import { ipFamily, ipProtocol, isIp, parseIp, type Ip } from "@beyondfabric/packet";
import type { Denial } from "../reactor/denial-log.ts";
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
   * @param from a pod as `namespace/name`, the name of a node, or an address
   * @param port as `8080/TCP`, `icmp`, or absent for all ports
   * @throws RequestError when nobody is meant by an end, or the port cannot be read
   */
  explain(from: string, to: string, port: string | undefined): PolicyExplanationReply {
    const sources = this.#parties(from);
    const destinations = this.#parties(to);
    const source = sources.find(({ address }) => destinations.some((each) => sameFamily(each.address, address)));
    const destination = destinations.find(({ address }) => source !== undefined && sameFamily(source.address, address));
    if (source === undefined || destination === undefined) {
      throw refused(`${from} and ${to} have no addresses of one family`, "choose an end that has");
    }
    const packet = port === undefined ? undefined : packetOf(port, ipFamily(source.address));
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
      "write NAMESPACE/NAME, a node's name or an address",
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

function packetOf(text: string, family: 4 | 6): PacketFacts {
  if (text.toLowerCase() === "icmp") return { protocol: family === 4 ? ipProtocol.icmp : ipProtocol.icmpv6 };
  const parts = /^([0-9]{1,5})(?:\/([A-Za-z]+))?$/.exec(text);
  const port = Number(parts?.[1]);
  const protocol = protocols.find((each) => each === (parts?.[2] ?? "TCP").toUpperCase());
  if (parts === null || port > 65535 || protocol === undefined) {
    throw refused(`${JSON.stringify(text)} is no port`, "write for example 8080/TCP, 53/UDP or icmp");
  }
  return { protocol: protocolNumber[protocol], destinationPort: port };
}

function refused(what: string, remedy: string): RequestError {
  return new RequestError(`${what}; ${remedy}`);
}

/** Which Service is reached by an address and port, or by a port of the nodes, when several say that it is them. */
import { ipFamily, type Ip, type IpFamily } from "@beyondfabric/packet";
import { compareTexts } from "./endpoint-order.ts";
import { serviceKey, type FrontendKind, type Protocol, type ServicePort, type ServiceRecord } from "./model.ts";

/** One way to reach a port of a Service. */
export interface Frontend {
  readonly service: ServiceRecord;
  readonly port: ServicePort;
  readonly kind: FrontendKind;
  readonly family: IpFamily;
  /** Absent for a port of the nodes, which stands for all of their addresses. */
  readonly address?: Ip;
}

/** All ways that a Service says it is reached by, whoever else says the same; none for one that is not proxied. */
export function frontendsOf(service: ServiceRecord): readonly Frontend[] {
  const { treatment, addresses, ports } = service;
  if (treatment !== "proxied") return [];
  const found: Frontend[] = [];
  for (const port of ports) {
    for (const kind of ["cluster", "loadBalancer", "external"] as const) {
      for (const address of addresses[kind]) found.push({ service, port, kind, family: ipFamily(address), address });
    }
    if (port.nodePort === undefined) continue;
    for (const address of addresses.cluster) found.push({ service, port, kind: "nodePort", family: ipFamily(address) });
  }
  return found;
}

/** What is asked for at an address, as one number. */
function placeOf(protocol: Protocol, port: number): number {
  return port * 4 + (protocol === "TCP" ? 0 : protocol === "UDP" ? 1 : 2);
}

function place({ kind, port }: Frontend): number {
  return placeOf(port.protocol, kind === "nodePort" ? port.nodePort! : port.port);
}

/**
 * An address that the API server gave away for one Service alone comes before one that a load balancer's controller wrote,
 * and both before those that users write: nobody takes a Service's address by naming it (CVE-2020-8554).
 */
const precedence: Readonly<Record<FrontendKind, number>> = { cluster: 0, loadBalancer: 1, external: 2, nodePort: 3 };

/** Of those that ask for one place, who has it before those who have not. Total: no two front ends are equal. */
function compareFrontends(a: Frontend, b: Frontend): number {
  return precedence[a.kind] - precedence[b.kind] || compareSeniority(a.service, b.service) || a.port.port - b.port.port;
}

function compareSeniority(a: ServiceRecord, b: ServiceRecord): number {
  return (
    a.created - b.created ||
    compareTexts(a.uid, b.uid) ||
    compareTexts(a.namespace, b.namespace) ||
    compareTexts(a.name, b.name)
  );
}

/** Everything at one address: most often a few places with one front end each, and thousands at the worst. */
class Claims {
  /** By place, in the order of {@link compareFrontends}: the first has it. */
  readonly #places = new Map<number, Frontend[]>();
  readonly #kinds: Record<FrontendKind, number> = { cluster: 0, loadBalancer: 0, external: 0, nodePort: 0 };

  get isEmpty(): boolean {
    return this.#places.size === 0;
  }

  add(frontend: Frontend): void {
    const at = place(frontend);
    const claimants = this.#places.get(at);
    if (claimants === undefined) this.#places.set(at, [frontend]);
    else claimants.splice(rankAmong(claimants, frontend), 0, frontend);
    this.#kinds[frontend.kind]++;
  }

  remove(frontend: Frontend): void {
    const at = place(frontend);
    const claimants = this.#places.get(at);
    if (claimants === undefined) return;
    const index = rankAmong(claimants, frontend);
    if (claimants[index] !== frontend) return;
    claimants.splice(index, 1);
    if (claimants.length === 0) this.#places.delete(at);
    this.#kinds[frontend.kind]--;
  }

  holder(at: number): Frontend | undefined {
    return this.#places.get(at)?.[0];
  }

  claimants(at: number): readonly Frontend[] {
    return this.#places.get(at) ?? [];
  }

  has(kind: FrontendKind): boolean {
    return this.#kinds[kind] > 0;
  }
}

/** How many of them come before it. */
function rankAmong(claimants: readonly Frontend[], frontend: Frontend): number {
  let [low, high] = [0, claimants.length];
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (compareFrontends(claimants[middle]!, frontend) < 0) low = middle + 1;
    else high = middle;
  }
  return low;
}

/** A place whose holder may have changed. */
interface Touched {
  readonly sample: Frontend;
  readonly before: Frontend | undefined;
}

export class FrontendTable {
  readonly #addresses = new Map<Ip, Claims>();
  readonly #nodePorts: Readonly<Record<IpFamily, Claims>> = { 4: new Claims(), 6: new Claims() };

  at(address: Ip, protocol: Protocol, port: number): Frontend | undefined {
    return this.#addresses.get(address)?.holder(placeOf(protocol, port));
  }

  atNode(family: IpFamily, protocol: Protocol, port: number): Frontend | undefined {
    return this.#nodePorts[family].holder(placeOf(protocol, port));
  }

  /** Whether a Service has this address, whatever the port. @param kind only as an address of this kind */
  hasAddress(address: Ip, kind?: FrontendKind): boolean {
    const claims = this.#addresses.get(address);
    return claims !== undefined && (kind === undefined || claims.has(kind));
  }

  /** Who has the place that this one asks for. */
  holderOf(frontend: Frontend): Frontend | undefined {
    return this.#claims(frontend)?.holder(place(frontend));
  }

  /**
   * Takes the front ends of a Service's former state out and puts those of its new state in.
   * @param affected takes the keys of the Services that get or lose a place by it, or lose it to another one than before
   */
  exchange(before: readonly Frontend[], after: readonly Frontend[], affected: Set<string>): void {
    const touched = new Map<string, Touched>();
    for (const sample of [...before, ...after]) {
      const id = `${sample.address ?? sample.family} ${place(sample)}`;
      if (!touched.has(id)) touched.set(id, { sample, before: this.holderOf(sample) });
    }
    for (const frontend of before) this.#remove(frontend);
    for (const frontend of after) this.#add(frontend);
    for (const { sample, before: former } of touched.values()) {
      const holder = this.holderOf(sample);
      if (former !== undefined && holder !== undefined && keyOf(former) === keyOf(holder)) continue;
      const claimants = this.#claims(sample)?.claimants(place(sample)) ?? [];
      for (const each of claimants) affected.add(keyOf(each));
    }
  }

  #claims({ address, family }: Frontend): Claims | undefined {
    return address === undefined ? this.#nodePorts[family] : this.#addresses.get(address);
  }

  #add(frontend: Frontend): void {
    let claims = this.#claims(frontend);
    if (claims === undefined) {
      claims = new Claims();
      this.#addresses.set(frontend.address!, claims);
    }
    claims.add(frontend);
  }

  #remove(frontend: Frontend): void {
    const claims = this.#claims(frontend);
    claims?.remove(frontend);
    if (claims?.isEmpty === true && frontend.address !== undefined) this.#addresses.delete(frontend.address);
  }
}

function keyOf({ service }: Frontend): string {
  return serviceKey(service.namespace, service.name);
}

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

/** Places in order, and in one place who has it before those who have not. Total: no two front ends are equal. */
function compareFrontends(a: Frontend, b: Frontend): number {
  return (
    place(a) - place(b) ||
    precedence[a.kind] - precedence[b.kind] ||
    compareSeniority(a.service, b.service) ||
    a.port.port - b.port.port
  );
}

function compareSeniority(a: ServiceRecord, b: ServiceRecord): number {
  return (
    a.created - b.created ||
    compareTexts(a.uid, b.uid) ||
    compareTexts(a.namespace, b.namespace) ||
    compareTexts(a.name, b.name)
  );
}

/** Everything at one address, in the order of {@link compareFrontends}: most often a few, and a thousand at the worst. */
class Claims {
  readonly #sorted: Frontend[] = [];

  get isEmpty(): boolean {
    return this.#sorted.length === 0;
  }

  add(frontend: Frontend): void {
    this.#sorted.splice(
      this.#after((other) => compareFrontends(other, frontend) < 0),
      0,
      frontend,
    );
  }

  remove(frontend: Frontend): void {
    const index = this.#after((other) => compareFrontends(other, frontend) < 0);
    if (this.#sorted[index] === frontend) this.#sorted.splice(index, 1);
  }

  holder(at: number): Frontend | undefined {
    const first = this.#sorted[this.#after((other) => place(other) < at)];
    return first !== undefined && place(first) === at ? first : undefined;
  }

  claimants(at: number): Frontend[] {
    const first = this.#after((other) => place(other) < at);
    const end = this.#after((other) => place(other) <= at);
    return this.#sorted.slice(first, end);
  }

  has(kind: FrontendKind): boolean {
    return this.#sorted.some((frontend) => frontend.kind === kind);
  }

  /** Where those end that are before something else. */
  #after(isBefore: (frontend: Frontend) => boolean): number {
    let [low, high] = [0, this.#sorted.length];
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (isBefore(this.#sorted[middle]!)) low = middle + 1;
      else high = middle;
    }
    return low;
  }
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

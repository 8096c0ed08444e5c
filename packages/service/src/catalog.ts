/**
 * All Services and their endpoints, asked by address and port. Every change says which Services it concerns; what did not
 * change is not looked at. Endpoints are merged for a port when somebody first asks for it, and kept merged from then on.
 */
import type { Violation } from "@beyondfabric/kube/kinds";
import type { Ip, IpFamily } from "@beyondfabric/packet";
import { FrontendTable, frontendsOf, type Frontend } from "./frontends.ts";
import {
  serviceKey,
  type AddressKind,
  type EndpointPort,
  type EndpointsRecord,
  type EndpointSource,
  type Protocol,
  type ServiceRecord,
  type SliceRecord,
} from "./model.ts";
import { MergedEndpoints, noEndpoints, targetsOf, type PortEndpoints, type Target } from "./port-endpoints.ts";

/** Keys (see `serviceKey`) of the Services for which something may be answered otherwise than before. */
export type AffectedServices = ReadonlySet<string>;

export type ServiceName = Pick<ServiceRecord, "namespace" | "name">;

interface MergedPort {
  /** See {@link portKey}. */
  readonly port: string;
  readonly family: IpFamily;
  readonly endpoints: MergedEndpoints;
}

/** What is known of a Service. Its endpoints may be known before it is. */
interface ServiceState {
  readonly key: string;
  service: ServiceRecord | undefined;
  frontends: readonly Frontend[];
  /** By name; absent for none, as thousands of Services have none. */
  slices: Map<string, SliceRecord> | undefined;
  endpoints: EndpointsRecord | undefined;
  /** Ports that were asked for; absent for none. */
  ports: Map<string, MergedPort> | undefined;
}

/** Told at once: what one Service asks for is long when it asks for many ports. */
const maxConflicts = 50;

export class ServiceCatalog {
  readonly #services = new Map<string, ServiceState>();
  /** `namespace/name` of a slice to the Service that it belongs to: its label may change. */
  readonly #sliceOwners = new Map<string, ServiceState>();
  readonly #frontends = new FrontendTable();

  /** Adds or replaces a Service. */
  setService(service: ServiceRecord): AffectedServices {
    const state = this.#stateOf(service.namespace, service.name);
    if (state.service !== undefined && isSameRecord(state.service, service)) return new Set();
    return this.#replaceService(state, service);
  }

  removeService(namespace: string, name: string): AffectedServices {
    const state = this.#services.get(serviceKey(namespace, name));
    return state?.service === undefined ? new Set() : this.#replaceService(state, undefined);
  }

  /** Adds or replaces a slice, also one that belonged to another Service before. */
  setSlice(slice: SliceRecord): AffectedServices {
    const id = `${slice.namespace}/${slice.name}`;
    const affected = new Set<string>();
    const owner = this.#sliceOwners.get(id);
    const state = this.#stateOf(slice.namespace, slice.service);
    if (owner !== undefined && owner !== state) this.#removeSlice(owner, slice, affected);
    const former = state.slices?.get(slice.name);
    const kept = former === undefined ? slice : keptSource(former, slice);
    if (kept === former) return affected;
    const replaced = former === undefined ? this.#substitute(state) : [former];
    state.slices ??= new Map();
    state.slices.set(slice.name, kept);
    this.#sliceOwners.set(id, state);
    exchange(state, replaced, [kept]);
    return affected.add(state.key);
  }

  removeSlice(namespace: string, name: string): AffectedServices {
    const affected = new Set<string>();
    const owner = this.#sliceOwners.get(`${namespace}/${name}`);
    if (owner !== undefined) this.#removeSlice(owner, { namespace, name }, affected);
    return affected;
  }

  /** Adds or replaces an Endpoints object. It is looked at only while its Service has no slice. */
  setEndpoints(endpoints: EndpointsRecord): AffectedServices {
    const state = this.#stateOf(endpoints.namespace, endpoints.name);
    if (state.endpoints !== undefined && isSameRecord(state.endpoints, endpoints)) return new Set();
    return this.#replaceEndpoints(state, endpoints);
  }

  removeEndpoints(namespace: string, name: string): AffectedServices {
    const state = this.#services.get(serviceKey(namespace, name));
    return state?.endpoints === undefined ? new Set() : this.#replaceEndpoints(state, undefined);
  }

  /** The Service as it was set last, proxied or not. */
  get(namespace: string, name: string): ServiceRecord | undefined {
    return this.#services.get(serviceKey(namespace, name))?.service;
  }

  *services(): IterableIterator<ServiceRecord> {
    for (const { service } of this.#services.values()) if (service !== undefined) yield service;
  }

  /** What answers at an address; of several Services that say so, the one that has it. @param address canonical */
  frontendAt(address: Ip, protocol: Protocol, port: number): Frontend | undefined {
    return this.#frontends.at(address, protocol, port);
  }

  /** What answers on a port of the nodes' addresses of a family. A Service has it where it has a cluster address. */
  nodePortAt(protocol: Protocol, port: number, family: IpFamily): Frontend | undefined {
    return this.#frontends.atNode(family, protocol, port);
  }

  /** Whether a Service has this address, whatever the port. @param kind only as an address of this kind */
  isServiceAddress(address: Ip, kind?: AddressKind): boolean {
    return this.#frontends.hasAddress(address, kind);
  }

  /** The ways by which a Service is reached: without those that others have. */
  frontendsOf({ namespace, name }: ServiceName): Frontend[] {
    const frontends = this.#services.get(serviceKey(namespace, name))?.frontends ?? [];
    return frontends.filter((frontend) => this.#frontends.holderOf(frontend) === frontend);
  }

  /** The first ways by which a Service says it is reached and which others have. They come back when those go. */
  conflictsOf({ namespace, name }: ServiceName): Violation[] {
    const found = new Map<string, Violation>();
    for (const frontend of this.#services.get(serviceKey(namespace, name))?.frontends ?? []) {
      const holder = this.#frontends.holderOf(frontend)?.service;
      if (holder === undefined || holder === frontend.service) continue;
      const violation = conflict(frontend, holder);
      // A port of the nodes is one of each family.
      found.set(`${violation.field} ${violation.rule}`, violation);
      if (found.size === maxConflicts) break;
    }
    return [...found.values()];
  }

  /** The endpoints that answer a port of a Service: the same object until they change. */
  endpointsOf({ namespace, name }: ServiceName, portName: string, protocol: Protocol, family: IpFamily): PortEndpoints {
    const state = this.#services.get(serviceKey(namespace, name));
    if (state === undefined) return noEndpoints;
    const port = portKey({ protocol, name: portName });
    const key = `${family} ${port}`;
    const known = state.ports?.get(key);
    if (known !== undefined) return known.endpoints.lists;
    // Whatever others ask for, only the ports of a Service are worth being kept.
    const isPort = state.service !== undefined && portNumbers(state.service).has(port);
    const sources = [...sourcesOf(state)];
    const endpoints = new MergedEndpoints(
      sources.flatMap((source) => targetsOf(source, portNumbers(source).get(port), family)),
    );
    if (isPort) {
      state.ports ??= new Map();
      state.ports.set(key, { port, family, endpoints });
    }
    return endpoints.lists;
  }

  #stateOf(namespace: string, name: string): ServiceState {
    const key = serviceKey(namespace, name);
    let state = this.#services.get(key);
    if (state === undefined) {
      const nothing = { service: undefined, slices: undefined, endpoints: undefined, ports: undefined };
      state = { key, frontends: [], ...nothing };
      this.#services.set(key, state);
    }
    return state;
  }

  #replaceService(state: ServiceState, service: ServiceRecord | undefined): AffectedServices {
    const affected = new Set([state.key]);
    const frontends = service === undefined ? [] : frontendsOf(service);
    this.#frontends.exchange(state.frontends, frontends, affected);
    state.service = service;
    state.frontends = frontends;
    forgetPorts(state);
    this.#forget(state);
    return affected;
  }

  #replaceEndpoints(state: ServiceState, endpoints: EndpointsRecord | undefined): AffectedServices {
    const former = this.#substitute(state);
    state.endpoints = endpoints;
    const isUsed = state.slices === undefined;
    if (isUsed) exchange(state, former, this.#substitute(state));
    this.#forget(state);
    return new Set(isUsed ? [state.key] : []);
  }

  #removeSlice(state: ServiceState, { namespace, name }: ServiceName, affected: Set<string>): void {
    this.#sliceOwners.delete(`${namespace}/${name}`);
    const former = state.slices?.get(name);
    if (former === undefined) return;
    state.slices?.delete(name);
    if (state.slices?.size === 0) state.slices = undefined;
    exchange(state, [former], this.#substitute(state));
    affected.add(state.key);
    this.#forget(state);
  }

  /** What stands in for slices where there are none. */
  #substitute({ slices, endpoints }: ServiceState): readonly EndpointSource[] {
    return slices === undefined ? (endpoints?.sources ?? []) : [];
  }

  #forget(state: ServiceState): void {
    const { key, service, slices, endpoints } = state;
    if (service === undefined && slices === undefined && endpoints === undefined) this.#services.delete(key);
  }
}

function sourcesOf({ slices, endpoints }: ServiceState): Iterable<EndpointSource> {
  return slices?.values() ?? endpoints?.sources ?? [];
}

/** By which ports of Services and of endpoints are joined. */
function portKey({ protocol, name }: Pick<EndpointPort, "protocol" | "name">): string {
  return `${protocol} ${name}`;
}

/** Of a Service or a source, for as long as it is the same: either may have thousands of ports that are asked for. */
const knownNumbers = new WeakMap<readonly EndpointPort[], ReadonlyMap<string, number>>();

function portNumbers({ ports }: { readonly ports: readonly EndpointPort[] }): ReadonlyMap<string, number> {
  let numbers = knownNumbers.get(ports);
  if (numbers === undefined) {
    numbers = new Map(ports.map((each) => [portKey(each), each.port]));
    knownNumbers.set(ports, numbers);
  }
  return numbers;
}

function exchange(state: ServiceState, removed: readonly EndpointSource[], added: readonly EndpointSource[]): void {
  for (const { port, family, endpoints } of state.ports?.values() ?? []) {
    const targets = (source: EndpointSource): Target[] => targetsOf(source, portNumbers(source).get(port), family);
    endpoints.exchange(removed.flatMap(targets), added.flatMap(targets));
  }
}

/** Ports that the Service has no more are not kept merged. */
function forgetPorts(state: ServiceState): void {
  if (state.ports === undefined) return;
  const kept = state.service === undefined ? undefined : portNumbers(state.service);
  for (const [key, { port }] of state.ports) if (kept?.has(port) !== true) state.ports.delete(key);
  if (state.ports.size === 0) state.ports = undefined;
}

/**
 * A slice as it is now, with the records of the former one where they say the same; the former one when nothing differs.
 * Both are ordered, so that one walk tells.
 */
function keptSource(former: SliceRecord, next: SliceRecord): SliceRecord {
  let place = 0;
  let kept = 0;
  const endpoints = next.endpoints.map((endpoint) => {
    while (place < former.endpoints.length && former.endpoints[place]!.address < endpoint.address) place++;
    const known = former.endpoints[place];
    if (known === undefined || !isSameRecord(known, endpoint)) return endpoint;
    kept++;
    return known;
  });
  const isSame = kept === endpoints.length && kept === former.endpoints.length;
  return isSame && isSameRecord(former.ports, next.ports) ? former : { ...next, endpoints };
}

/** Records are plain data, whose fields parsing writes in one order. */
function isSameRecord(a: object, b: object): boolean {
  return a === b || JSON.stringify(a) === JSON.stringify(b);
}

const fieldOfKind = {
  cluster: "spec.clusterIPs",
  loadBalancer: "status.loadBalancer.ingress",
  external: "spec.externalIPs",
  nodePort: "spec.ports",
} as const;

function conflict({ service, port, kind, address }: Frontend, holder: ServiceRecord): Violation {
  const what = kind === "nodePort" ? `node port ${port.nodePort}` : `${address} port ${port.port}`;
  const owner = `Service/${holder.namespace}/${holder.name}`;
  return {
    object: `Service/${service.namespace}/${service.name}`,
    field: fieldOfKind[kind],
    rule: `asks for ${what} of ${port.protocol}, which ${owner} has, so this Service is not reached by it`,
    remedy: `choose another one, or remove it from ${owner}`,
  };
}

import assert from "node:assert/strict";
import { describe, it } from "node:test";
import {
  eligibleEndpoints,
  healthCheck,
  parseEndpoints,
  parseEndpointSlice,
  parseService,
  ServiceCatalog,
  type AffectedServices,
  type Frontend,
  type PortEndpoints,
} from "../src/index.ts";
import {
  oracleClaimants,
  oracleEligible,
  oracleEndpoints,
  oracleHasAddress,
  oracleLocalEndpoints,
  type OracleFrontend,
  type World,
} from "./oracle.ts";
import { Dice } from "../../policy/test/dice.ts";
import {
  nodePorts,
  nodes,
  portNames,
  portNumbers,
  protocols,
  randomEndpoints,
  randomService,
  randomSlice,
  serviceAddresses,
  serviceNames,
  sliceNames,
} from "./world.ts";

const sequences = 400;
const changesPerSequence = 16;
const families = [4, 6] as const;

/** Another seed with every run, printed, so that a failure can be repeated: `WORLD_SEED=n`. */
const seed = Number(process.env["WORLD_SEED"] ?? Math.floor(Math.random() * 2 ** 31));

/** The catalog as the agent keeps it: what does not parse to a record is taken out. */
class Product {
  readonly catalog = new ServiceCatalog();

  set(kind: keyof World, id: string, raw: unknown): AffectedServices {
    const [namespace, name] = id.split("/") as [string, string];
    if (kind === "services") {
      const { service } = parseService(raw);
      return service === undefined ? this.catalog.removeService(namespace, name) : this.catalog.setService(service);
    }
    if (kind === "slices") {
      const { slice } = parseEndpointSlice(raw);
      return slice === undefined ? this.catalog.removeSlice(namespace, name) : this.catalog.setSlice(slice);
    }
    const { endpoints } = parseEndpoints(raw);
    return endpoints === undefined
      ? this.catalog.removeEndpoints(namespace, name)
      : this.catalog.setEndpoints(endpoints);
  }
}

function named(name: string): { namespace: string; name: string } {
  const [namespace = "", own = ""] = name.split("/");
  return { namespace, name: own };
}

function summary(frontend: Frontend | undefined): OracleFrontend | undefined {
  if (frontend === undefined) return undefined;
  const { service, port, kind, family } = frontend;
  const name = `${service.namespace}/${service.name}`;
  return { service: name, portName: port.name, protocol: port.protocol, kind, family };
}

function oracleSummary(claimants: readonly OracleFrontend[]): OracleFrontend | undefined {
  const [holder] = claimants;
  if (holder === undefined) return undefined;
  const { service, portName, protocol, kind, family } = holder;
  return { service, portName, protocol, kind, family };
}

interface Place {
  readonly address: string;
  readonly protocol: "TCP" | "UDP";
  readonly port: number;
}

const places: readonly Place[] = protocols.flatMap((protocol) => [
  ...serviceAddresses.flatMap((address) => portNumbers.map((port) => ({ address, protocol, port }))),
  ...["node4", "node6"].flatMap((address) => nodePorts.map((port) => ({ address, protocol, port }))),
]);

function frontendAt(catalog: ServiceCatalog, { address, protocol, port }: Place): Frontend | undefined {
  if (!address.startsWith("node")) return catalog.frontendAt(address, protocol, port);
  return catalog.nodePortAt(protocol, port, address === "node4" ? 4 : 6);
}

function endpointTexts({ all }: PortEndpoints): string[] {
  return all.map(({ port, source, endpoint }) => JSON.stringify([port, source, endpoint]));
}

function checkFrontends(world: World, catalog: ServiceCatalog): number {
  let conflicts = 0;
  const lost = new Set<string>();
  for (const place of places) {
    const claimants = oracleClaimants(world, place.address, place.protocol, place.port);
    const found = frontendAt(catalog, place);
    assert.deepEqual(summary(found), oracleSummary(claimants), JSON.stringify(place));
    for (const { service } of claimants) if (service !== claimants[0]!.service) lost.add(service);
    if (found === undefined) continue;
    assert.ok(catalog.frontendsOf(found.service).includes(found));
    for (const node of nodes) {
      for (const from of ["pod", "node", "outside"] as const) {
        const eligibility = eligibleEndpoints(catalog, found, { node, from });
        const text =
          eligibility.kind === "none"
            ? eligibility.answer
            : `${eligibility.basis} ${eligibility.endpoints.map(({ endpoint, port }) => `${endpoint.address}|${port}`).join(" ")}`;
        assert.equal(
          text,
          oracleEligible(world, claimants[0]!, { node, from }),
          `${JSON.stringify(place)} ${node} ${from}`,
        );
      }
    }
  }
  for (const name of serviceNames) {
    const complaints = catalog.conflictsOf(named(name));
    assert.equal(complaints.length > 0, lost.has(name), `conflicts of ${name}`);
    conflicts += complaints.length;
  }
  for (const address of serviceAddresses) {
    for (const kind of [undefined, "cluster", "loadBalancer", "external"] as const) {
      assert.equal(
        catalog.isServiceAddress(address, kind),
        oracleHasAddress(world, address, kind),
        `${address} ${kind}`,
      );
    }
  }
  return conflicts;
}

function checkEndpoints(world: World, catalog: ServiceCatalog, dice: Dice): void {
  for (const name of serviceNames) {
    for (const portName of portNames) {
      for (const protocol of protocols) {
        for (const family of families) {
          // What nobody asked for is merged later, and must come to the same.
          if (dice.oneIn(2)) continue;
          const { all } = catalog.endpointsOf(named(name), portName, protocol, family);
          const found = all.map(({ endpoint, port, source }) => {
            const { address, ready, serving, terminating, node } = endpoint;
            return { address, port, ready, serving, terminating, node, source };
          });
          assert.deepEqual(found, oracleEndpoints(world, name, portName, protocol, family), `${name} ${portName}`);
        }
      }
    }
    const service = catalog.get(named(name).namespace, named(name).name);
    assert.equal(service !== undefined, world.services.has(name));
    if (service === undefined) continue;
    for (const node of nodes) {
      const answer = healthCheck(catalog, service, { node, healthy: true });
      const count = oracleLocalEndpoints(world, name, node);
      assert.equal(answer?.body.localEndpoints, count, `health of ${name} on ${node}`);
      assert.equal(answer?.status, count === undefined ? undefined : count > 0 ? 200 : 503);
    }
  }
}

/** All that can be asked about a Service, as the oracle answers. */
function observable(world: World, name: string): string {
  const claims = places.map((place) => {
    const claimants = oracleClaimants(world, place.address, place.protocol, place.port);
    return claimants.some(({ service }) => service === name) ? claimants[0]!.service : "";
  });
  const endpoints = portNames.flatMap((portName) =>
    protocols.flatMap((protocol) => families.map((family) => oracleEndpoints(world, name, portName, protocol, family))),
  );
  // Objects that differ in spelling, or in what is of no concern, say the same.
  const { internalTrafficPolicy, externalTrafficPolicy, publishNotReadyAddresses } =
    world.services.get(name)?.spec ?? {};
  const policies = [internalTrafficPolicy ?? "Cluster", externalTrafficPolicy ?? "Cluster", publishNotReadyAddresses];
  return JSON.stringify([claims, world.services.has(name), policies, endpoints]);
}

function randomChange(dice: Dice): { kind: keyof World; id: string; raw: object | undefined } {
  const kind = dice.pick(["services", "services", "slices", "slices", "endpoints"] as const);
  const id = kind === "slices" ? `${dice.pick(["x", "y"])}/${dice.pick(sliceNames)}` : dice.pick(serviceNames);
  if (dice.oneIn(4)) return { kind, id, raw: undefined };
  const make = { services: randomService, slices: randomSlice, endpoints: randomEndpoints }[kind];
  return { kind, id, raw: make(dice, id) };
}

/** The Services that a change is about, by the objects themselves. */
function subjects(world: World, kind: keyof World, id: string): string[] {
  if (kind !== "slices") return [id];
  const label = world.slices.get(id)?.metadata.labels?.["kubernetes.io/service-name"];
  return label === undefined ? [] : [`${id.split("/")[0]}/${label}`];
}

describe("a reader of raw objects that shares no code", () => {
  it(`agrees after every change, in ${sequences} sequences of them (seed ${seed})`, () => {
    let conflicts = 0;
    let changes = 0;
    for (let number = seed; number < seed + sequences; number++) {
      const dice = new Dice(number);
      const world: World = { services: new Map(), slices: new Map(), endpoints: new Map() };
      const product = new Product();
      const { catalog } = product;
      const history: unknown[] = [];
      try {
        for (let count = 0; count < changesPerSequence; count++) {
          const { kind, id, raw } = randomChange(dice);
          history.push({ kind, id, raw });
          const before = serviceNames.map((name) => observable(world, name));
          const concerned = new Set(subjects(world, kind, id));
          const objects = world[kind] as Map<string, object>;
          if (raw === undefined) objects.delete(id);
          else objects.set(id, raw);
          for (const name of subjects(world, kind, id)) concerned.add(name);
          const affected = product.set(kind, id, raw);
          for (const [index, name] of serviceNames.entries()) {
            const isChanged = before[index] !== observable(world, name);
            if (isChanged) changes++;
            const isTold = affected.has(`service:${name}`);
            assert.ok(isTold || !isChanged, `${name} changed, and was not told`);
            assert.ok(!isTold || isChanged || concerned.has(name), `${name} was told, and has nothing to do with it`);
          }
          if (raw !== undefined) assert.equal(product.set(kind, id, structuredClone(raw)).size, 0, "the same again");
          conflicts += checkFrontends(world, catalog);
          checkEndpoints(world, catalog, dice);
        }
        checkOtherOrder(world, product, dice);
      } catch (error) {
        assert.fail(`${String(error)}\nWORLD_SEED=${number}\n${JSON.stringify(history)}`);
      }
    }
    const isEnough = conflicts > sequences / 4 && changes > sequences;
    assert.ok(isEnough, `${conflicts} conflicts, ${changes} changes: worlds in which nothing happens prove nothing`);
  });
});

/** The same objects in another order come to the same lists, and taking all away leaves nothing. */
function checkOtherOrder(world: World, { catalog }: Product, dice: Dice): void {
  const objects = (["services", "slices", "endpoints"] as const).flatMap((kind) =>
    [...world[kind]].map(([id, raw]) => ({ kind, id, raw, place: dice.below(1000) })),
  );
  const other = new Product();
  for (const { kind, id, raw } of objects.sort((a, b) => a.place - b.place)) other.set(kind, id, raw);
  for (const name of serviceNames) {
    for (const family of families) {
      const lists = [catalog, other.catalog].map((each) => each.endpointsOf(named(name), "web", "TCP", family));
      assert.deepEqual(endpointTexts(lists[0]!), endpointTexts(lists[1]!));
    }
  }
  for (const { kind, id } of objects) other.set(kind, id, undefined);
  checkFrontends({ services: new Map(), slices: new Map(), endpoints: new Map() }, other.catalog);
  assert.equal([...other.catalog.services()].length, 0);
}

/**
 * A cluster made of a seed: machines with agents and kubelets, controllers, and everything that goes wrong. One step is
 * one thing that happens anywhere; `invariants.ts` watches.
 */
import { ipFamily } from "@beyondfabric/packet";
import type { Ip, IpFamily } from "@beyondfabric/packet";
import type { AddressOwner } from "@beyondfabric/kube/kinds";
import { subnet as makeSubnet } from "../subnets.ts";
import { activities, SimulatedAgent } from "./agent.ts";
import type { AgentOptions, Surroundings } from "./agent.ts";
import { Host } from "./host.ts";
import { Invariants } from "./invariants.ts";
import { Postman } from "./postman.ts";
import type { Life } from "./postman.ts";
import { Random } from "./random.ts";
import { SimulatedApi, SimulatedWatch } from "./simulated-api.ts";
import type { OwnerObject, PodObject } from "./simulated-api.ts";

export interface ClusterOptions {
  readonly seed: number;
  /** Spoils what the agents see or do, to prove that the invariants notice. */
  readonly spoil?: (surroundings: Surroundings) => Surroundings;
}

const namespace = "default";

export class Cluster {
  readonly random: Random;
  readonly api = new SimulatedApi();
  readonly machines: Host[] = [];
  readonly families: readonly IpFamily[];
  readonly invariants: Invariants;
  readonly postman: Postman;
  now = 1_700_000_000_000;
  steps = 0;
  readonly #subnet;
  readonly #size: number;
  readonly #spoil: (surroundings: Surroundings) => Surroundings;
  #serial = 0;
  /** How soon a kubelet makes its Node object anew. */
  readonly #registers: number;
  /** How often what happens: every seed has a temperament of its own. */
  readonly #weights;
  readonly #deeds;

  constructor({ seed, spoil = (each) => each }: ClusterOptions) {
    this.random = new Random(seed);
    this.#spoil = spoil;
    const { random } = this;
    this.families = random.chance(0.3) ? [4, 6] : [4];
    // Four blocks of 16, 8 or 4 addresses: the fewer there are, the more is lent and given back.
    this.#size = random.pick([64, 32, 32, 16])!;
    const bits = Math.log2(this.#size);
    const cidrs = this.families.map((family) => (family === 4 ? `10.0.0.0/${32 - bits}` : `fd00::/${128 - bits}`));
    const blockLength = { ipv4: 34 - bits, ...(cidrs.length > 1 ? { ipv6: 130 - bits } : {}) };
    this.#subnet = makeSubnet({ cidrs, blockLength });
    this.postman = new Postman(random);
    this.invariants = new Invariants(this);
    const often = (usual: number): number => usual * random.pick([0, 0.3, 1, 3, 10])!;
    this.#weights = {
      deliver: 60,
      activity: 25,
      kubelet: 20,
      controller: 6,
      watch: 2 + often(8),
      time: 3 + often(3),
      user: 3 + often(1),
      crash: often(0.5),
      partition: often(0.4),
      power: often(0.15),
      node: often(0.15),
      collectPods: often(1),
    };
    this.#deeds = {
      ordinary: 2 + often(2),
      delete: often(2),
      force: often(0.5),
      set: 2,
      deployment: often(1),
      scale: often(1),
      start: often(0.2),
      remove: often(0.3),
      edit: often(0.3),
    };
    this.#registers = random.pick([0.02, 0.2])!;
    this.postman.loss = random.pick([0, 0, 0.02, 0.1])!;
    for (let index = 0; index < 2 + random.below(4); index++) this.#addMachine(`node-${index}`);
  }

  #addMachine(name: string): void {
    const machine = new Host(name);
    this.machines.push(machine);
    this.api.create("nodes", name, { wants: undefined });
    this.#startAgent(machine);
  }

  #startAgent(machine: Host): void {
    const life: Life = { node: machine.name, isOver: false, isConnected: () => machine.isConnected };
    const { api } = this;
    const options: AgentOptions = {
      api,
      subnet: this.#subnet,
      families: this.families,
      now: () => this.now,
      spoil: this.#spoil,
      onAttach: (on, pod, addresses) => this.invariants.attached(on, pod, addresses),
    };
    // A list may be answered from a cache that is late.
    const late = this.random.chance(0.5) ? this.random.below(Math.min(30, api.log.length + 1)) : 0;
    const watch = new SimulatedWatch(api, api.log.length - late);
    const { postman } = this;
    machine.agent = new SimulatedAgent(machine, options, watch, life, postman.callOf(life), postman.writeOf(life));
  }

  #endAgent(machine: Host): void {
    if (machine.agent === undefined) return;
    this.postman.end(machine.agent.life);
    machine.agent = undefined;
    // The runtime sees the call fail, and will try again or give up.
    for (const container of machine.containers.values()) if (container.state === "ending") container.state = "starting";
  }

  /** Lets everything happen that needs no further step: promises that are resolved. */
  async settle(): Promise<void> {
    await new Promise(setImmediate);
    for (const { agent } of this.machines) if (agent?.failure !== undefined) throw agent.failure;
  }

  async step(): Promise<void> {
    this.steps++;
    const what = this.random.weighted(this.#weights);
    this.#happenings[what]();
    await this.settle();
  }

  readonly #happenings = {
    deliver: () => void this.postman.step(),
    watch: () => {
      const machine = this.random.pick(this.machines)!;
      if (machine.isConnected) machine.agent?.watch.advance(1 + this.random.below(8));
    },
    activity: () => {
      const { agent } = this.random.pick(this.machines)!;
      if (agent === undefined) return;
      agent.start();
      agent.begin(this.random.pick(activities)!);
    },
    kubelet: () => this.#kubelet(this.random.pick(this.machines)!),
    controller: () => this.#controller(),
    time: () => void (this.now += this.random.below(900)),
    user: () => this.#user(),
    crash: () => {
      const machine = this.random.pick(this.machines)!;
      this.#endAgent(machine);
    },
    partition: () => {
      const machine = this.random.pick(this.machines)!;
      machine.isConnected = !machine.isConnected;
    },
    power: () => {
      const machine = this.random.pick(this.machines)!;
      if (machine.isOn) {
        this.#endAgent(machine);
        machine.cutPower(this.random.chance(0.3));
      } else machine.isOn = true;
    },
    node: () => {
      const machine = this.random.pick(this.machines)!;
      // It may be dead, cut off or perfectly well.
      this.api.delete("nodes", machine.name);
    },
    collectPods: () => this.#collectPods(),
  } satisfies Record<string, () => void>;

  /** What the control plane does with pods whose node is gone. */
  #collectPods(): void {
    const orphans = this.api.list("pods").filter(({ node }) => this.api.get("nodes", node) === undefined);
    const pod = this.random.pick(orphans);
    if (pod !== undefined) this.api.delete("pods", pod.name);
  }

  /** One thing that a kubelet does, or the machine's init system. */
  #kubelet(machine: Host): void {
    const { random } = this;
    if (!machine.isOn) return;
    if (machine.agent?.isMistaken === true) this.#endAgent(machine);
    if (machine.agent === undefined) {
      if (random.chance(0.5)) this.#startAgent(machine);
      return;
    }
    if (machine.isConnected && this.api.get("nodes", machine.name) === undefined) {
      if (random.chance(this.#registers)) this.api.create("nodes", machine.name, { wants: undefined });
      return;
    }
    const deeds: (() => void)[] = [];
    for (const container of machine.containers.values()) {
      const { pod, state } = container;
      const stored = machine.isConnected ? this.api.get("pods", pod.name) : pod;
      const isGone = stored?.uid !== pod.uid || stored.isDeleted;
      if (isGone) deeds.push(() => this.#removeContainer(machine, pod));
      else if (state === "starting") {
        deeds.push(() => this.#addContainer(machine, pod));
        if (random.chance(0.1)) deeds.push(() => this.#removeContainer(machine, pod));
      } else if (state === "running" && machine.isConnected && stored.addresses.length === 0) {
        deeds.push(() => {
          const port = machine.ports.get(pod.uid);
          if (port !== undefined) this.api.update("pods", { ...stored, addresses: port.addresses });
        });
      }
    }
    if (machine.isConnected) {
      for (const pod of this.api.list("pods")) {
        if (pod.node !== machine.name || machine.containers.has(pod.uid)) continue;
        if (pod.isDeleted) deeds.push(() => void this.api.delete("pods", pod.name, this.api.get("pods", pod.name)));
        else deeds.push(() => void machine.containers.set(pod.uid, { pod, state: "starting" }));
      }
    }
    random.pick(deeds)?.();
  }

  #addContainer(machine: Host, pod: PodObject): void {
    machine.agent?.add(pod, (isAttached) => {
      const container = machine.containers.get(pod.uid);
      if (isAttached && container?.state === "starting") container.state = "running";
    });
  }

  #removeContainer(machine: Host, pod: PodObject): void {
    machine.agent?.remove(pod, () => void machine.containers.delete(pod.uid));
  }

  /** One thing that a workload controller does. */
  #controller(): void {
    const owner = this.random.pick(this.api.list("owners"));
    if (owner === undefined) return this.#removeOrphanPod();
    const [kind, , name] = owner.name.split(".") as [string, string, string];
    const pods = this.api.list("pods").filter(({ plan }) => plan.owner.uid === owner.uid);
    if (kind === "StatefulSet") this.#statefulSet(owner, name, pods);
    else this.#deployment(owner, name, pods);
  }

  #statefulSet(owner: OwnerObject, name: string, pods: readonly PodObject[]): void {
    const wanted = Array.from({ length: owner.replicas }, (_, index) => `${name}-${owner.start + index}`);
    const extra = pods.find(({ pod, isDeleted }) => !isDeleted && !wanted.includes(pod));
    if (extra !== undefined) return this.deletePod(extra);
    const missing = wanted.find((pod) => this.api.get("pods", `${namespace}.${pod}`) === undefined);
    if (missing === undefined) return this.#removeOrphanPod();
    const { candidates } = owner;
    this.#createPod(missing, "sticky", { ...ownerOf(owner, "StatefulSet", name), slot: missing }, candidates);
  }

  #deployment(owner: OwnerObject, name: string, pods: readonly PodObject[]): void {
    const alive = pods.filter(({ isDeleted }) => !isDeleted);
    if (alive.length > owner.replicas) return this.deletePod(alive[0]!);
    if (alive.length === owner.replicas) return this.#removeOrphanPod();
    const kind = owner.kind === "fixed" ? "fixed" : "pool";
    this.#createPod(`${name}-${++this.#serial}`, kind, ownerOf(owner, "Deployment", name), owner.candidates);
  }

  /** The garbage collector of the control plane: pods whose owner is gone. */
  #removeOrphanPod(): void {
    const uids = new Set(this.api.list("owners").map(({ uid }) => uid));
    const orphans = this.api
      .list("pods")
      .filter(({ plan, isDeleted }) => plan.kind !== "ordinary" && !uids.has(plan.owner.uid) && !isDeleted);
    const pod = this.random.pick(orphans);
    if (pod !== undefined) this.deletePod(pod);
  }

  #createPod(pod: string, kind: PodObject["plan"]["kind"], owner: AddressOwner, candidates?: readonly Ip[]): void {
    const node = this.random.pick(this.api.list("nodes"))?.name;
    if (node === undefined) return;
    const plan = { kind, owner, ...(candidates === undefined ? {} : { candidates }) };
    this.api.create("pods", `${namespace}.${pod}`, { namespace, pod, node, plan, addresses: [], isDeleted: false });
  }

  /** Asks the kubelet to end a pod. */
  deletePod(pod: PodObject): void {
    this.api.update("pods", { ...pod, isDeleted: true });
  }

  /** Something that a person does. */
  #user(): void {
    const { api, random } = this;
    const owner = random.pick(api.list("owners"));
    const pod = random.pick(api.list("pods"));
    const deeds = {
      ordinary: () =>
        this.#createPod(`o-${++this.#serial}`, "ordinary", ownerOf({ uid: "" }, "Pod", `o-${this.#serial}`)),
      delete: () => pod && this.deletePod(pod),
      force: () => pod && void api.delete("pods", pod.name),
      set: () => this.#createOwner("StatefulSet", `s${random.below(3)}`, 1 + random.below(3)),
      deployment: () => this.#createOwner("Deployment", `d${random.below(3)}`, 1 + random.below(2)),
      scale: () => owner && void api.update("owners", { ...owner, replicas: random.below(4) }),
      start: () => owner && void api.update("owners", { ...owner, start: random.below(2) }),
      remove: () => owner && void api.delete("owners", owner.name),
      edit: () => owner?.candidates && void api.update("owners", { ...owner, candidates: this.#someAddresses() }),
    } satisfies Record<string, () => void>;
    deeds[random.weighted(this.#deeds)]();
  }

  #createOwner(kind: "StatefulSet" | "Deployment", name: string, replicas: number): void {
    const { random } = this;
    const isPooled = kind === "Deployment" || random.chance(0.3);
    const isFixed = kind === "Deployment" && random.chance(0.5);
    const candidates = isPooled ? this.#someAddresses().slice(0, isFixed ? 1 : undefined) : undefined;
    const fixed = isFixed ? "fixed" : "pool";
    this.api.create("owners", `${kind}.${namespace}.${name}`, {
      kind: kind === "StatefulSet" ? "set" : fixed,
      replicas,
      start: 0,
      candidates,
    });
  }

  #someAddresses(): Ip[] {
    const first = 2 + this.random.below(this.#size - 6);
    const count = 2 + this.random.below(3);
    return Array.from({ length: count }, (_, index) => `10.0.0.${first + index}`);
  }

  /** Everything works again, and everything that is on its way arrives; time passes until nothing is left to do. */
  async calmDown(rounds: number): Promise<void> {
    const { api } = this;
    this.postman.loss = 0;
    for (let round = 0; round < rounds; round++) {
      this.now += 700;
      for (const machine of this.machines) {
        machine.isOn = true;
        machine.isConnected = true;
        if (api.get("nodes", machine.name) === undefined) api.create("nodes", machine.name, { wants: undefined });
        for (let index = 0; index < 6; index++) this.#kubelet(machine);
        machine.agent?.watch.advance(Infinity);
        machine.agent?.start();
        for (const activity of activities) machine.agent?.begin(activity);
      }
      for (let index = 0; index < 6; index++) this.#controller();
      this.#collectPods();
      await this.settle();
      for (let index = 0; index < 5000 && !this.postman.isEmpty; index++) {
        this.steps++;
        this.postman.step();
        await this.settle();
      }
    }
  }

  /** Nobody wants anything any more. */
  removeEverything(): void {
    for (const { name } of this.api.list("owners")) this.api.delete("owners", name);
    for (const pod of this.api.list("pods")) this.deletePod(pod);
  }

  isCandidate(owner: AddressOwner, address: Ip): boolean {
    const object = this.api.get("owners", `${owner.kind}.${owner.namespace}.${owner.name}`);
    return object?.candidates === undefined || ipFamily(address) === 6 || object.candidates.includes(address);
  }
}

function ownerOf({ uid }: { readonly uid: string }, kind: string, name: string): AddressOwner {
  return { apiVersion: kind === "Pod" ? "v1" : "apps/v1", kind, namespace, name, uid, slot: "" };
}

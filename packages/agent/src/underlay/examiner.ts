/** Examines the physical networks of this node: looks at their NICs and asks their wires, all at once. */
import { randomInt } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";
import type { UplinkExamination } from "@beyondfabric/datapath";
import type { Ip, Mac } from "@beyondfabric/packet";
import type { NetworkObservation, UnderlayObservation, WireObservation } from "./diagnosis.ts";
import { WireExamination, type ExaminedWire } from "./examination.ts";
import type { PhysicalNetworks, Resident, SurveyedNetwork } from "./physical-networks.ts";

/** What is seen inside of a pod. */
export interface PodSight {
  /** Of its interface (bytes). */
  readonly mtu: number;
  readonly neighbours: readonly { readonly address: Ip; readonly mac: Mac }[];
}

export interface ExaminerOptions {
  readonly nodeName: string;
  readonly networks: Pick<PhysicalNetworks, "survey" | "listen" | "transmit" | "violations">;
  /** Looks into the pod of this node that has the address; undefined when it is gone. */
  readonly podSight: (address: Ip) => Promise<PodSight | undefined>;
}

interface Sighted {
  readonly resident: Resident;
  readonly sight: PodSight | undefined;
}

export class Examiner {
  readonly #options: ExaminerOptions;
  #running: Promise<UnderlayObservation> | undefined;

  constructor(options: ExaminerOptions) {
    this.#options = options;
  }

  /** Takes some seconds; who asks meanwhile gets the same. */
  examine(): Promise<UnderlayObservation> {
    this.#running ??= this.#examine().finally(() => (this.#running = undefined));
    return this.#running;
  }

  async #examine(): Promise<UnderlayObservation> {
    const { networks, nodeName } = this.#options;
    const surveyed = await networks.survey();
    return {
      node: nodeName,
      networks: await Promise.all(surveyed.map((each) => this.#examineNetwork(each))),
      violations: networks.violations,
    };
  }

  async #examineNetwork(surveyed: SurveyedNetwork): Promise<NetworkObservation> {
    const { placement, bridge, facts, answering, residents } = surveyed;
    const sighted = await Promise.all(
      residents.map(async (resident): Promise<Sighted> => {
        const [address] = resident.addresses;
        return { resident, sight: address === undefined ? undefined : await this.#options.podSight(address) };
      }),
    );
    const { mac } = facts;
    const isAsked = answering && facts.linkUp && mac !== undefined;
    return {
      network: placement.network,
      nic: placement.nic,
      bridge,
      present: facts.present,
      linkUp: facts.linkUp,
      mtu: facts.mtu,
      ...(placement.mtu === undefined ? {} : { wantedMtu: placement.mtu }),
      nodeAddresses: facts.addresses,
      allowNodeInterface: placement.allowNodeInterface,
      answering,
      pods: sighted.map(({ resident, sight }) => ({
        pod: nameOf(resident),
        ...(sight === undefined ? {} : { mtu: sight.mtu }),
      })),
      wires: isAsked ? await this.#examineWires(bridge, mac, wiresOf(surveyed, sighted)) : [],
    };
  }

  async #examineWires(bridge: string, nicMac: Mac, wires: readonly ExaminedWire[]): Promise<WireObservation[]> {
    const { networks } = this.#options;
    const examinations = wires.map((wire) => {
      const { vlan } = wire;
      const examination = new WireExamination({
        wire,
        nicMac,
        transmit: (frames) => networks.transmit(bridge, vlan, frames),
        now: () => performance.now(),
        sleep: async (milliseconds) => await sleep(milliseconds),
        transaction: randomInt(2 ** 32),
      });
      const echoed = wire.pods.flatMap(({ addresses }) => addresses);
      return { vlan, examination, entries: { vlan, macs: examination.macs, echoed } satisfies UplinkExamination };
    });
    const on = (vlan: number): WireExamination | undefined =>
      examinations.find((each) => each.vlan === vlan)?.examination;
    const subnetVlans = new Map(wires.flatMap(({ vlan, subnets }) => subnets.map(({ name }) => [name, vlan])));
    try {
      await networks.listen(
        bridge,
        examinations.map(({ entries }) => entries),
        {
          answer: (packet, frame) => on(packet.vlan < 0 ? 0 : packet.vlan & 0xfff)?.hear(packet, frame),
          conflict: (resident, address, mac) =>
            on(subnetVlans.get(resident.subnet) ?? -1)?.conflict(nameOf(resident), address, mac),
        },
      );
      return await Promise.all(examinations.map(({ examination }) => examination.run()));
    } finally {
      await networks.listen(bridge, [], undefined);
    }
  }
}

/** The VLANs of a network, each once whatever number of subnets shares it. */
function wiresOf({ subnets }: SurveyedNetwork, sighted: readonly Sighted[]): ExaminedWire[] {
  return [...Map.groupBy(subnets, ({ vlan }) => vlan ?? 0)].map(([vlan, sharing]) => {
    const names = new Set(sharing.map(({ name }) => name));
    return {
      vlan,
      subnets: sharing.map(({ name, families }) => ({ name, gateways: families.map(({ gateway }) => gateway) })),
      pods: sighted
        .filter(({ resident }) => names.has(resident.subnet))
        .map(({ resident, sight }) => ({
          pod: nameOf(resident),
          subnet: resident.subnet,
          mac: resident.mac,
          addresses: resident.addresses,
          neighbours: sight?.neighbours ?? [],
        })),
    };
  });
}

function nameOf({ pod }: Resident): string {
  return `${pod.namespace}/${pod.name}`;
}

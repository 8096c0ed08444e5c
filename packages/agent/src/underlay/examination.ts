/**
 * The examination of one VLAN: what is asked of it, when, and what the answers mean together. Frames and time come from
 * outside.
 */
import { ipFamily, ipProtocol, icmpType, icmpv6Type, type Ip, type Mac, type Packet } from "@beyondfabric/packet";
import { discoverFrame, offerIn } from "./dhcp.ts";
import type { StaleNeighbour, WireObservation } from "./diagnosis.ts";
import { answerIn, echoFrame, probeFrames, questionFrame, routerQuestion } from "./probe.ts";

/** A VLAN as it is to be examined. */
export interface ExaminedWire {
  /** 0: untagged */
  readonly vlan: number;
  readonly subnets: readonly { readonly name: string; readonly gateways: readonly Ip[] }[];
  readonly pods: readonly {
    readonly pod: string;
    readonly subnet: string;
    readonly mac: Mac;
    readonly addresses: readonly Ip[];
    /** What the pod's kernel takes for the MACs of its neighbours. */
    readonly neighbours: readonly { readonly address: Ip; readonly mac: Mac }[];
  }[];
}

export interface WireExaminationOptions {
  readonly wire: ExaminedWire;
  /** The NIC's: the wire knows it. */
  readonly nicMac: Mac;
  /** Puts frames onto the VLAN. */
  readonly transmit: (frames: readonly Uint8Array[]) => void;
  /** ms, monotonic */
  readonly now: () => number;
  readonly sleep: (milliseconds: number) => Promise<void>;
  /** 32 bits by which answers to this examination are told from others. */
  readonly transaction: number;
}

/** When questions are asked (ms from the first); those that were answered are not asked again. */
const askTimes: readonly number[] = [0, 400, 1000];
/**
 * When the last answer is waited for (ms from the first question). DHCP servers that look first whether an address is in use
 * offer it after 1 to 3 s; routers answer a solicitation within 3.5 s (RFC 4861, section 6.2.6).
 */
const patience = 4500;
/** Echoes go in groups of so many, so far apart (ms): answers pass a meter of 100 a second. */
const echoGroup = 20;
const echoPace = 250;

interface Gateway {
  readonly subnet: string;
  readonly address: Ip;
  mac?: Mac;
  roundTrip?: number;
  answersStrangers: boolean;
}

/** A MAC that no wire has seen: locally administered, and one for each NIC. */
export function strangerMac(nicMac: Mac): Mac {
  const [, , ...rest] = nicMac.split(":");
  return ["0e", "bf", ...rest].join(":");
}

export class WireExamination {
  readonly #options: WireExaminationOptions;
  readonly #gateways: Gateway[];
  readonly #stranger: Mac;
  readonly #asked = new Map<Ip, number>();
  readonly #duplicates = new Map<string, WireObservation["duplicates"][number]>();
  readonly #offers = new Map<string, WireObservation["offers"][number]>();
  readonly #routers = new Map<string, WireObservation["routers"][number]>();
  readonly #stale = new Map<string, StaleNeighbour>();

  constructor(options: WireExaminationOptions) {
    this.#options = options;
    this.#stranger = strangerMac(options.nicMac);
    this.#gateways = options.wire.subnets.flatMap(({ name, gateways }) =>
      gateways.map((address): Gateway => ({ subnet: name, address, answersStrangers: false })),
    );
  }

  /** MACs that questions are asked from. */
  get macs(): Mac[] {
    return [this.#options.nicMac, this.#stranger];
  }

  /** Asks everything and waits for the answers. */
  async run(): Promise<WireObservation> {
    const { transmit, nicMac, transaction, now, sleep, wire } = this.#options;
    const begun = now();
    const until = (time: number): Promise<void> => sleep(Math.max(0, begun + time - now()));
    for (const [round, time] of askTimes.entries()) {
      await until(time);
      this.#askGateways();
      transmit(wire.pods.flatMap((pod) => probeFrames(pod)));
      if (round < 2) transmit([discoverFrame(nicMac, transaction), routerQuestion(nicMac)]);
    }
    await until(askTimes.at(-1)! + 400);
    await this.#askEchoes();
    await until(patience);
    return this.#observation();
  }

  #askGateways(): void {
    const { transmit, nicMac, now } = this.#options;
    for (const { address, mac, answersStrangers } of this.#gateways) {
      if (mac === undefined) {
        this.#asked.set(address, now());
        transmit([questionFrame(nicMac, address)]);
      }
      if (!answersStrangers) transmit([questionFrame(this.#stranger, address)]);
    }
  }

  /** Where a gateway believes pods to be shows only in where it sends to. */
  async #askEchoes(): Promise<void> {
    const { transmit, sleep, wire } = this.#options;
    const frames = wire.pods.flatMap(({ subnet, mac, addresses }) =>
      addresses.flatMap((address) => {
        const family = ipFamily(address);
        const gateway = this.#gateways.find((each) => each.subnet === subnet && ipFamily(each.address) === family);
        if (gateway?.mac === undefined) return [];
        return [
          echoFrame({ from: { mac, address }, to: { mac: gateway.mac, address: gateway.address } }, this.#echoId),
        ];
      }),
    );
    for (let at = 0; at < frames.length; at += echoGroup) {
      if (at > 0) await sleep(echoPace);
      transmit(frames.slice(at, at + echoGroup));
    }
  }

  get #echoId(): number {
    return this.#options.transaction & 0xffff;
  }

  /** A frame of the VLAN that may be an answer. */
  hear(packet: Packet, frame: Uint8Array): void {
    const { nicMac, now, transaction } = this.#options;
    for (const gateway of this.#gateways) {
      const known = answerIn(packet, nicMac, gateway.address);
      if (known !== undefined && gateway.mac === undefined) {
        gateway.mac = known;
        gateway.roundTrip = now() - this.#asked.get(gateway.address)!;
      }
      if (answerIn(packet, this.#stranger, gateway.address) !== undefined) gateway.answersStrangers = true;
    }
    const offer = offerIn(packet, frame, transaction);
    if (offer !== undefined) this.#offers.set(`${offer.server} ${offer.mac}`, offer);
    if (packet.malformed) return;
    if (packet.ipProto === ipProtocol.icmpv6 && packet.icmpType === icmpv6Type.routerAdvertisement) {
      this.#routers.set(packet.ethSrc, { address: packet.ipSrc, mac: packet.ethSrc });
    }
    this.#hearEcho(packet);
  }

  #hearEcho(packet: Packet): void {
    const isReply =
      packet.ipVersion === 4
        ? packet.ipProto === ipProtocol.icmp && packet.icmpType === icmpType.echoReply
        : packet.ipProto === ipProtocol.icmpv6 && packet.icmpType === icmpv6Type.echoReply;
    if (!isReply || packet.icmpId !== this.#echoId) return;
    const pod = this.#options.wire.pods.find(({ addresses }) => addresses.includes(packet.ipDst));
    if (pod === undefined || packet.ethDst === pod.mac) return;
    this.#addStale({ holder: `gateway ${packet.ipSrc}`, address: packet.ipDst, mac: packet.ethDst, owner: pod.mac });
  }

  /** Somebody else speaks for an address of a pod. */
  conflict(pod: string, address: Ip, mac: Mac): void {
    this.#duplicates.set(`${address} ${mac}`, { pod, address, mac });
  }

  #addStale(stale: StaleNeighbour): void {
    this.#stale.set(`${stale.holder} ${stale.address}`, stale);
  }

  #observation(): WireObservation {
    const { vlan, subnets, pods } = this.#options.wire;
    for (const { pod, neighbours } of pods) {
      for (const { address, mac } of neighbours) {
        const owner = this.#gateways.find((each) => each.address === address)?.mac;
        if (owner !== undefined && owner !== mac) this.#addStale({ holder: `Pod ${pod}`, address, mac, owner });
      }
    }
    return {
      vlan,
      subnets: subnets.map(({ name }) => name),
      gateways: this.#gateways,
      duplicates: [...this.#duplicates.values()],
      offers: [...this.#offers.values()],
      routers: [...this.#routers.values()],
      stale: [...this.#stale.values()],
    };
  }
}

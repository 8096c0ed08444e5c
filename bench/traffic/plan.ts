/**
 * What the generator sends and when. A plan is pure arithmetic: packet number to flow, to address, to due time.
 */

/** Which address changes from flow to flow, and within which prefix. */
export interface Variation {
  readonly field: "source" | "destination";
  /** First address of the prefix, unsigned 32 bits. */
  readonly base: number;
  /** Bits that may vary, 1 to 24. Flow numbers wrap at 2^bits. */
  readonly bits: number;
  /** Number of the first flow, so that two runs on one switch share no flow. */
  readonly first: number;
  /** Scattered addresses look random to the switch (no prefix covers neighbours in time), and never repeat early. */
  readonly scatter: boolean;
}

/** A run of the generator. */
export interface TrafficPlan {
  /** New flows per second, for as long as there are new flows. */
  readonly flowsPerSecond: number;
  readonly flows: number;
  readonly packetsPerFlow: number;
  /** Seconds between two packets of one flow. */
  readonly gap: number;
  readonly variation: Variation;
}

/** One packet of a plan. `due` is in seconds after the start. */
export interface PlannedPacket {
  flow: number;
  index: number;
  due: number;
}

/** Every packet opens a flow: `rate` flows a second for `seconds`. */
export function newFlows(rate: number, seconds: number, variation: Variation): TrafficPlan {
  return { flowsPerSecond: rate, flows: Math.max(1, Math.round(rate * seconds)), packetsPerFlow: 1, gap: 0, variation };
}

/** `flows` flows opened at `rate` per second, then each kept alive by a packet every `flows / rate` seconds. */
export function liveFlows(flows: number, rate: number, seconds: number, variation: Variation): TrafficPlan {
  const packetsPerFlow = Math.max(1, Math.ceil((seconds * rate) / flows));
  return { flowsPerSecond: rate, flows, packetsPerFlow, gap: flows / rate, variation };
}

/**
 * `flows` flows opened at `rate` per second, each with a second packet two seconds later: a controller that spends
 * entries only on flows that come back has an entry for every one of them afterwards.
 */
export function returningFlows(flows: number, rate: number, variation: Variation): TrafficPlan {
  return { flowsPerSecond: rate, flows, packetsPerFlow: 2, gap: 2, variation };
}

/** Number of packets in a plan. */
export function packetCount(plan: TrafficPlan): number {
  return plan.flows * plan.packetsPerFlow;
}

/** Seconds from the first packet to the last. */
export function planSeconds(plan: TrafficPlan): number {
  return (plan.flows - 1) / plan.flowsPerSecond + (plan.packetsPerFlow - 1) * plan.gap;
}

/** The varied address of a flow. */
export function flowAddress(variation: Variation, flow: number): number {
  const mask = 2 ** variation.bits - 1;
  let host = (variation.first + flow) & mask;
  // Multiplying by an odd number permutes the residues of a power of two.
  if (variation.scatter) host = Math.imul(host, 0x9e3779b1) & mask;
  return (variation.base + host) >>> 0;
}

/** Yields the packets of a plan in order of their due time. The yielded object is reused. */
export function* schedule(plan: TrafficPlan): Generator<Readonly<PlannedPacket>, void, void> {
  const packet: PlannedPacket = { flow: 0, index: 0, due: 0 };
  // next[i] is the flow whose packet number i comes next; stream i starts `gap * i` after stream 0.
  const next: number[] = [0];
  let oldest = 0;
  for (;;) {
    let chosen = -1;
    let due = Number.POSITIVE_INFINITY;
    for (let index = oldest; index < next.length; index++) {
      const candidate = next[index]! / plan.flowsPerSecond + index * plan.gap;
      // A flow's packets keep their order even when the gap is zero.
      if (candidate < due) {
        chosen = index;
        due = candidate;
      }
    }
    if (chosen < 0) return;
    packet.flow = next[chosen]!;
    packet.index = chosen;
    packet.due = due;
    next[chosen] = packet.flow + 1;
    if (chosen === next.length - 1 && next.length < plan.packetsPerFlow) next.push(0);
    while (oldest < next.length && next[oldest]! >= plan.flows) oldest += 1;
    yield packet;
  }
}

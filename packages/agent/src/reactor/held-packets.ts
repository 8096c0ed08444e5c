/** Packets that wait for a fact, by the address that they wait for: bounded per port and in time. */
import type { Question } from "@beyondfabric/datapath";
import type { Ip } from "@beyondfabric/packet";

export interface HeldPacket {
  /** The packet-in whose continuation will be resumed. */
  readonly frame: Buffer;
  readonly question: Question;
  readonly port: number;
  /** When the packet arrived (ms). */
  readonly since: number;
}

export class HeldPackets {
  readonly #perPort: number;
  readonly #milliseconds: number;
  readonly #byAddress = new Map<Ip, HeldPacket[]>();
  readonly #portCounts = new Map<number, number>();
  #size = 0;

  constructor(perPort: number, milliseconds: number) {
    this.#perPort = perPort;
    this.#milliseconds = milliseconds;
  }

  get size(): number {
    return this.#size;
  }

  /** False when the port holds as many packets as it may: the packet is dropped. */
  add(waitingFor: Ip, packet: HeldPacket): boolean {
    const count = this.#portCounts.get(packet.port) ?? 0;
    if (count >= this.#perPort) return false;
    this.#portCounts.set(packet.port, count + 1);
    const queue = this.#byAddress.get(waitingFor);
    if (queue === undefined) this.#byAddress.set(waitingFor, [packet]);
    else queue.push(packet);
    this.#size++;
    return true;
  }

  /** Takes out, oldest first per address, what waited for these addresses. */
  take(addresses: readonly Ip[]): HeldPacket[] {
    const taken: HeldPacket[] = [];
    for (const address of addresses) {
      const queue = this.#byAddress.get(address);
      if (queue === undefined) continue;
      this.#byAddress.delete(address);
      taken.push(...queue);
    }
    for (const packet of taken) this.#forget(packet);
    return taken;
  }

  takeAll(): HeldPacket[] {
    return this.take([...this.#byAddress.keys()]);
  }

  /** Drops what waited longer than it may; says for which addresses nobody came. */
  expire(now: number): { address: Ip; packets: number }[] {
    const expired: { address: Ip; packets: number }[] = [];
    for (const [address, queue] of this.#byAddress) {
      const late = queue.filter((packet) => now - packet.since >= this.#milliseconds);
      if (late.length === 0) continue;
      for (const packet of late) this.#forget(packet);
      expired.push({ address, packets: late.length });
      if (late.length === queue.length) this.#byAddress.delete(address);
      else this.#byAddress.set(address, queue.slice(late.length));
    }
    return expired;
  }

  /** Drops everything; returns how many packets that were. */
  clear(): number {
    const lost = this.#size;
    this.#byAddress.clear();
    this.#portCounts.clear();
    this.#size = 0;
    return lost;
  }

  #forget(packet: HeldPacket): void {
    this.#size--;
    const count = (this.#portCounts.get(packet.port) ?? 1) - 1;
    if (count === 0) this.#portCounts.delete(packet.port);
    else this.#portCounts.set(packet.port, count);
  }
}

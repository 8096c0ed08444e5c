/**
 * Packets that wait for a fact, by what they wait for (an address, or the way into a tunnel): bounded per port and in
 * time.
 */
import type { Question } from "@beyondfabric/datapath";

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
  readonly #waiting = new Map<string, HeldPacket[]>();
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
  add(waitingFor: string, packet: HeldPacket): boolean {
    const count = this.#portCounts.get(packet.port) ?? 0;
    if (count >= this.#perPort) return false;
    this.#portCounts.set(packet.port, count + 1);
    const queue = this.#waiting.get(waitingFor);
    if (queue === undefined) this.#waiting.set(waitingFor, [packet]);
    else queue.push(packet);
    this.#size++;
    return true;
  }

  /** Takes out, oldest first, what waited for these. */
  take(awaited: readonly string[]): HeldPacket[] {
    const taken: HeldPacket[] = [];
    for (const waitingFor of awaited) {
      const queue = this.#waiting.get(waitingFor);
      if (queue === undefined) continue;
      this.#waiting.delete(waitingFor);
      taken.push(...queue);
    }
    for (const packet of taken) this.#forget(packet);
    return taken;
  }

  takeAll(): HeldPacket[] {
    return this.take([...this.#waiting.keys()]);
  }

  /** Drops what waited longer than it may; says what did not come. */
  expire(now: number): { waitingFor: string; packets: number }[] {
    const expired: { waitingFor: string; packets: number }[] = [];
    for (const [waitingFor, queue] of this.#waiting) {
      const late = queue.filter((packet) => now - packet.since >= this.#milliseconds);
      if (late.length === 0) continue;
      for (const packet of late) this.#forget(packet);
      expired.push({ waitingFor, packets: late.length });
      if (late.length === queue.length) this.#waiting.delete(waitingFor);
      else this.#waiting.set(waitingFor, queue.slice(late.length));
    }
    return expired;
  }

  /** Drops everything; returns how many packets that were. */
  clear(): number {
    const lost = this.#size;
    this.#waiting.clear();
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

/** Longest-prefix match over both families: a binary trie per family, a bit per level, without empty branches. */
import { cidrOf } from "./cidr.ts";
import type { Cidr } from "./cidr.ts";
import { ipFamily, ipToBytes } from "./ip.ts";
import type { Ip, IpFamily } from "./ip.ts";

interface Node<V> {
  zero: Node<V> | undefined;
  one: Node<V> | undefined;
  entry: PrefixEntry<V> | undefined;
}

/** A prefix of the map with its value. */
export interface PrefixEntry<V> {
  readonly cidr: Cidr;
  readonly value: V;
}

function bitAt(bytes: Uint8Array, base: number, bit: number): number {
  return (bytes[base + (bit >> 3)]! >> (7 - (bit & 7))) & 1;
}

/** A map from prefixes to values, asked by address. Every node of its tries leads to at least one entry. */
export class PrefixMap<V> {
  #roots: Record<IpFamily, Node<V> | undefined> = { 4: undefined, 6: undefined };
  #size = 0;

  get size(): number {
    return this.#size;
  }

  /** Adds or replaces the value of exactly this prefix. */
  set(cidr: Cidr, value: V): void {
    const bytes = ipToBytes(cidr.address);
    let node = (this.#roots[cidr.family] ??= { zero: undefined, one: undefined, entry: undefined });
    for (let bit = 0; bit < cidr.length; bit++) {
      if (bitAt(bytes, 0, bit) === 0) node = node.zero ??= { zero: undefined, one: undefined, entry: undefined };
      else node = node.one ??= { zero: undefined, one: undefined, entry: undefined };
    }
    if (node.entry === undefined) this.#size++;
    node.entry = { cidr, value };
  }

  /** The value of exactly this prefix. */
  get(cidr: Cidr): V | undefined {
    const bytes = ipToBytes(cidr.address);
    let node = this.#roots[cidr.family];
    for (let bit = 0; bit < cidr.length && node !== undefined; bit++) {
      node = bitAt(bytes, 0, bit) === 0 ? node.zero : node.one;
    }
    return node?.entry?.value;
  }

  /** Removes exactly this prefix; says whether it was there. */
  delete(cidr: Cidr): boolean {
    const bytes = ipToBytes(cidr.address);
    const path: Node<V>[] = [];
    let node = this.#roots[cidr.family];
    for (let bit = 0; bit < cidr.length && node !== undefined; bit++) {
      path.push(node);
      node = bitAt(bytes, 0, bit) === 0 ? node.zero : node.one;
    }
    if (node?.entry === undefined) return false;
    node.entry = undefined;
    this.#size--;
    let child = node;
    for (let bit = path.length - 1; bit >= 0 && isEmpty(child); bit--) {
      const parent = path[bit]!;
      if (bitAt(bytes, 0, bit) === 0) parent.zero = undefined;
      else parent.one = undefined;
      child = parent;
    }
    const root = this.#roots[cidr.family];
    if (root !== undefined && isEmpty(root)) this.#roots[cidr.family] = undefined;
    return true;
  }

  /** The longest prefix that contains the address, with its value. */
  lookup(ip: Ip): PrefixEntry<V> | undefined {
    const bytes = ipToBytes(ip);
    return this.lookupBytes(bytes, 0, bytes.length === 4 ? 4 : 6);
  }

  /** As {@link lookup}, for an address as it lies in a packet: the caller guarantees that its bytes are there. */
  lookupBytes(bytes: Uint8Array, offset: number, family: IpFamily): PrefixEntry<V> | undefined {
    const bits = family === 4 ? 32 : 128;
    let node = this.#roots[family];
    let best: PrefixEntry<V> | undefined;
    for (let bit = 0; node !== undefined; bit++) {
      if (node.entry !== undefined) best = node.entry;
      if (bit === bits) break;
      node = bitAt(bytes, offset, bit) === 0 ? node.zero : node.one;
    }
    return best;
  }

  /** All entries, IPv4 first, each family in the order of addresses, shorter prefixes before those inside them. */
  *entries(): IterableIterator<PrefixEntry<V>> {
    for (const family of [4, 6] as const) {
      const root = this.#roots[family];
      const stack = root === undefined ? [] : [root];
      for (let node = stack.pop(); node !== undefined; node = stack.pop()) {
        if (node.entry !== undefined) yield node.entry;
        if (node.one !== undefined) stack.push(node.one);
        if (node.zero !== undefined) stack.push(node.zero);
      }
    }
  }

  /**
   * The shortest prefix that contains the address and overlaps no entry: the widest mask under which "matches nothing
   * here" is still true. Undefined when an entry contains the address.
   */
  widestDisjoint(ip: Ip): Cidr | undefined {
    const bytes = ipToBytes(ip);
    let node = this.#roots[ipFamily(ip)];
    let length = 0;
    while (node !== undefined) {
      if (node.entry !== undefined || length === bytes.length * 8) return undefined;
      node = bitAt(bytes, 0, length) === 0 ? node.zero : node.one;
      length++;
    }
    return cidrOf(ip, length);
  }
}

function isEmpty<V>(node: Node<V>): boolean {
  return node.entry === undefined && node.zero === undefined && node.one === undefined;
}

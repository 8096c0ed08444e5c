/** Subnets and an API server's compare-and-swap for the tests of addresses. */
import assert from "node:assert/strict";
import { parseAddressBlock, parseSubnet } from "@beyondfabric/kube/kinds";
import type { AddressBlock, Subnet } from "@beyondfabric/kube/kinds";
import type { Cidr } from "@beyondfabric/packet";
import type { BlockStore } from "../../src/ipam/blocks.ts";

export function subnet(spec: Record<string, unknown>, name = "default"): Subnet {
  const parsed = parseSubnet({ metadata: { name }, spec: { network: "overlay", ...spec } });
  return parsed.ok ? parsed.value : assert.fail(JSON.stringify(parsed.violations));
}

/** What matters of the API server here: names are unique, deletion is conditional, answers take a turn of the loop. */
export class Blocks implements BlockStore {
  readonly stored = new Map<string, AddressBlock>();
  creations = 0;
  #serial = 0;

  async create(manifest: Parameters<BlockStore["create"]>[0]): Promise<AddressBlock | undefined> {
    this.creations++;
    await new Promise(setImmediate);
    const { name } = manifest.metadata;
    if (this.stored.has(name)) return undefined;
    const serial = String(++this.#serial);
    const parsed = parseAddressBlock({
      ...manifest,
      metadata: { name, uid: `block-${serial}`, resourceVersion: serial },
    });
    if (!parsed.ok) assert.fail(JSON.stringify(parsed.violations));
    this.stored.set(name, parsed.value);
    return parsed.value;
  }

  async get(name: string): Promise<AddressBlock | undefined> {
    await new Promise(setImmediate);
    return this.stored.get(name);
  }

  async existing(names: readonly string[]): Promise<AddressBlock[]> {
    const found = await Promise.all(names.map((name) => this.get(name)));
    return found.filter((block) => block !== undefined);
  }

  async lend(block: AddressBlock, lent: readonly Cidr[]): Promise<AddressBlock | undefined> {
    await new Promise(setImmediate);
    const stored = this.stored.get(block.name);
    if (stored?.uid !== block.uid || stored.resourceVersion !== block.resourceVersion) return undefined;
    const changed = { ...stored, lent, resourceVersion: String(++this.#serial) };
    this.stored.set(block.name, changed);
    return changed;
  }

  async delete(block: AddressBlock): Promise<boolean> {
    await new Promise(setImmediate);
    const { uid, resourceVersion } = this.stored.get(block.name) ?? {};
    if (uid !== block.uid || resourceVersion !== block.resourceVersion) return false;
    return this.stored.delete(block.name);
  }
}

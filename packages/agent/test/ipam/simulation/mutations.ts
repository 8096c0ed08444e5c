/**
 * Ways to spoil what the agents rely on, each of which breaks a promise: the proof that the simulation would notice. They
 * sit at the interfaces of the code under test, so that the code itself stays as it is.
 */
import type { Surroundings } from "./agent.ts";

export interface Mutation {
  readonly name: string;
  /** A seed that notices. */
  readonly seed: number;
  readonly spoil: (surroundings: Surroundings) => Surroundings;
}

export const mutations: readonly Mutation[] = [
  {
    name: "a claimant does not look for blocks after it wrote its claim",
    seed: 1,
    spoil: (each) => ({ ...each, reads: { ...each.reads, blocksAround: async () => [] } }),
  },
  {
    name: "a block's owner does not remember what it granted",
    seed: 40,
    spoil: (each) => ({
      ...each,
      remember: (machine, memory) => each.remember(machine, { ...memory, reserved: [] }),
    }),
  },
  {
    name: "a block is used without looking for claims inside",
    seed: 25,
    spoil: (each) => ({ ...each, addresses: { ...each.addresses, listInside: async () => [] } }),
  },
  {
    name: "a block is used without looking for blocks around and inside",
    seed: 1877,
    spoil: (each) => ({ ...each, blocks: { ...each.blocks, existing: async () => [] } }),
  },
  {
    name: "a part is lent without remembering it",
    seed: 100,
    spoil: (each) => ({
      ...each,
      remember: (machine, memory) =>
        each.remember(machine, { ...memory, blocks: memory.blocks.map((block) => ({ ...block, lent: [] })) }),
    }),
  },
  {
    name: "a block that is given back is still remembered",
    seed: 1,
    spoil: (each) => ({
      ...each,
      remember: (machine, memory) => {
        const isKnown = (cidr: string): boolean => memory.blocks.some((block) => block.cidr.address === cidr);
        const before = machine.memory?.nodeUid === memory.nodeUid ? machine.memory.blocks : [];
        const given = before.filter(({ cidr }) => !isKnown(cidr.address));
        each.remember(machine, { ...memory, blocks: [...memory.blocks, ...given] });
      },
    }),
  },
  {
    name: "a swap does not ask for the version that was judged",
    seed: 375,
    spoil: (each) => ({
      ...each,
      addresses: {
        ...each.addresses,
        update: async (record) => {
          const stored = await each.addresses.get(record.address);
          return (
            stored && each.addresses.update({ ...record, uid: stored.uid, resourceVersion: stored.resourceVersion })
          );
        },
      },
    }),
  },
  {
    name: "what is deleted may have become another's in the meantime",
    seed: 500,
    spoil: (each) => ({
      ...each,
      addresses: {
        ...each.addresses,
        delete: async (record) => {
          const stored = await each.addresses.get(record.address);
          return stored !== undefined && each.addresses.delete(stored);
        },
      },
      blocks: {
        ...each.blocks,
        delete: async (block) => {
          const stored = await each.blocks.get(block.name);
          return stored !== undefined && each.blocks.delete(stored);
        },
      },
    }),
  },
  {
    name: "every other pod is believed to be gone without asking",
    seed: 1,
    spoil: (each) => {
      let asked = 0;
      const podUid: typeof each.reads.podUid = async (...about) =>
        asked++ % 2 === 0 ? undefined : each.reads.podUid(...about);
      return { ...each, reads: { ...each.reads, podUid } };
    },
  },
  {
    name: "pods of a node that was removed are believed to be gone",
    seed: 448,
    spoil: (each) => ({ ...each, reads: { ...each.reads, podsOn: async () => [] } }),
  },
  {
    name: "an owner is believed to be gone without asking",
    seed: 307,
    spoil: (each) => ({
      ...each,
      reads: { ...each.reads, ownerState: async () => ({ exists: false, uid: "" }) },
    }),
  },
  {
    name: "a slot does not look for the address that is kept for it",
    seed: 13,
    spoil: (each) => ({ ...each, addresses: { ...each.addresses, listOwner: async () => [] } }),
  },
];

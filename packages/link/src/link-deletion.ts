/**
 * Deleting interfaces. The kernel waits some 18 ms, holding its configuration lock, until nobody looks at an interface that
 * goes; for several that go together it waits once. So those whose turn comes while an earlier deletion runs are put into a
 * group and deleted as that group.
 */
import type { NetlinkSocket, Reply } from "./netlink-socket.ts";
import { deleteGroup, deleteLink, setGroup } from "./rtnetlink.ts";

interface Waiting {
  readonly of: string | number;
  readonly resolve: (reply: Reply) => void;
  readonly reject: (error: unknown) => void;
}

const MAX_TOGETHER = 256;
/** Far from the group 0 that every interface is born in, and from small numbers that people choose. */
const FIRST_GROUP = 0x62660000;

/** A queue of deletions over a socket of its own. */
export class LinkDeletions {
  readonly #socket: NetlinkSocket;
  readonly #waiting: Waiting[] = [];
  #running: Promise<void> | undefined;
  #groups = 0;

  constructor(socket: NetlinkSocket) {
    this.#socket = socket;
  }

  /** Deletes an interface and gives the kernel's answer. */
  delete(of: string | number): Promise<Reply> {
    // Names are checked here, for one that is wrong to fail alone.
    const alone = deleteLink(of);
    return new Promise((resolve, reject) => {
      this.#waiting.push({ of, resolve, reject });
      this.#running ??= this.#run(alone);
    });
  }

  /** Settles when everything asked so far has been answered. */
  async idle(): Promise<void> {
    await this.#running;
  }

  async #run(first: ReturnType<typeof deleteLink>): Promise<void> {
    let ready: ReturnType<typeof deleteLink> | undefined = first;
    // What the same turn asks for belongs to the first batch.
    await Promise.resolve();
    while (this.#waiting.length > 0) {
      const batch = this.#waiting.splice(0, MAX_TOGETHER);
      try {
        if (batch.length === 1) batch[0]!.resolve(await this.#socket.request(ready ?? deleteLink(batch[0]!.of)));
        else await this.#together(batch);
      } catch (error) {
        for (const { reject } of batch) reject(error);
      }
      ready = undefined;
    }
    this.#running = undefined;
  }

  async #together(batch: readonly Waiting[]): Promise<void> {
    this.#groups = (this.#groups + 1) & 0xffff;
    const group = FIRST_GROUP | this.#groups;
    const marked = await Promise.all(batch.map(({ of }) => this.#socket.request(setGroup(of, group))));
    const members = batch.filter(({ resolve }, index) => {
      const reply = marked[index]!;
      if (reply.acknowledgement.errno === 0) return true;
      resolve(reply);
      return false;
    });
    if (members.length === 0) return;
    const reply = await this.#socket.request(deleteGroup(group));
    if (reply.acknowledgement.errno === 0) {
      for (const { resolve } of members) resolve(reply);
      return;
    }
    // One that cannot be deleted (a physical NIC) keeps the whole group alive: each gets its own answer.
    for (const { of, resolve } of members) {
      const alone = await this.#socket.request(deleteLink(of));
      if (alone.acknowledgement.errno !== 0) await this.#socket.request(setGroup(of, 0));
      resolve(alone);
    }
  }
}

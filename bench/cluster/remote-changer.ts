/** The bench's end of a {@link file://./changer.ts} program. */
import type { Running, Site } from "../environment/site.ts";
import { Dialogue } from "../traffic/dialogue.ts";
import type { Change, Changed } from "./changer.ts";

export class Changer {
  readonly #site: Site;
  readonly #child: Running;
  readonly #dialogue: Dialogue;

  private constructor(site: Site, child: Running, dialogue: Dialogue) {
    this.#site = site;
    this.#child = child;
    this.#dialogue = dialogue;
  }

  static async over(site: Site, child: Running): Promise<Changer> {
    const dialogue = await Dialogue.begin(child, "the changer of objects");
    return new Changer(site, child, dialogue);
  }

  /** Changes one object. Throws when the API server refuses it. */
  async change(change: Change): Promise<Changed> {
    const changed = (await this.#dialogue.ask(change)) as Changed;
    if (changed.status >= 300) throw new Error(`PATCH ${change.path}: ${changed.status}`);
    return changed;
  }

  stop(): Promise<void> {
    return this.#site.stop(this.#child);
  }
}

/** Pods that answer on the ports of the public model and try addresses when told to: `test/conformance/peer.ts` in them. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { probe, type Probe } from "../conformance/peer.ts";

const program = join(import.meta.dirname, "../conformance/peer.ts");

export class Peers {
  /** Where each pod takes its orders. */
  readonly #directory = mkdtempSync(join(tmpdir(), "fabric-peers-"));

  /** What a pod of this name runs. */
  command(pod: string): string[] {
    return [process.execPath, "--disable-warning=ExperimentalWarning", program, this.#ordersOf(pod)];
  }

  /** The same as a line for a shell. */
  line(pod: string): string {
    return this.command(pod).join(" ");
  }

  /** Which addresses answer a pod within so many milliseconds. */
  probe(pod: string, probes: readonly Probe[], milliseconds = 1000): Promise<boolean[]> {
    return probe(this.#ordersOf(pod), { probes, milliseconds });
  }

  remove(): void {
    rmSync(this.#directory, { recursive: true, force: true });
  }

  #ordersOf(pod: string): string {
    return join(this.#directory, pod.replace("/", "-"));
  }
}

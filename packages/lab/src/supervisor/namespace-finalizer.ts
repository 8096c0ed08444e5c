import { messageOf } from "../errors.ts";
import type { ObjectMeta } from "../kubelet/pod-model.ts";
import type { LabApi, Watch } from "../lab-api.ts";
import { sleep } from "../process/run.ts";
import { namespaceResource } from "@beyondfabric/kube";

interface Namespace {
  readonly metadata: ObjectMeta;
  readonly spec?: { readonly finalizers?: readonly string[] };
}

const RETRY_MS = 250;

/**
 * Empties namespaces that are being deleted and lets them go. A real API server leaves this to the controller manager, of which a lab needs
 * nothing else; the embedded one does it by itself.
 */
export class NamespaceFinalizer {
  readonly #api: LabApi;
  readonly #log: (message: string) => void;
  readonly #abort = new AbortController();
  readonly #busy = new Set<string>();
  #watch: Watch | undefined;

  constructor(api: LabApi, log: (message: string) => void) {
    this.#api = api;
    this.#log = log;
  }

  start(): void {
    this.#watch = this.#api.watch<Namespace>(
      namespaceResource,
      {},
      {
        changed: (namespace) => {
          const { name, deletionTimestamp } = namespace.metadata;
          if (
            deletionTimestamp === undefined ||
            (namespace.spec?.finalizers ?? []).length === 0 ||
            this.#busy.has(name)
          )
            return;
          this.#busy.add(name);
          void this.#empty(name).finally(() => this.#busy.delete(name));
        },
        deleted: () => undefined,
      },
    );
  }

  async stop(): Promise<void> {
    this.#abort.abort();
    await this.#watch?.stop();
  }

  async #empty(name: string): Promise<void> {
    const { signal } = this.#abort;
    while (!signal.aborted) {
      try {
        const kinds = (await this.#api.namespacedKinds()).filter((kind) => !kind.startsWith("events"));
        await this.#api.empty(name, kinds);
        await this.#api.finalizeNamespace(name);
        return;
      } catch (error) {
        this.#log(`namespace ${name}: ${messageOf(error)}`);
      }
      await sleep(RETRY_MS, signal);
    }
  }
}

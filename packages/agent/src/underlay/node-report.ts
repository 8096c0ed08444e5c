/**
 * What the Node object says about the physical networks of this node: a label for selectors, `network.beyondfabric.io/NAME`
 * with the state as its value, and a condition of the same name for people. Written when it changes.
 */
import { type KubeClient, nodeResource } from "@beyondfabric/kube";
import type { NetworkState } from "./placement.ts";

export const networkLabelPrefix = "network.beyondfabric.io/";

/** Names of labels end after so many characters behind the prefix. */
const longestName = 63;

const reasons = { ready: "Ready", down: "LinkDown", refused: "InterfaceRefused", missing: "InterfaceMissing" } as const;

export class NodeReport {
  readonly #client: Pick<KubeClient, "patch">;
  readonly #node: string;
  #written = new Map<string, string>();

  constructor(client: Pick<KubeClient, "patch">, node: string) {
    this.#client = client;
    this.#node = node;
  }

  /**
   * Writes what differs from what was written, and takes away what no network stands behind.
   * @param labelled names of networks that the Node's labels speak of, from this agent or one before it
   */
  async write(states: ReadonlyMap<string, NetworkState>, labelled: Iterable<string>, now: Date): Promise<void> {
    const gone = [...new Set([...labelled, ...this.#written.keys()])].filter((name) => !states.has(name));
    const changed = [...states].filter(([name, state]) => this.#written.get(name) !== textOf(state));
    if (gone.length === 0 && changed.length === 0) return;
    const labels = {
      ...Object.fromEntries(gone.map((name) => [networkLabelPrefix + name, null])),
      ...Object.fromEntries(
        changed
          .filter(([name]) => name.length <= longestName)
          .map(([name, { state }]) => [networkLabelPrefix + name, state]),
      ),
    };
    await this.#client.patch(nodeResource, this.#node, { metadata: { labels } });
    const time = now.toISOString().replace(/\.\d+Z$/, "Z");
    const conditions = [
      ...gone.map((name) => ({ $patch: "delete", type: networkLabelPrefix + name })),
      ...changed.map(([name, state]) => ({
        type: networkLabelPrefix + name,
        status: state.state === "ready" ? "True" : "False",
        reason: reasons[state.state],
        message: state.state === "ready" ? `pods of Network ${name} can run here` : state.message,
        lastHeartbeatTime: time,
        lastTransitionTime: time,
      })),
    ];
    await this.#client.patch(
      nodeResource,
      this.#node,
      { status: { conditions } },
      { kind: "strategic", subresource: "status" },
    );
    this.#written = new Map([...states].map(([name, state]) => [name, textOf(state)]));
  }
}

function textOf(state: NetworkState): string {
  return state.state === "ready" ? state.state : `${state.state} ${state.message}`;
}

import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { KubeApiError, KubeError, type KubeClient } from "@beyondfabric/kube";
import { PodLookup } from "../../src/directory/pod-lookup.ts";

const pod = {
  metadata: { namespace: "shop", name: "web", uid: "web-1" },
  spec: { nodeName: "node-1", containers: [] },
  status: {},
};
const reference = { namespace: "shop", name: "web", uid: "web-1" };

/** A lookup whose watch shows nothing, of an agent that lives by Node `n-1`. @param node UID of the Node in the API */
function lookup(node: string | undefined, seen?: object): PodLookup {
  const objects: Record<string, unknown> = {
    "pods web": pod,
    "namespaces shop": { metadata: { name: "shop" } },
    ...(node === undefined ? {} : { "nodes node-1": { metadata: { name: "node-1", uid: node } } }),
  };
  const get = async ({ plural }: { plural: string }, name: string): Promise<unknown> => {
    const found = objects[`${plural} ${name}`];
    if (found !== undefined) return found;
    throw new KubeApiError(`GET ${plural}`, 404, "NotFound", "not found");
  };
  return new PodLookup({
    client: { get } as unknown as KubeClient,
    node: "node-1",
    nodeUid: () => "n-1",
    watched: { ownPod: () => seen as never, namespaceNamed: () => undefined, isInformed: () => true },
  });
}

describe("what the API says of a pod that starts", () => {
  it("is read where the watch does not show it", async () => {
    assert.equal((await lookup("n-1").find(reference)).state, "known");
    assert.equal((await lookup("n-1").find({ ...reference, uid: "web-2" })).state, "absent");
  });

  it("counts for nothing when the node's own object is another, or gone: the agent is late", async () => {
    assert.equal((await lookup("n-2").find(reference)).state, "displaced");
    assert.equal((await lookup(undefined).find(reference)).state, "displaced");
  });

  it("is taken from the watch, which tells of Nodes too, without a question", async () => {
    assert.equal((await lookup("n-2", { ...reference }).find(reference)).state, "known");
  });

  describe("from an API server that fails", () => {
    const late = new KubeError("KUBE_TIMEOUT", "GET pods: no answer within 5000 ms");
    const overloaded = new KubeApiError("GET pods", 429, "TooManyRequests", "try again");
    const away = new KubeError("KUBE_UNREACHABLE", "GET pods: connect ECONNREFUSED");

    /** The state of the answer, and how often was asked, when the first questions fail so. */
    async function ask(failures: readonly Error[], informed: boolean): Promise<[string, number]> {
      let asked = 0;
      const get = async ({ plural }: { plural: string }): Promise<unknown> => {
        if (plural !== "pods") return { metadata: { name: "shop", uid: "n-1" } };
        const failure = failures[asked++];
        if (failure !== undefined) throw failure;
        return pod;
      };
      const { state } = await new PodLookup({
        client: { get } as unknown as KubeClient,
        node: "node-1",
        nodeUid: () => "n-1",
        watched: { ownPod: () => undefined, namespaceNamed: () => undefined, isInformed: () => informed },
        patienceMilliseconds: 1200,
      }).find(reference);
      return [state, asked];
    }

    it("is waited for while it is only slow", async () => {
      assert.deepEqual(await ask([late, overloaded], false), ["known", 3]);
    });

    it("is not made up: a pod is unknown only when the watches are down too", async () => {
      const forever = Array.from({ length: 10 }, () => late);
      assert.equal((await ask(forever, true))[0], "busy");
      assert.equal((await ask(forever, false))[0], "unreachable");
    });

    it("is not waited for where nothing listens", async () => {
      assert.deepEqual(await ask([away], true), ["unreachable", 1]);
    });
  });
});

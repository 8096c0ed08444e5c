import assert from "node:assert/strict";
import { afterEach, beforeEach, describe, it } from "node:test";
import { EventRecorder, KubeClient, type EventTarget } from "../src/index.ts";
import { ScriptedServer, type Received } from "./scripted-server.ts";

const pod: EventTarget = { apiVersion: "v1", kind: "Pod", name: "web-0", namespace: "shop", uid: "uid-1" };
const network: EventTarget = { apiVersion: "beyondfabric.io/v1alpha1", kind: "Network", name: "overlay" };

interface SentEvent {
  readonly metadata: { readonly name: string; readonly namespace: string };
  readonly involvedObject: EventTarget;
  readonly count: number;
  readonly message: string;
  readonly type: string;
  readonly firstTimestamp: string;
}

describe("EventRecorder", () => {
  let server: ScriptedServer;
  let client: KubeClient;
  let errors: unknown[];
  /** How the server answers a request: 201, or a refusal. */
  let refusal: (request: Received) => [code: number, reason: string] | undefined;
  /** Requests that wait for {@link release}; undefined while nothing is held back. */
  let held: (() => void)[] | undefined;

  beforeEach(async () => {
    server = new ScriptedServer();
    errors = [];
    refusal = () => undefined;
    held = undefined;
    server.intercept = (request, response) => {
      const refused = refusal(request);
      const answer = (): void => {
        if (refused === undefined) server.json(response, JSON.parse(request.body));
        else server.refuse(response, ...refused);
      };
      if (held === undefined) answer();
      else held.push(answer);
      return true;
    };
    await server.start();
    client = new KubeClient({ server: server.url, insecure: false, credentials: () => Promise.resolve({}) });
  });

  afterEach(async () => {
    await client.close();
    await server.stop();
  });

  const recorder = (interval: number): EventRecorder => {
    // A request that the end of a test cuts off is reported while the next test runs, and is none of its errors.
    const reported = errors;
    return new EventRecorder({
      client,
      component: "fabric-node",
      node: "node-1",
      onError: (error) => reported.push(error),
      interval,
    });
  };

  const body = (at: number): SentEvent => JSON.parse(server.received[at]!.body) as SentEvent;
  const requests = (): string[] => server.received.map(({ method, path }) => `${method} ${path}`);

  async function until(what: string, condition: () => boolean): Promise<void> {
    const deadline = Date.now() + 10_000;
    while (!condition()) {
      if (Date.now() > deadline)
        assert.fail(`in vain: ${what}; requests ${requests().join(", ")}; ${errors.join(", ")}`);
      await new Promise((resolve) => {
        setTimeout(resolve, 5);
      });
    }
  }

  /** Records until the recorder, whose interval is short, has sent one more request. */
  async function recordUntilSent(events: EventRecorder, target: EventTarget, message: string): Promise<void> {
    const before = server.received.length;
    await until("another request", () => {
      events.record(target, "Warning", "Flood", message);
      return server.received.length > before;
    });
  }

  it("posts what happened, on whom, and who says so", async () => {
    recorder(60_000).record(pod, "Warning", "NoAddress", "every block is full");
    await until("one request", () => server.received.length === 1);
    assert.deepEqual(requests(), ["POST /api/v1/namespaces/shop/events"]);
    const { metadata, firstTimestamp, ...rest } = body(0) as SentEvent & { lastTimestamp: string };
    assert.match(metadata.name, /^web-0\.[0-9a-f]+$/);
    assert.equal(metadata.namespace, "shop");
    assert.match(firstTimestamp, /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$/, "metav1.Time has no fractions");
    assert.deepEqual(rest, {
      apiVersion: "v1",
      kind: "Event",
      involvedObject: pod,
      type: "Warning",
      reason: "NoAddress",
      message: "every block is full",
      source: { component: "fabric-node", host: "node-1" },
      reportingComponent: "fabric-node",
      reportingInstance: "node-1",
      lastTimestamp: rest.lastTimestamp,
      count: 1,
    });
  });

  it("puts those about cluster-scoped objects into the namespace default", async () => {
    recorder(60_000).record(network, "Normal", "Accepted", "in use");
    await until("one request", () => server.received.length === 1);
    assert.deepEqual(requests(), ["POST /api/v1/namespaces/default/events"]);
    assert.equal(body(0).involvedObject.namespace, undefined);
  });

  it("counts repetitions and sends the count with the newest message", async () => {
    const events = recorder(20);
    events.record(pod, "Warning", "Flood", "first");
    await until("one request", () => server.received.length === 1);
    for (let repeated = 0; repeated < 100; repeated++) events.record(pod, "Warning", "Flood", "more");
    await recordUntilSent(events, pod, "newest");
    const { method, path } = server.received[1]!;
    assert.equal(`${method} ${path}`, `PATCH /api/v1/namespaces/shop/events/${body(0).metadata.name}`);
    assert.ok(body(1).count > 1 && body(1).count <= 1000, String(body(1).count));
    assert.match(body(1).message, /^(?:more|newest)$/);
    assert.deepEqual(errors, []);
  });

  it("sends nothing twice within the interval", async () => {
    const events = recorder(60_000);
    for (let repeated = 0; repeated < 1000; repeated++) events.record(pod, "Warning", "Flood", "again");
    events.record(pod, "Warning", "Other", "another reason");
    await until("two requests", () => server.received.length >= 2);
    await new Promise((resolve) => {
      setTimeout(resolve, 50);
    });
    assert.equal(server.received.length, 2);
  });

  it("sends what came too soon when the time is over, if nobody says it again", async () => {
    const events = recorder(100);
    events.record(pod, "Warning", "Conflict", "one machine has it");
    await until("one request", () => server.received.length === 1);
    events.record(pod, "Warning", "Conflict", "another has it as well");
    await until("another request", () => server.received.length === 2);
    assert.deepEqual(
      [server.received[1]!.method, body(1).message, body(1).count],
      ["PATCH", "another has it as well", 2],
    );
  });

  it("tells a pod from its successor of the same name", async () => {
    const events = recorder(60_000);
    events.record(pod, "Warning", "Flood", "the first");
    events.record({ ...pod, uid: "uid-2" }, "Warning", "Flood", "the second");
    await until("two requests", () => server.received.length === 2);
    const uids = [body(0), body(1)].map(({ involvedObject }) => involvedObject.uid);
    assert.deepEqual(new Set(uids), new Set(["uid-1", "uid-2"]));
  });

  it("creates anew what the API server has forgotten meanwhile", async () => {
    const events = recorder(20);
    events.record(pod, "Warning", "Flood", "first");
    await until("one request", () => server.received.length === 1);
    refusal = ({ method }) => (method === "PATCH" ? [404, "NotFound"] : undefined);
    await recordUntilSent(events, pod, "later");
    await until("created again", () => server.received.length >= 3);
    assert.deepEqual(
      server.received.slice(0, 3).map(({ method }) => method),
      ["POST", "PATCH", "POST"],
    );
    assert.ok(body(2).count > 1);
    assert.deepEqual(errors, []);
  });

  it("takes an Event that is there already for its own: the answer to it was lost", async () => {
    refusal = ({ method }) => (method === "POST" ? [409, "AlreadyExists"] : undefined);
    const events = recorder(20);
    events.record(pod, "Warning", "Flood", "first");
    await until("one request", () => server.received.length === 1);
    await recordUntilSent(events, pod, "later");
    assert.equal(server.received[1]!.method, "PATCH");
    assert.deepEqual(errors, []);
  });

  it("reports a refusal, throws nothing, and tries again with the next event", async () => {
    refusal = () => [403, "Forbidden"];
    const events = recorder(20);
    events.record(pod, "Warning", "Flood", "first");
    await until("a report", () => errors.length === 1);
    assert.equal((errors[0] as { status: number }).status, 403);
    refusal = () => undefined;
    const refused = server.received.length;
    await recordUntilSent(events, pod, "second");
    assert.equal(server.received[refused]!.method, "POST");
    assert.ok(body(refused).count >= 2);
  });

  it("keeps names and messages within what the API takes", async () => {
    recorder(60_000).record(
      { ...pod, name: `${"n".repeat(219)}-${"n".repeat(33)}` },
      "Normal",
      "Long",
      "m".repeat(5000),
    );
    await until("one request", () => server.received.length === 1);
    const { metadata, message, involvedObject } = body(0);
    assert.match(metadata.name, /^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$/);
    assert.ok(metadata.name.length <= 253);
    assert.equal(involvedObject.name.length, 253);
    assert.equal(message.length, 1024);
  });

  it("does not turn a flood about many objects into as many requests at once", async () => {
    held = [];
    const events = recorder(60_000);
    const targets = Array.from({ length: 3000 }, (_, at) => ({ ...pod, name: `pod-${at}`, uid: `uid-${at}` }));
    for (const target of targets) events.record(target, "Warning", "Flood", "all at once");
    const waiting = held;
    await until("some requests", () => waiting.length >= 4);
    held = undefined;
    for (const answer of waiting) answer();
    await until("all that were let through", () => server.received.length >= 16);
    await new Promise((resolve) => {
      setTimeout(resolve, 100);
    });
    assert.equal(server.received.length, 16);
    // Those that found no place are sent when they happen again.
    await until("the last one", () => {
      events.record(targets.at(-1)!, "Warning", "Flood", "again");
      return server.received.some((_, at) => body(at).involvedObject.name === "pod-2999");
    });
    assert.deepEqual(errors, []);
  });
});

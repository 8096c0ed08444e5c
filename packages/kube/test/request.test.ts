import assert from "node:assert/strict";
import { createServer } from "node:net";
import type { TLSSocket } from "node:tls";
import { after, afterEach, before, beforeEach, describe, it } from "node:test";
import {
  isAlreadyExists,
  isConflict,
  isGone,
  isNotFound,
  KubeApiError,
  KubeClient,
  KubeError,
  nodeResource,
  podResource,
  type Clock,
  type ClusterConfig,
  type Credentials,
} from "../src/index.ts";
import { Authority } from "./certificates.ts";
import { clientOf, selectThing, things, until } from "./observer.ts";
import { ScriptedServer, type Interceptor } from "./scripted-server.ts";

async function failure(promise: Promise<unknown>): Promise<KubeError> {
  const error: unknown = await promise.then(
    (value) => new assert.AssertionError({ message: `it gave ${JSON.stringify(value)}` }),
    (reason: unknown) => reason,
  );
  assert.ok(error instanceof KubeError, String(error));
  return error;
}

describe("KubeClient", () => {
  let server: ScriptedServer;
  let client: KubeClient;

  beforeEach(async () => {
    server = new ScriptedServer();
    await server.start();
    client = clientOf(server.url);
  });

  afterEach(async () => {
    await client.close();
    await server.stop();
  });

  /** Refuses the first `times` requests, and answers the rest with an empty object. */
  function refusing(times: number, code: number, reason: string, headers?: Record<string, string>): Interceptor {
    let left = times;
    return (_, response) => {
      if (left-- > 0) server.refuse(response, code, reason, headers);
      else server.json(response, {});
      return true;
    };
  }

  it("addresses objects of every kind, and sends what it is given", async () => {
    server.intercept = (_, response) => {
      server.json(response, { kind: "Anything" });
      return true;
    };
    assert.deepEqual(await client.get(nodeResource, "node-1"), { kind: "Anything" });
    await client.get(podResource, "a/b".replace("/", "-"), "blue");
    await client.create(podResource, { metadata: { name: "p", namespace: "blue" } });
    await client.replace(things, { metadata: { name: "t", namespace: "blue" } });
    await client.updateStatus(things, { metadata: { name: "t", namespace: "blue" } });
    await client.patch(nodeResource, "n", { metadata: {} });
    await client.patch(nodeResource, "n", [], { kind: "json", subresource: "status" });
    await client.patch(nodeResource, "n", {}, { kind: "strategic" });
    await client.patch(things, "t", {}, { namespace: "blue", kind: "apply", fieldManager: "fabric node", force: true });
    await client.delete(things, "t", {
      namespace: "blue",
      preconditions: { uid: "u", resourceVersion: "7" },
      propagationPolicy: "Background",
      gracePeriodSeconds: 0,
    });
    const things1 = "/apis/test.io/v1/namespaces/blue/things";
    assert.deepEqual(
      server.received.map(({ method, path, query, headers }) =>
        [method, `${path}${query.size === 0 ? "" : `?${query.toString()}`}`, headers["content-type"] ?? ""].join(" "),
      ),
      [
        "GET /api/v1/nodes/node-1 ",
        "GET /api/v1/namespaces/blue/pods/a-b ",
        "POST /api/v1/namespaces/blue/pods application/json",
        `PUT ${things1}/t application/json`,
        `PUT ${things1}/t/status application/json`,
        "PATCH /api/v1/nodes/n application/merge-patch+json",
        "PATCH /api/v1/nodes/n/status application/json-patch+json",
        "PATCH /api/v1/nodes/n application/strategic-merge-patch+json",
        `PATCH ${things1}/t?fieldManager=fabric+node&force=true application/apply-patch+yaml`,
        `DELETE ${things1}/t application/json`,
      ],
    );
    assert.deepEqual(JSON.parse(server.received.at(-1)!.body), {
      apiVersion: "v1",
      kind: "DeleteOptions",
      preconditions: { uid: "u", resourceVersion: "7" },
      propagationPolicy: "Background",
      gracePeriodSeconds: 0,
    });
    assert.equal(server.received[0]?.headers.accept, "application/json");
  });

  it("asks for nothing that names no object", async () => {
    for (const name of ["", ".", "..", "a/b"]) await assert.rejects(client.get(nodeResource, name), TypeError);
    await assert.rejects(client.get(podResource, "p"), /a Pod lives in a namespace and none is given/);
    await assert.rejects(client.create(podResource, { metadata: { name: "p" } }), TypeError);
    await assert.rejects(client.get(podResource, "p", ".."), TypeError);
    await assert.rejects(client.replace(nodeResource, {}), /Node: undefined is no name/);
    await assert.rejects(client.patch(nodeResource, "n", {}, { kind: "apply" }), /needs a fieldManager/);
    assert.equal(server.received.length, 0);
    await client.get(nodeResource, "a?b#c%2e").catch(() => {});
    assert.equal(server.received[0]?.path, "/api/v1/nodes/a%3Fb%23c%252e");
  });

  it("reads lists to their end, page by page", async () => {
    for (let each = 0; each < 7; each++) server.put(`n${each}`, each);
    const { records, resourceVersion } = await client.listAll(
      things,
      (raw) => (selectThing(raw).value > 1 ? selectThing(raw).name : undefined),
      { namespace: "default", pageSize: 3 },
    );
    assert.deepEqual(records, ["n2", "n3", "n4", "n5", "n6"]);
    assert.equal(resourceVersion, String(server.version));
    assert.deepEqual(server.journal, ["list", "list more", "list more"]);
  });

  it("does not follow pages in a circle", async () => {
    server.intercept = (_, response) => {
      server.json(response, { metadata: { resourceVersion: "1", continue: "again" }, items: [] });
      return true;
    };
    const error = await failure(client.listAll(things, () => undefined));
    assert.equal(error.code, "KUBE_PROTOCOL");
    assert.equal(server.received.length, 2);
  });

  it("tells refusals apart", async () => {
    const status = (code: number, reason: string, details?: object): Interceptor => {
      return (_, response) => {
        response.writeHead(code, { "content-type": "application/json" });
        response.end(JSON.stringify({ kind: "Status", code, reason, message: "because", details }));
        return true;
      };
    };
    const details = {
      name: "n",
      kind: "nodes",
      causes: [{ field: "spec.x", message: "no", reason: "FieldValueInvalid" }],
    };
    const all = [isNotFound, isAlreadyExists, isConflict, isGone];
    for (const [code, reason, which] of [
      [404, "NotFound", isNotFound],
      [409, "AlreadyExists", isAlreadyExists],
      [409, "Conflict", isConflict],
      [410, "Expired", isGone],
      [422, "Invalid", undefined],
      [403, "Forbidden", undefined],
    ] as const) {
      server.intercept = status(code, reason, details);
      const error = await failure(client.get(nodeResource, "n"));
      assert.ok(error instanceof KubeApiError);
      assert.deepEqual([error.code, error.status, error.reason], ["KUBE_REFUSED", code, reason]);
      assert.equal(error.message, `GET /api/v1/nodes/n: because (${code} ${reason})`);
      assert.deepEqual(error.details, details);
      for (const predicate of all) assert.equal(predicate(error), predicate === which, `${reason}: ${predicate.name}`);
    }
  });

  it("quotes whoever answers in the place of the API server", async () => {
    server.intercept = (_, response) => {
      response.writeHead(502, { "content-type": "text/html" });
      response.end(`<h1>Bad gateway</h1>${"x".repeat(100_000)}`);
      return true;
    };
    const error = await failure(client.get(nodeResource, "n"));
    assert.ok(error instanceof KubeApiError);
    assert.match(error.message, /<h1>Bad gateway<\/h1>/);
    assert.ok(error.message.length < 3000);
    server.intercept = (_, response) => {
      response.end("<html>welcome</html>");
      return true;
    };
    assert.equal((await failure(client.get(nodeResource, "n"))).code, "KUBE_PROTOCOL");
    for (const body of [null, "text", { items: 5 }]) {
      server.intercept = (_, response) => {
        server.json(response, body);
        return true;
      };
      assert.equal((await failure(client.list(nodeResource))).code, "KUBE_PROTOCOL", JSON.stringify(body));
    }
    server.intercept = (_, response) => {
      response.writeHead(302, { location: "http://127.0.0.1:1/" });
      response.end();
      return true;
    };
    const redirect = await failure(client.get(nodeResource, "n"));
    assert.ok(redirect instanceof KubeApiError && redirect.status === 302, "redirects are not followed");
  });

  it("repeats what was refused with 429 as often as it is worth it, whatever the method", async () => {
    const waits: number[] = [];
    const clock: Clock = {
      now: Date.now,
      wait: (milliseconds) => {
        waits.push(milliseconds);
        return Promise.resolve();
      },
    };
    const impatient = clientOf(server.url, { clock, random: () => 0.5 });
    server.intercept = refusing(2, 429, "TooManyRequests");
    await impatient.create(nodeResource, { metadata: { name: "n" } });
    assert.deepEqual(waits.splice(0), [200, 400]);
    assert.equal(server.received.length, 3);
    server.intercept = refusing(1, 429, "TooManyRequests", { "retry-after": "3" });
    await impatient.get(nodeResource, "n");
    assert.deepEqual(waits.splice(0), [3200]);
    server.received.length = 0;
    server.intercept = refusing(100, 429, "TooManyRequests");
    assert.equal(((await failure(impatient.get(nodeResource, "n"))) as KubeApiError).status, 429);
    assert.equal(server.received.length, 4);
    await failure(impatient.get(nodeResource, "n", undefined, { retry: false }));
    assert.equal(server.received.length, 5);
    await impatient.close();
  });

  it("repeats reading after a lost connection, and never writing", async () => {
    let lost = 0;
    server.intercept = (_, response) => {
      if (lost++ % 2 === 0) response.socket?.resetAndDestroy();
      else server.json(response, {});
      return true;
    };
    await client.get(nodeResource, "n");
    assert.equal(server.received.length, 2);
    const error = await failure(client.create(nodeResource, { metadata: { name: "n" } }));
    assert.equal(error.code, "KUBE_UNREACHABLE");
    assert.equal(server.received.length, 3);
  });

  it("repeats reading after an answer that broke off", async () => {
    let broken = 0;
    server.intercept = (_, response) => {
      if (broken++ > 0) return false;
      response.writeHead(200, { "content-length": "100" });
      response.write('{"items":[');
      setTimeout(() => response.destroy(), 10);
      return true;
    };
    server.put("a", 1);
    assert.equal((await client.list(things)).items?.length, 1);
  });

  it("gives up in time, says so, and can be cancelled", async () => {
    server.intercept = () => true;
    const error = await failure(client.get(nodeResource, "n", undefined, { timeout: 100 }));
    assert.equal(error.code, "KUBE_TIMEOUT");
    assert.match(error.message, /GET \/api\/v1\/nodes\/n: no answer from http:\/\/127\.0\.0\.1:\d+ within 100 ms/);
    const abort = new AbortController();
    const cancelled = client.get(nodeResource, "n", undefined, { signal: abort.signal });
    await until("it is under way", () => server.received.length === 2);
    abort.abort(new Error("never mind"));
    await assert.rejects(cancelled, /never mind/);
    await assert.rejects(client.get(nodeResource, "n", undefined, { signal: abort.signal }), /never mind/);
    server.intercept = refusing(100, 429, "TooManyRequests", { "retry-after": "5" });
    assert.equal((await failure(client.get(nodeResource, "n", undefined, { timeout: 200 }))).code, "KUBE_TIMEOUT");
  });

  it("names the address that does not answer", async () => {
    const lost = clientOf("http://127.0.0.1:1");
    const error = await failure(lost.get(nodeResource, "n"));
    assert.equal(error.code, "KUBE_UNREACHABLE");
    assert.match(
      error.message,
      /GET \/api\/v1\/nodes\/n: http:\/\/127\.0\.0\.1:1: connect ECONNREFUSED 127\.0\.0\.1:1/,
    );
    await lost.close();
    assert.match(
      (await failure(lost.get(nodeResource, "n", undefined, { retry: false }))).message,
      /the client is closed/,
    );
  });

  it("survives what is no HTTP at all", async () => {
    const garbage = createServer((socket) => {
      socket.on("error", () => {});
      socket.resume();
      socket.end("SSH-2.0-OpenSSH_9.2\r\n");
    });
    await new Promise<void>((resolve) => garbage.listen(0, "127.0.0.1", resolve));
    const { port } = garbage.address() as { port: number };
    const other = clientOf(`http://127.0.0.1:${port}`);
    assert.equal((await failure(other.get(nodeResource, "n"))).code, "KUBE_UNREACHABLE");
    await other.close();
    await new Promise((resolve) => garbage.close(resolve));
  });

  it("survives an answer that turns into something else", async () => {
    const turning = createServer((socket) => {
      socket.on("error", () => {});
      socket.resume();
      socket.write('HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\n{"a":\r\n');
      setTimeout(() => socket.write("this is no length of a chunk\r\n\r\nnor this\r\n"), 20);
    });
    await new Promise<void>((resolve) => turning.listen(0, "127.0.0.1", resolve));
    const { port } = turning.address() as { port: number };
    const other = clientOf(`http://127.0.0.1:${port}`);
    const error = await failure(other.get(nodeResource, "n", undefined, { retry: false }));
    assert.equal(error.code, "KUBE_UNREACHABLE");
    const body = await other.watch(
      nodeResource,
      { resourceVersion: "1", timeoutSeconds: 5 },
      new AbortController().signal,
    );
    await assert.rejects(async () => {
      for await (const chunk of body) assert.equal(String(chunk), '{"a":');
    });
    await other.close();
    await new Promise((resolve) => turning.close(resolve));
  });

  it("does requests while more watches are open than a pool of requests has connections", async () => {
    const abort = new AbortController();
    const bodies = await Promise.all(
      Array.from({ length: 20 }, () =>
        client.watch(things, { resourceVersion: "100", timeoutSeconds: 60 }, abort.signal),
      ),
    );
    server.put("a", 1);
    assert.equal((await client.list(things, {}, { timeout: 5000 })).items?.length, 1);
    abort.abort();
    for (const body of bodies) body.destroy();
  });
});

describe("KubeClient over TLS", () => {
  let authority: Authority;
  let server: ScriptedServer;
  let base: { server: string; ca: string; insecure: boolean };
  const clients: KubeClient[] = [];

  before(async () => {
    authority = new Authority();
    const { certificate, key } = authority.server("IP:127.0.0.1", "DNS:kubernetes");
    server = new ScriptedServer({
      cert: certificate,
      key,
      ca: authority.certificate,
      requestCert: true,
      rejectUnauthorized: false,
    });
    await server.start();
    base = { server: server.url, ca: authority.certificate, insecure: false };
  });

  after(async () => {
    await Promise.all(clients.map((client) => client.close()));
    await server.stop();
    authority.remove();
  });

  function connect(credentials: () => Promise<Credentials>, more: Partial<ClusterConfig> = {}): KubeClient {
    const client = new KubeClient({ ...base, credentials, ...more });
    clients.push(client);
    return client;
  }

  const nobody = (): Promise<Credentials> => Promise.resolve({});

  /** Answers with who the client is, by its certificate or token. */
  const whoAmI: Interceptor = ({ headers }, response) => {
    const socket = response.socket as TLSSocket;
    const name = socket.getPeerCertificate().subject?.CN;
    server.json(response, { name, authorized: socket.authorized, token: headers.authorization });
    return true;
  };

  it("presents the client certificate, and the new one once it has been renewed", async () => {
    server.intercept = whoAmI;
    let pair = authority.client("alice", "system:masters");
    const client = connect(() => Promise.resolve(pair));
    assert.deepEqual(await client.get(nodeResource, "me"), { name: "alice", authorized: true });
    pair = authority.client("bob");
    assert.deepEqual(await client.get(nodeResource, "me"), { name: "bob", authorized: true });
  });

  it("sends the token of the moment", async () => {
    server.intercept = whoAmI;
    let token = "one";
    const client = connect(() => Promise.resolve({ token }));
    assert.equal((await client.get<{ token: string }>(nodeResource, "me")).token, "Bearer one");
    token = "two";
    assert.equal((await client.get<{ token: string }>(nodeResource, "me")).token, "Bearer two");
  });

  it("asks for credentials anew after a 401, and once only", async () => {
    server.received.length = 0;
    server.intercept = ({ headers }, response) => {
      if (headers.authorization === "Bearer fresh") server.json(response, {});
      else server.refuse(response, 401, "Unauthorized");
      return true;
    };
    let token = "stale";
    let rejections = 0;
    const rejected = (): void => {
      rejections++;
      token = "fresh";
    };
    await connect(() => Promise.resolve({ token }), { rejected }).create(nodeResource, { metadata: { name: "n" } });
    assert.deepEqual([rejections, server.received.length], [1, 2]);
    token = "stale";
    const hopeless = connect(() => Promise.resolve({ token: "stale" }), { rejected: () => {} });
    assert.equal(((await failure(hopeless.get(nodeResource, "n"))) as KubeApiError).status, 401);
    assert.equal(server.received.length, 3);
  });

  it("refuses a server that it cannot check, and says what helps", async () => {
    server.intercept = whoAmI;
    const { ca: _, ...unknownAuthority } = base;
    const client = new KubeClient({ ...unknownAuthority, credentials: nobody });
    clients.push(client);
    const error = await failure(client.get(nodeResource, "n"));
    assert.equal(error.code, "KUBE_UNREACHABLE");
    assert.match(error.message, /; name its authority in `certificate-authority`/);
    const wrongName = connect(nobody, { serverName: "elsewhere" });
    assert.match(
      (await failure(wrongName.get(nodeResource, "n"))).message,
      /; connect by a name that the certificate carries/,
    );
    await connect(nobody, { serverName: "kubernetes" }).get(nodeResource, "n");
    await connect(nobody, { insecure: true, ca: authority.lone("stranger").certificate }).get(nodeResource, "n");
  });

  it("lists and watches", async () => {
    server.intercept = undefined;
    server.put("a", 1);
    const client = connect(nobody);
    const { resourceVersion } = await client.listAll(things, selectThing);
    const abort = new AbortController();
    const body = await client.watch(things, { resourceVersion: resourceVersion!, timeoutSeconds: 60 }, abort.signal);
    server.put("a", 2);
    for await (const chunk of body) {
      assert.match(String(chunk), /"MODIFIED"/);
      break;
    }
    abort.abort();
  });
});

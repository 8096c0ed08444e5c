import assert from "node:assert/strict";
import { existsSync, mkdtempSync, rmSync, statSync } from "node:fs";
import { request } from "node:http";
import { createServer, type AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import type { AddressListQuery } from "../../src/api/address-routes.ts";
import { ApiServer, type ApiSource } from "../../src/api/server.ts";
import { RequestError } from "../../src/api/route.ts";
import { createLogger } from "../../src/log.ts";

const folder = mkdtempSync(join(tmpdir(), "bf-api-"));
const socket = join(folder, "run/api.sock");

/** A port of loopback that was free a moment ago. */
async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as AddressInfo;
  await new Promise((resolve) => server.close(resolve));
  return port;
}

const reasons: string[] = [];
const asked: (string | undefined)[] = [];
const listed: AddressListQuery[] = [];
const repaired: unknown[] = [];
const source: ApiSource = {
  underlay: () => Promise.resolve({ node: "node-1", networks: [], violations: [], findings: [] }),
  addresses: {
    account: (address) => Promise.resolve({ account: { address, state: "free" } }),
    list: (query) => {
      listed.push(query);
      return Promise.resolve({ addresses: [], more: false });
    },
    history: (query) => Promise.reject(new Error(JSON.stringify(query))),
    check: () => Promise.reject(new Error("the API server is away")),
    repair: (steps) => {
      repaired.push(...steps);
      return Promise.resolve({ results: steps.map((step) => ({ step, state: "done" as const })) });
    },
  },
  version: () => ({ version: "1", node: "node-1", ovs: undefined, openflow: "1.5", runtime: "node" }),
  status: () => Promise.reject(new Error("the switch is away")),
  endpoints: () => Promise.resolve({ endpoints: [] }),
  flows: (pod) => {
    asked.push(pod);
    return Promise.resolve({ flows: [] });
  },
  metrics: () => Promise.resolve({ contentType: "text/plain; version=0.0.4", text: "up 1\n" }),
  notReady: () => reasons,
  policy: {
    explain: (from, to, port) => {
      asked.push([from, to, port].join(" "));
      throw new RequestError("nobody is meant; write NAMESPACE/NAME");
    },
    list: (pod) => ({ pod, ingressIsolated: false, egressIsolated: false, policies: [] }),
    matrix: (namespaces) => ({ pods: namespaces, rows: [] }),
    counters: async () => ({ rules: [] }),
    denials: () => ({ denials: [] }),
  },
};

interface Answer {
  readonly status: number | undefined;
  readonly type: string | undefined;
  readonly body: string;
}

function ask(
  where: { socketPath: string } | { port: number },
  path: string,
  method = "GET",
  sending?: string,
): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const sent = request({ ...where, host: "127.0.0.1", path, method, agent: false }, (response) => {
      let body = "";
      response.setEncoding("utf8");
      response.on("data", (text: string) => (body += text));
      response.on("error", reject);
      response.on("end", () => resolve({ status: response.statusCode, type: response.headers["content-type"], body }));
    });
    sent.on("error", reject);
    sent.end(sending);
  });
}

describe("the local API", () => {
  let server: ApiServer;
  let port = 0;
  before(async () => {
    port = await freePort();
    const logger = createLogger("silent", "node-1");
    server = new ApiServer({ socket, healthAddress: { host: "127.0.0.1", port }, source, logger });
    await server.start();
  });
  after(async () => {
    await server.stop();
    assert.equal(existsSync(socket), false);
    rmSync(folder, { recursive: true, force: true });
  });
  const local = (path: string, method?: string, sending?: string): Promise<Answer> =>
    ask({ socketPath: socket }, path, method, sending);
  const health = (path: string, method?: string): Promise<Answer> => ask({ port }, path, method);
  const codeOf = ({ body }: Answer): unknown => (JSON.parse(body) as { code: unknown }).code;

  it("is open to root alone", () => {
    assert.equal(statSync(socket).mode & 0o777, 0o600);
  });

  it("answers its routes in JSON, and hands on whose entries are asked for", async () => {
    const version = await local("/v1/version");
    assert.deepEqual([version.status, version.type], [200, "application/json"]);
    assert.equal((JSON.parse(version.body) as { node: string }).node, "node-1");
    assert.equal((await local("/v1/endpoints")).body, '{"endpoints":[]}');
    for (const path of ["/v1/flows", "/v1/flows?pod=shop%2Fweb"])
      assert.equal((await local(path)).body, '{"flows":[]}');
    assert.deepEqual(asked, [undefined, "shop/web"]);
    assert.deepEqual((await local("/v1/version", "HEAD")).body, "");
  });

  it("answers about policies, and says 400 with a remedy when nobody is meant", async () => {
    const answer = await local("/v1/policy/explain?from=shop%2Fweb&to=10.0.0.1&port=80%2FTCP");
    assert.deepEqual([answer.status, codeOf(answer)], [400, "API_REQUEST"]);
    assert.match(answer.body, /nobody is meant; write NAMESPACE/);
    assert.equal(asked.at(-1), "shop/web 10.0.0.1 80/TCP");
    assert.match((await local("/v1/policy/list?pod=shop%2Fweb")).body, /"pod":"shop\/web"/);
    assert.match((await local("/v1/policy/matrix?namespace=x&namespace=y")).body, /"pods":\["x","y"\]/);
    assert.equal((await local("/v1/policy/counters")).body, '{"rules":[]}');
    assert.equal((await local("/v1/denials")).body, '{"denials":[]}');
  });

  it("says 404 to paths of nobody, and of the other ear", async () => {
    for (const path of ["/", "/v1", "/v1/version/", "/metrics"]) {
      const answer = await local(path);
      assert.deepEqual([answer.status, codeOf(answer)], [404, "API_PATH"], path);
    }
    assert.equal((await health("/v1/flows")).status, 404);
  });

  it("says 405 to whatever would change something", async () => {
    for (const method of ["POST", "PUT", "PATCH", "DELETE"]) {
      const answer = await local("/v1/version", method);
      assert.deepEqual([answer.status, codeOf(answer)], [405, "API_METHOD"], method);
    }
    assert.equal((await health("/healthz", "POST")).status, 405);
  });

  it("says 500 with the reason when an answer fails, and answers the next", async () => {
    const answer = await local("/v1/status");
    assert.deepEqual([answer.status, codeOf(answer)], [500, "API_FAILED"]);
    assert.match(answer.body, /the switch is away/);
    assert.equal((await local("/v1/version")).status, 200);
  });

  it("hands on what is asked about addresses", async () => {
    assert.equal((await local("/v1/addresses")).status, 200);
    await local("/v1/addresses?subnet=office&namespace=shop&owner=StatefulSet/db&free=true&limit=7");
    assert.deepEqual(listed, [
      { free: false, limit: 1000 },
      { subnet: "office", namespace: "shop", owner: { kind: "StatefulSet", name: "db" }, free: true, limit: 7 },
    ]);
    const account = await local("/v1/addresses/account?address=FD00:0::7");
    assert.equal(account.body, '{"account":{"address":"fd00::7","state":"free"}}');
    const history = async (query: string): Promise<string> => (await local(`/v1/addresses/history?${query}`)).body;
    assert.match(await history("pod=shop/db-0"), /\{\\"pod\\":\{\\"namespace\\":\\"shop\\",\\"name\\":\\"db-0\\"\}\}/);
    assert.match(await history("address=10.0.0.1"), /\{\\"address\\":\\"10\.0\.0\.1\\"\}/);
    assert.match((await local("/v1/addresses/check")).body, /the API server is away/);
  });

  it("says 400 to what it cannot use, and what to write instead", async () => {
    for (const [path, words] of [
      ["account", /address is \\"\\", which is none; write for example/],
      ["account?address=10.0.0", /which is none/],
      ["history?pod=db-0", /write NAMESPACE\/NAME/],
      ["history?pod=a/b/c", /write NAMESPACE\/NAME/],
      ["?owner=db", /write KIND\/NAME/],
      ["?free=yes", /write true or false/],
      ["?limit=0", /write a number from 1 to 100000/],
      ["?limit=1e3", /write a number/],
      ["?limit=100001", /write a number/],
    ] as const) {
      const answer = await local(`/v1/addresses${path.startsWith("?") ? "" : "/"}${path}`);
      assert.deepEqual([answer.status, codeOf(answer)], [400, "API_REQUEST"], path);
      assert.match(answer.body, words);
    }
  });

  it("takes a repair by POST alone, and only one that it understands", async () => {
    const step = { action: "release", kind: "IPAddress", name: "10-0-0-1", uid: "u", resourceVersion: "7" };
    const path = "/v1/addresses/repair";
    assert.match((await local(path)).body, /use POST/);
    const answer = await local(path, "POST", JSON.stringify({ steps: [{ ...step, invented: 1 }] }));
    assert.deepEqual([answer.status, JSON.parse(answer.body)], [200, { results: [{ step, state: "done" }] }]);
    assert.deepEqual(repaired, [step]);
    for (const body of [
      "",
      "{",
      "null",
      "[]",
      "{}",
      '{"steps":[{}]}',
      JSON.stringify({ steps: [{ ...step, action: "burn" }] }),
      JSON.stringify({ steps: Array.from({ length: 501 }, () => step) }),
      " ".repeat(1024 * 1024 + 1),
    ]) {
      const refused = await local(path, "POST", body);
      assert.deepEqual([refused.status, codeOf(refused)], [400, "API_REQUEST"], body.slice(0, 100));
    }
    assert.equal(repaired.length, 1);
    assert.equal((await local("/v1/version")).status, 200);
  });

  it("is ready when nothing speaks against it, 503 with every reason otherwise", async () => {
    assert.deepEqual(await health("/readyz"), { status: 200, type: "text/plain", body: "ok\n" });
    reasons.push("the switch is away", "the API is not listed");
    const answer = await health("/readyz");
    assert.deepEqual([answer.status, answer.body], [503, "the switch is away\nthe API is not listed\n"]);
    assert.equal((await health("/healthz")).status, 200);
    assert.deepEqual(await health("/metrics"), { status: 200, type: "text/plain; version=0.0.4", body: "up 1\n" });
  });
});

import assert from "node:assert/strict";
import { existsSync, mkdtempSync, rmSync, statSync } from "node:fs";
import { request } from "node:http";
import { createServer, type AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import { ApiServer, type ApiSource } from "../../src/api/server.ts";
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
const source: ApiSource = {
  version: () => ({ version: "1", node: "node-1", ovs: undefined, openflow: "1.5", runtime: "node" }),
  status: () => Promise.reject(new Error("the switch is away")),
  endpoints: () => Promise.resolve({ endpoints: [] }),
  flows: (pod) => {
    asked.push(pod);
    return Promise.resolve({ flows: [] });
  },
  metrics: () => Promise.resolve({ contentType: "text/plain; version=0.0.4", text: "up 1\n" }),
  notReady: () => reasons,
};

interface Answer {
  readonly status: number | undefined;
  readonly type: string | undefined;
  readonly body: string;
}

function ask(where: { socketPath: string } | { port: number }, path: string, method = "GET"): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const sent = request({ ...where, host: "127.0.0.1", path, method, agent: false }, (response) => {
      let body = "";
      response.setEncoding("utf8");
      response.on("data", (text: string) => (body += text));
      response.on("error", reject);
      response.on("end", () => resolve({ status: response.statusCode, type: response.headers["content-type"], body }));
    });
    sent.on("error", reject);
    sent.end();
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
  const local = (path: string, method?: string): Promise<Answer> => ask({ socketPath: socket }, path, method);
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

  it("is ready when nothing speaks against it, 503 with every reason otherwise", async () => {
    assert.deepEqual(await health("/readyz"), { status: 200, type: "text/plain", body: "ok\n" });
    reasons.push("the switch is away", "the API is not listed");
    const answer = await health("/readyz");
    assert.deepEqual([answer.status, answer.body], [503, "the switch is away\nthe API is not listed\n"]);
    assert.equal((await health("/healthz")).status, 200);
    assert.deepEqual(await health("/metrics"), { status: 200, type: "text/plain; version=0.0.4", body: "up 1\n" });
  });
});

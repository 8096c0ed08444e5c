/** The real executable, against the real server, as a runtime calls it. */
import assert from "node:assert/strict";
import { copyFileSync, existsSync, mkdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { execFile } from "node:child_process";
import { createServer } from "node:net";
import { join } from "node:path";
import { before, describe, it, type TestContext } from "node:test";
import { CniError, CniServer, SUPPORTED_VERSIONS } from "../src/index.ts";
import {
  builtExecutable,
  callPlugin,
  RecordingAttachments,
  run,
  temporaryFolder,
  type Outcome,
} from "./agent-double.ts";

let executable: string;
before(() => {
  executable = builtExecutable();
});

interface Stand {
  readonly attachments: RecordingAttachments;
  readonly socket: string;
  readonly call: (command: string, change?: Record<string, string>, config?: object) => Promise<Outcome>;
}

async function stand(context: TestContext): Promise<Stand> {
  const socket = join(temporaryFolder(context), "cni.sock");
  const attachments = new RecordingAttachments();
  const server = new CniServer({ socketPath: socket, attachments });
  await server.listen();
  context.after(() => server.close());
  const call = (command: string, change: Record<string, string> = {}, config: object = {}) =>
    callPlugin(
      [executable],
      {
        CNI_COMMAND: command,
        CNI_CONTAINERID: "c1",
        CNI_NETNS: "/run/netns/x",
        CNI_IFNAME: "eth0",
        CNI_PATH: "/opt/cni/bin",
        ...change,
      },
      JSON.stringify({ cniVersion: "1.1.0", name: "beyondfabric", type: "fabric-cni", socket, ...config }),
    );
  return { attachments, socket, call };
}

describe("with an agent", () => {
  for (const cniVersion of SUPPORTED_VERSIONS) {
    it(`${cniVersion}: ADD, CHECK, DEL`, async (context) => {
      const { attachments, call } = await stand(context);
      const added = await call("ADD", {}, { cniVersion });
      assert.equal(added.status, 0, added.stdout);
      assert.equal(added.json?.["cniVersion"], cniVersion);
      const checked = await call("CHECK", {}, { cniVersion, prevResult: added.json });
      if (cniVersion === "0.3.1") {
        assert.equal(checked.status, 1);
        assert.equal(checked.json?.["code"], 1);
      } else {
        assert.equal(checked.status, 0, checked.stdout);
        assert.equal(checked.stdout, "");
        assert.equal(attachments.previous?.ips[0]?.address, "10.244.1.5/32");
      }
      const deleted = await call("DEL", { CNI_NETNS: "" }, { cniVersion, prevResult: added.json });
      assert.equal(deleted.status, 0);
      assert.equal(deleted.stdout, "");
      assert.equal(attachments.requests.at(-1)?.netns, undefined);
    });
  }

  it("GC and STATUS", async (context) => {
    const { attachments, call } = await stand(context);
    const valid = [{ containerID: "c1", ifname: "eth0" }];
    assert.equal((await call("GC", {}, { "cni.dev/valid-attachments": valid })).status, 0);
    assert.deepEqual(attachments.valid, [{ containerId: "c1", ifname: "eth0" }]);
    assert.equal((await call("STATUS")).status, 0);
    attachments.during = () => Promise.reject(new CniError(50, "not ready", "no Subnet fits"));
    const { status, json } = await call("STATUS");
    assert.equal(status, 1);
    assert.deepEqual(json, { cniVersion: "1.1.0", code: 50, msg: "not ready", details: "no Subnet fits" });
  });

  it("refusals of the agent arrive with code, message and details; surprises as code 100", async (context) => {
    const { attachments, call } = await stand(context);
    attachments.during = () => Promise.reject(new CniError(103, "no address", "subnet default is full"));
    assert.deepEqual((await call("ADD", {}, { cniVersion: "0.4.0" })).json, {
      cniVersion: "0.4.0",
      code: 103,
      msg: "no address",
      details: "subnet default is full",
    });
    attachments.during = () => Promise.reject(new TypeError("x is not a function"));
    const { status, json } = await call("ADD");
    assert.equal(status, 1);
    assert.equal(json?.["code"], 100);
  });

  it("an operation that takes longer than the silence limit is waited for", async (context) => {
    const { attachments, call } = await stand(context);
    attachments.during = () => new Promise((resolve) => setTimeout(resolve, 6_500));
    const { status, milliseconds } = await call("ADD");
    assert.equal(status, 0);
    assert.ok(milliseconds > 6_000);
  });

  it("50 calls at once, and one after the other", async (context) => {
    const { attachments, socket } = await stand(context);
    const folder = temporaryFolder(context);
    writeFileSync(
      join(folder, "stdin"),
      JSON.stringify({ cniVersion: "1.1.0", name: "n", type: "fabric-cni", socket }),
    );
    // A shell starts processes far faster than Node does.
    const shell = async (how: string) => {
      const script = `cd ${folder}; for i in $(seq 50); do CNI_CONTAINERID=${how === "&" ? "p" : "s"}$i ${executable} <stdin >out.$i ${how} done; wait; grep -l '"cniVersion"' out.* | wc -l`;
      const started = performance.now();
      const env = { CNI_COMMAND: "ADD", CNI_NETNS: "/run/netns/x", CNI_IFNAME: "eth0", PATH: "/usr/bin:/bin" };
      const stdout = await new Promise<string>((resolve, reject) => {
        execFile("/bin/sh", ["-c", script], { env }, (error, text) => (error === null ? resolve(text) : reject(error)));
      });
      assert.equal(stdout.trim(), "50");
      return performance.now() - started;
    };
    const serial = await shell(";");
    const parallel = await shell("&");
    assert.equal(new Set(attachments.requests.map((request) => request.containerId)).size, 100);
    console.log(
      `  fabric-cni: ${(serial / 50).toFixed(1)} ms each one after the other, 50 at once ${Math.round(parallel)} ms in all`,
    );
  });

  it("a large configuration passes, one byte above the limit is code 5", async (context) => {
    const { call } = await stand(context);
    assert.equal((await call("ADD", {}, { filler: "x".repeat((1 << 20) - 400) })).status, 0);
    const { status, json } = await call("ADD", {}, { filler: "x".repeat(1 << 20) });
    assert.equal(status, 1);
    assert.equal(json?.["code"], 5);
  });
});

describe("without an agent", () => {
  const parameters = { CNI_COMMAND: "ADD", CNI_CONTAINERID: "c1", CNI_NETNS: "/run/netns/x", CNI_IFNAME: "eth0" };

  it("VERSION, for every version and for no input", async () => {
    for (const cniVersion of SUPPORTED_VERSIONS) {
      const { status, json } = await callPlugin(
        [executable],
        { CNI_COMMAND: "VERSION" },
        JSON.stringify({ cniVersion }),
      );
      assert.equal(status, 0);
      assert.deepEqual(json, { cniVersion, supportedVersions: [...SUPPORTED_VERSIONS] });
    }
    assert.equal((await callPlugin([executable], { CNI_COMMAND: "VERSION" }, "")).status, 0);
  });

  function assertUnanswered({ status, json, milliseconds }: Outcome, reason: RegExp): void {
    assert.equal(status, 1);
    assert.equal(json?.["code"], 11);
    assert.equal(json["cniVersion"], "0.4.0");
    assert.match(String(json["details"]), reason);
    assert.match(String(json["details"]), /fabric-node pod/);
    assert.ok(milliseconds < 5_000, `${milliseconds} ms`);
  }
  const configuration = (socket: string) =>
    JSON.stringify({ cniVersion: "0.4.0", name: "n", type: "fabric-cni", socket });

  it("no socket, a stale socket, an agent that hangs, one that ends, one that answers nonsense: code 11 within 5 s", async (context) => {
    const folder = temporaryFolder(context);
    assertUnanswered(await callPlugin([executable], parameters, configuration(join(folder, "none"))), /ENOENT/);

    writeFileSync(join(folder, "file"), "");
    assertUnanswered(await callPlugin([executable], parameters, configuration(join(folder, "file"))), /ECONNREFUSED/);

    const hanging = createServer({ allowHalfOpen: true }, (socket) => socket.on("error", () => {}).resume());
    await new Promise<void>((resolve) => void hanging.listen(join(folder, "hanging"), resolve));
    const hung = await callPlugin([executable], parameters, configuration(join(folder, "hanging")));
    hanging.close();
    assertUnanswered(hung, /TIMEOUT/);

    for (const [name, answer] of Object.entries({ ends: "", nonsense: "what?\n", other: '{"exitCode":"0"}\n' })) {
      const server = createServer((socket) => socket.once("data", () => socket.end(answer)));
      await new Promise<void>((resolve) => void server.listen(join(folder, name), resolve));
      const outcome = await callPlugin([executable], parameters, configuration(join(folder, name)));
      server.close();
      assertUnanswered(outcome, /response/);
    }
  });

  it("STATUS says 51", async (context) => {
    const stdin = configuration(join(temporaryFolder(context), "none"));
    assert.equal((await callPlugin([executable], { CNI_COMMAND: "STATUS" }, stdin)).json?.["code"], 51);
  });

  it("bad input has its own codes", async () => {
    const cases: [env: Record<string, string>, stdin: string, code: number][] = [
      [{}, "{}", 4],
      [parameters, "", 6],
      [parameters, "{", 6],
      [parameters, "[1]", 6],
      [parameters, '{"socket":7}', 7],
      [parameters, '{"socket":"relative"}', 7],
      [parameters, "x".repeat((1 << 20) + 1), 5],
    ];
    for (const [env, stdin, code] of cases) {
      const { status, json } = await callPlugin([executable], env, stdin);
      assert.equal(status, 1);
      assert.equal(json?.["code"], code, stdin.slice(0, 40));
    }
  });

  it("needs nothing: a folder with only the executable as the root of the file system", async (context) => {
    const folder = temporaryFolder(context);
    copyFileSync(executable, join(folder, "fabric-cni"));
    const inside = ["chroot", folder, "/fabric-cni"];
    const version = await callPlugin(
      inside,
      { PATH: "/usr/sbin:/usr/bin", CNI_COMMAND: "VERSION" },
      '{"cniVersion":"1.0.0"}',
    );
    assert.equal(version.json?.["cniVersion"], "1.0.0", version.stderr);
    mkdirSync(join(folder, "run"));
    const socketPath = join(folder, "run/cni.sock");
    const server = new CniServer({ socketPath, attachments: new RecordingAttachments() });
    await server.listen();
    context.after(() => server.close());
    const env = { ...parameters, PATH: "/usr/sbin:/usr/bin" };
    const added = await callPlugin(inside, env, configuration("/run/cni.sock"));
    assert.equal(added.status, 0, added.stdout + added.stderr);
    assert.match(await run("file", ["-b", executable]).catch(() => "statically linked"), /statically linked/);
    assert.ok(statSync(executable).size < 4 << 20);
  });
});

describe("tools/build-cni.sh", () => {
  it("hashes every module that main.ts brings in", () => {
    const folder = join(import.meta.dirname, "../src");
    const seen = new Set<string>();
    const visit = (name: string) => {
      if (seen.has(name)) return;
      seen.add(name);
      for (const [, module] of readFileSync(join(folder, name), "utf8").matchAll(/from "\.\/([\w-]+\.ts)"/g))
        visit(module!);
    };
    visit("main.ts");
    const script = readFileSync(join(import.meta.dirname, "../../../tools/build-cni.sh"), "utf8");
    const hashed = /^sources=\(([^)]*)\)$/m
      .exec(script)![1]!
      .split(" ")
      .map((name) => `${name}.ts`);
    assert.deepEqual([...seen].sort(), hashed.sort());
    assert.ok(existsSync(executable));
  });
});

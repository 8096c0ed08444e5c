import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { describe, it } from "node:test";
import { promisify, stripVTControlCharacters } from "node:util";
import * as fc from "fast-check";
import { askLocal } from "../src/local-api.ts";
import { answering, fabricctl, withAgent, type Ran } from "./agent.ts";
import { account, addresses, check, history } from "./address-replies.ts";
import { endpoints, flows, healthy, version } from "./replies.ts";

const programs = resolve(import.meta.dirname, "../../../bin");

function assertFailed(ran: Ran, code: number, words: RegExp): void {
  assert.equal(ran.code, code);
  assert.equal(ran.out, "");
  assert.match(ran.err, words);
  assert.equal(ran.err.trimEnd().split("\n").length, 1, ran.err);
}

describe("an agent that cannot be reached", () => {
  it("is told apart by what helps", async () => {
    const directory = mkdtempSync(join(tmpdir(), "fabricctl-test-"));
    try {
      const absent = await fabricctl(["status", "--socket", join(directory, "absent.sock")]);
      assertFailed(
        absent,
        1,
        /absent\.sock: there is no such socket: start fabric-node .* \(FABRICCTL_UNREACHABLE\)$/m,
      );
      const file = join(directory, "file");
      writeFileSync(file, "");
      assertFailed(
        await fabricctl(["status", "--socket", file]),
        1,
        /nobody listens there: .*\(FABRICCTL_UNREACHABLE\)/,
      );
      assertFailed(await fabricctl(["status", "--socket", directory]), 1, /\(FABRICCTL_UNREACHABLE\)/);
      assertFailed(
        await fabricctl(["status", "--socket", `/tmp/${"long".repeat(60)}`]),
        1,
        /\(FABRICCTL_UNREACHABLE\)/,
      );
    } finally {
      rmSync(directory, { recursive: true });
    }
  });

  it("still lets version tell this program's own", async () => {
    const ran = await fabricctl(["version", "--socket", "/tmp/fabricctl-test-absent.sock"]);
    assert.equal(ran.code, 1);
    assert.equal(ran.out, "fabricctl     0.1.0\n");
    assert.match(ran.err, /FABRICCTL_UNREACHABLE/);
  });

  it("hangs up in the middle of its answer", async () => {
    const ran = await withAgent(
      (_, response) => {
        response.writeHead(200, { "content-length": "1000" });
        response.write('{"node":');
        setTimeout(() => response.destroy(), 20);
      },
      (socket) => fabricctl(["status", "--socket", socket]),
    );
    assertFailed(ran, 1, /\(FABRICCTL_UNREACHABLE\)/);
  });

  it("speaks something else than HTTP", async () => {
    const directory = mkdtempSync(join(tmpdir(), "fabricctl-test-"));
    const socket = join(directory, "other.sock");
    const server = createServer((connection) =>
      connection
        .on("error", () => {})
        .resume()
        .end("220 smtp ready\r\n"),
    );
    await new Promise<void>((done) => {
      server.listen(socket, done);
    });
    try {
      assertFailed(
        await fabricctl(["status", "--socket", socket]),
        1,
        /check that the socket is its api\.socket \(FABRICCTL_UNREACHABLE\)/,
      );
    } finally {
      await new Promise((done) => server.close(done));
      rmSync(directory, { recursive: true });
    }
  });
});

describe("an agent that answers, and not well", () => {
  it("is given up when it is silent, also in the middle of its answer", async () => {
    const mute = await withAgent(
      () => {},
      (socket) => fabricctl(["status", "--socket", socket], 100),
    );
    assertFailed(mute, 1, /did not answer \/v1\/status on .* within 0\.1 s; .*\(FABRICCTL_TIMEOUT\)/);
    const slow = await withAgent(
      (_, response) => {
        response.writeHead(200).write("{");
      },
      (socket) => fabricctl(["status", "--socket", socket], 100),
    );
    assertFailed(slow, 1, /\(FABRICCTL_TIMEOUT\)/);
  });

  it("is not read beyond a bound", async () => {
    await withAgent(
      (_, response) => {
        const more = (): void => {
          while (!response.destroyed && response.write(" ".repeat(65_536)));
        };
        response.on("drain", more).on("error", () => {});
        more();
      },
      async (socket) => {
        await assert.rejects(askLocal("/v1/flows", { socket, maxBytes: 1_000_000 }), { code: "FABRICCTL_REPLY" });
      },
    );
  });

  it("refuses in its own words", async () => {
    const refused = await withAgent(answering({ code: "API_FAILED", message: "the switch went away" }, 500), (socket) =>
      fabricctl(["flows", "--socket", socket]),
    );
    assertFailed(
      refused,
      1,
      /fabric-node refused \/v1\/flows: the switch went away \(API_FAILED\) \(FABRICCTL_REFUSED\)/,
    );
    const wordless = await withAgent(answering([], 503), (socket) => fabricctl(["flows", "--socket", socket]));
    assertFailed(wordless, 1, /HTTP status 503 \(FABRICCTL_REFUSED\)/);
  });

  it("is told where its reply is not as expected", async () => {
    const misses = { ...healthy.misses, held: "3" };
    const ran = await withAgent(answering({ ...healthy, misses }), (socket) =>
      fabricctl(["status", "--socket", socket]),
    );
    assertFailed(ran, 1, /has string where the reply\.misses\.held must be a number; .*\(FABRICCTL_REPLY\)/);
    const kind = await withAgent(answering({ flows: [{ ...flows.flows[0], kind: "odd" }] }), (socket) =>
      fabricctl(["flows", "--socket", socket]),
    );
    assertFailed(kind, 1, /the reply\.flows\[0\]\.kind must be one of base, pod, verdict, foreign/);
  });

  it("never makes it crash, whatever it sends", async () => {
    const replies = new Map<string, object>([
      ["status", healthy],
      ["flows", flows],
      ["endpoints", endpoints],
      ["version", version],
      ["ip get 10.0.0.1", account],
      ["ip list", addresses],
      ["ip history a", history],
      ["ip check", check],
    ]);
    let body = "";
    await withAgent(
      (_, response) => {
        response.end(body);
      },
      async (socket) => {
        const command = fc.constantFrom(...replies.keys());
        const output = fc.constantFrom("text", "wide", "json");
        const check = async (name: string, format: string): Promise<void> => {
          const { code, err } = await fabricctl([...name.split(" "), "-o", format, "--socket", socket]);
          assert.ok(
            code === 0 || code === 3 ? err === "" : code === 1 && /\(FABRICCTL_[A-Z]+\)\n$/.test(err),
            `${code} ${err} for ${body}`,
          );
        };
        await fc.assert(
          fc.asyncProperty(
            command,
            output,
            fc.oneof(fc.json(), fc.string(), fc.constant("null")),
            async (name, format, text) => {
              body = text;
              await check(name, format);
            },
          ),
          { numRuns: 150 },
        );
        // Right but for one value, anywhere in the reply, or with one that is missing.
        await fc.assert(
          fc.asyncProperty(command, output, fc.nat(), odd, async (name, format, place, value) => {
            body = replaceOne(replies.get(name)!, place, value);
            await check(name, format);
          }),
          { numRuns: 300 },
        );
      },
    );
  });
});

const odd = fc.oneof(
  fc.jsonValue(),
  fc.constantFrom(undefined, null, -1, 1e308, -1e308, 8.64e15 + 1, 0.1, "", "\u001B[31m", "__proto__", [], {}),
);

/** JSON of `reply` with one of its values replaced. */
function replaceOne(reply: object, place: number, value: unknown): string {
  let count = 0;
  JSON.stringify(reply, (_, each: unknown) => {
    count++;
    return each;
  });
  let at = 0;
  return JSON.stringify(reply, (_, each: unknown) => (at++ === place % count ? value : each)) ?? "null";
}

describe("a command line that is not understood", () => {
  for (const args of [
    [],
    ["stat"],
    ["status", "more"],
    ["status", "--frob"],
    ["status", "-o", "yaml"],
    ["status", "--pod", "a/b"],
    ["flows", "--pod", "no-namespace"],
    ["flows", "--socket"],
    ["ip"],
    ["ip", "frob"],
    ["ip", "get"],
    ["ip", "get", "10.0.0"],
    ["ip", "get", "10.0.0.1", "10.0.0.2"],
    ["ip", "history", "a/b/c"],
    ["ip", "list", "--owner", "db"],
    ["ip", "list", "--limit", "0"],
    ["ip", "list", "--free", "--namespace", "shop"],
    ["ip", "check", "all"],
  ]) {
    it(`"${args.join(" ")}" ends with 2 and says how to ask`, async () => {
      const { code, out, err } = await fabricctl(args);
      assert.deepEqual([code, out], [2, ""]);
      assert.match(err, /--help/);
    });
  }

  it("help is no failure", async () => {
    const { code, out, err } = await fabricctl(["flows", "--help"]);
    assert.deepEqual([code, err], [0, ""]);
    assert.match(out, /^Usage: fabricctl flows /);
  });
});

describe("bin/fabricctl and bin/kubectl-fabric", () => {
  const run = promisify(execFile);

  it("are the program: output, exit codes, colour only when asked", async () => {
    await withAgent(answering(healthy), async (socket) => {
      const environment = {
        ...process.env,
        NO_COLOR: undefined,
        FORCE_COLOR: undefined,
        NODE_DISABLE_COLORS: undefined,
      };
      const plain = await run(join(programs, "fabricctl"), ["status", "--socket", socket], { env: environment });
      assert.match(plain.stdout, /^node-1 {3}ready {3}up /);
      const forced = await run(join(programs, "fabricctl"), ["status", "--socket", socket], {
        env: { ...environment, FORCE_COLOR: "1" },
      });
      assert.match(stripVTControlCharacters(forced.stdout), /^node-1 {3}ready {3}up /);
      assert.notEqual(stripVTControlCharacters(forced.stdout), forced.stdout);
    });
    await assert.rejects(
      run(join(programs, "kubectl-fabric"), ["status", "--socket", "/tmp/fabricctl-test-absent.sock"]),
      {
        code: 1,
        stderr: /^kubectl fabric: fabric-node cannot be reached/,
      },
    );
    await assert.rejects(run(join(programs, "fabricctl"), ["frob"]), { code: 2 });
  });
});

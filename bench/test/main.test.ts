import assert from "node:assert/strict";
import { spawn, spawnSync } from "node:child_process";
import { existsSync, mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import { sweepLeftovers, until } from "../environment/site.ts";
import { readResults, renderReport } from "../report.ts";

const PROGRAM = join(import.meta.dirname, "../main.ts");
let directory: string;

/** Namespaces and folders that a bench process of this id made. */
function traces(pid: number): string[] {
  const namespaces = existsSync("/run/netns") ? readdirSync("/run/netns") : [];
  return [...namespaces, ...readdirSync(tmpdir())].filter((name) => name.startsWith(`bfb${pid}-`));
}

/** Processes whose command line mentions a folder of this bench process. */
function processesOf(pid: number): number {
  const found = spawnSync("pgrep", ["-fc", `bfb${pid}-`], { encoding: "utf8" });
  return Number(found.stdout.trim());
}

void describe("the bench program", () => {
  before(() => {
    directory = mkdtempSync(join(tmpdir(), "bench-main-"));
  });
  after(() => rmSync(directory, { recursive: true }));

  void it("measures, reports and leaves nothing behind", () => {
    const output = join(directory, "results.json");
    const line = [PROGRAM, "--quick", "--only", "new-flows", "--subject", "NORMAL", "--output", output];
    const ended = spawnSync(process.execPath, line, { encoding: "utf8", timeout: 120_000 });
    assert.equal(ended.status, 0, ended.stderr);
    const results = readResults(output);
    assert.deepEqual(results.failures, {});
    const loss = results.figures.find((figure) => figure.title === "loss at 500 new flows/s");
    assert.equal(loss?.value.value, 0);
    const latency = results.figures.find((figure) => figure.title === "first-packet p50 at 500 new flows/s");
    assert.ok(latency!.subject.median > 0 && latency!.reference!.median > 0);
    assert.ok(ended.stdout.includes(renderReport(results).split("\n")[2]!.split("|")[1]!));
    assert.deepEqual(traces(ended.pid), []);
  });

  void it("says which names there are when it is asked for others", () => {
    const scenario = spawnSync(process.execPath, [PROGRAM, "--subject", "NORMAL", "--only", "x"], { encoding: "utf8" });
    assert.equal(scenario.status, 2);
    assert.match(scenario.stderr, /no scenario x; there are new-flows, crowded/);
    const subject = spawnSync(process.execPath, [PROGRAM, "--subject", "x"], { encoding: "utf8" });
    assert.equal(subject.status, 2);
    assert.match(subject.stderr, /no contender x; there are .*ovs-testcontroller/);
  });

  for (const signal of ["SIGTERM", "SIGKILL"] as const) {
    void it(`undoes everything after ${signal}, if need be at the next start`, async () => {
      const line = [PROGRAM, "--quick", "--only", "new-flows", "--subject", "NORMAL"];
      const child = spawn(process.execPath, line, { stdio: ["ignore", "ignore", "pipe"] });
      const pid = child.pid!;
      let progress = "";
      child.stderr.on("data", (chunk: Buffer) => {
        progress += chunk.toString();
      });
      // In the middle of a run: switches, pods, generator and receiver are there.
      await until("the first result", 60_000, () => progress.includes("1/1"));
      assert.ok(traces(pid).length > 0);
      const ended = new Promise((resolve) => child.once("exit", resolve));
      child.kill(signal);
      await ended;
      await until("its processes to end", 30_000, () => processesOf(pid) === 0);
      if (signal === "SIGKILL") {
        assert.ok(traces(pid).length > 0);
        sweepLeftovers();
      }
      assert.deepEqual(traces(pid), []);
    });
  }
});

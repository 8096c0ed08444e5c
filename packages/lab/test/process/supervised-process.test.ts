import assert from "node:assert/strict";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, describe, it } from "node:test";
import { processStartTime, readLivePid } from "../../src/process/pid-file.ts";
import { forEachBounded, run, runChecked, sleep } from "../../src/process/run.ts";
import { fileTail, nextBackoff, SupervisedProcess } from "../../src/process/supervised-process.ts";

const directory = mkdtempSync(join(tmpdir(), "lab-process-"));
after(() => rmSync(directory, { recursive: true }));

async function eventually(condition: () => boolean): Promise<void> {
  for (let attempt = 0; attempt < 1000 && !condition(); attempt++) await sleep(10);
  assert.ok(condition());
}

function supervised(name: string, ...command: string[]): SupervisedProcess {
  return new SupervisedProcess({
    name,
    command,
    logFile: join(directory, `${name}.log`),
    pidFile: join(directory, `${name}.pid`),
  });
}

describe("a supervised process", () => {
  it("is started again when it ends, and stays stopped when it is stopped", async () => {
    const process_ = supervised("sleeper", "sleep", "1000");
    await process_.start();
    const first = process_.pid!;
    assert.equal(readLivePid(process_.spec.pidFile), first);
    process_.kill("SIGKILL");
    await eventually(() => process_.state === "running" && process_.pid !== first);
    assert.equal(process_.exits, 1);
    const second = process_.pid!;
    await process_.stop();
    assert.equal(process_.state, "stopped");
    assert.equal(processStartTime(second), undefined);
    assert.equal(readLivePid(process_.spec.pidFile), undefined);
    await sleep(400);
    assert.equal(process_.state, "stopped");
  });

  it("takes its children with it, also those that ignore SIGTERM", async () => {
    const process_ = supervised("parent", "sh", "-c", "trap '' TERM; sleep 1000 & echo $!; wait");
    await process_.start();
    await eventually(() => /^\d+\n/.test(readFileSync(process_.spec.logFile, "utf8")));
    const child = Number(process_.logTail(1));
    assert.notEqual(processStartTime(child), undefined);
    await process_.stop(100);
    await eventually(() => processStartTime(child) === undefined);
  });

  it("waits longer from failure to failure, and forgets them after a healthy run", () => {
    let pause = 0;
    const pauses = Array.from({ length: 7 }, () => (pause = nextBackoff(pause, 10)));
    assert.deepEqual(pauses, [200, 400, 800, 1600, 3200, 5000, 5000]);
    assert.equal(nextBackoff(5000, 60_000), 200);
  });

  it("survives a program that does not exist", async () => {
    const process_ = supervised("absent", "/nonexistent/program");
    await process_.start();
    await eventually(() => process_.exits >= 1);
    await process_.stop();
    assert.equal(process_.state, "stopped");
  });
});

describe("a pid file", () => {
  it("does not take another process of the same pid for its own", () => {
    const file = join(directory, "stale.pid");
    writeFileSync(file, `${process.pid}\n1\n`);
    assert.equal(readLivePid(file), undefined);
    writeFileSync(file, `${process.pid}\n${processStartTime(process.pid)}\n`);
    assert.equal(readLivePid(file), process.pid);
    for (const text of ["", "1\n\n", "-5\n\n", "x\n"]) {
      writeFileSync(file, text);
      assert.equal(readLivePid(file), undefined, JSON.stringify(text));
    }
  });
});

describe("running commands", () => {
  it("gives back code and output, and 128 + signal", async () => {
    assert.deepEqual(await run(["sh", "-c", "cat; echo e >&2; exit 3"], { input: "in" }), {
      code: 3,
      stdout: "in",
      stderr: "e\n",
    });
    assert.equal((await run(["sh", "-c", "kill -9 $$"])).code, 137);
  });

  it("quotes what a failed command said, and names a missing one", async () => {
    await assert.rejects(runChecked(["sh", "-c", "echo reason >&2; exit 2"]), {
      code: "LAB_COMMAND_FAILED",
      message: /ended with 2: reason/,
    });
    await assert.rejects(run(["/nonexistent"]), { code: "LAB_MISSING_PROGRAM" });
    await assert.rejects(run(["sleep", "100"], { timeoutMs: 50 }), { code: "LAB_TIMEOUT" });
  });

  it("does at most so much at a time, finishes all, and reports a failure", async () => {
    let busy = 0;
    let most = 0;
    let finished = 0;
    const work = async (item: number) => {
      most = Math.max(most, ++busy);
      await sleep(5);
      busy -= 1;
      finished += 1;
      if (item === 3) throw new Error("third");
    };
    await assert.rejects(forEachBounded([1, 2, 3, 4, 5, 6], 2, work), /third/);
    assert.deepEqual([most, finished], [2, 6]);
  });
});

describe("the tail of a file", () => {
  it("is its last lines, and empty when the file is missing", () => {
    const file = join(directory, "long.log");
    writeFileSync(file, Array.from({ length: 20_000 }, (_item, index) => `line ${index}`).join("\n") + "\n");
    assert.equal(fileTail(file, 2), "line 19998\nline 19999");
    assert.equal(fileTail(join(directory, "absent"), 2), "");
  });
});

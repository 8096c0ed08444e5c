import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { describe, it } from "node:test";
import { withLock } from "../src/lock.ts";
import { sleep } from "../src/process/run.ts";

const name = `test-${process.pid}`;

describe("a lock of the machine", () => {
  it("lets one in at a time, in whatever order", async () => {
    let inside = 0;
    let most = 0;
    await Promise.all(
      [1, 2, 3].map(
        async () =>
          await withLock(name, 30_000, async () => {
            most = Math.max(most, ++inside);
            await sleep(20);
            inside -= 1;
          }),
      ),
    );
    assert.equal(most, 1);
  });

  it("says who waits in vain, and is free again after a failure", async () => {
    await withLock(name, 1000, async () => {
      await assert.rejects(
        withLock(name, 60, () => Promise.resolve()),
        { code: "LAB_BUSY" },
      );
    });
    await assert.rejects(
      withLock(name, 1000, () => Promise.reject(new Error("inside"))),
      /inside/,
    );
    assert.equal(await withLock(name, 1000, () => Promise.resolve("free")), "free");
  });

  it("is given back by a process that is killed", async () => {
    const source = `import { withLock } from ${JSON.stringify(new URL("../src/lock.ts", import.meta.url).href)}; await withLock(${JSON.stringify(name)}, 1000, async () => { console.log("held"); await new Promise(() => setInterval(() => {}, 1000)); });`;
    const child = spawn(process.execPath, ["--input-type=module-typescript", "-e", source], {
      stdio: ["ignore", "pipe", "inherit"],
    });
    await new Promise((resolve) => child.stdout.once("data", resolve));
    await assert.rejects(
      withLock(name, 60, () => Promise.resolve()),
      { code: "LAB_BUSY" },
    );
    child.kill("SIGKILL");
    assert.equal(await withLock(name, 30_000, () => Promise.resolve("free")), "free");
  });
});

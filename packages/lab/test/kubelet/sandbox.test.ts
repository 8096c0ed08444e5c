import assert from "node:assert/strict";
import { randomBytes, randomUUID } from "node:crypto";
import { chmodSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import type { Pod } from "../../src/kubelet/pod-model.ts";
import { Sandbox } from "../../src/kubelet/sandbox.ts";
import { runChecked } from "../../src/process/run.ts";

describe("a sandbox whose plug-in fails", () => {
  const lab = `s${randomBytes(2).toString("hex")}`;
  const directory = mkdtempSync(join(tmpdir(), "lab-sandbox-"));
  const node = `${lab}-node`;
  const calls = join(directory, "calls");
  const broken = join(directory, "broken");
  before(async () => {
    for (const name of ["net.d", "bin"]) mkdirSync(join(directory, name));
    const list = { cniVersion: "1.0.0", name: "n", plugins: [{ type: "moody" }] };
    writeFileSync(join(directory, "net.d/10-n.conflist"), JSON.stringify(list));
    // Fails whatever it is asked while the file is there, as an agent that is away does.
    const plugin = `#!/bin/sh
      [ -e ${broken} ] && { echo '{"code":11,"msg":"away"}'; exit 1; }
      echo "$CNI_COMMAND $CNI_CONTAINERID" >>${calls}
      echo '{"cniVersion":"1.0.0","ips":[{"address":"10.0.0.5/32"}]}'
    `;
    writeFileSync(join(directory, "bin/moody"), plugin);
    chmodSync(join(directory, "bin/moody"), 0o755);
    await runChecked(["ip", "netns", "add", node]);
  });
  after(async () => {
    await runChecked(["ip", "netns", "del", node]);
    rmSync(directory, { recursive: true });
  });

  function sandbox(): Sandbox {
    const cni = { confDirectory: join(directory, "net.d"), binDirectories: [join(directory, "bin")], namespace: node };
    const [recordsDirectory, podsDirectory] = [join(directory, "records"), join(directory, "pods")];
    const pod = { metadata: { name: "web", namespace: "default", uid: randomUUID() }, spec: { containers: [] } };
    return new Sandbox({ lab, node: "node-1", cni, recordsDirectory, podsDirectory }, pod satisfies Pod);
  }
  const called = (): string[] => readFileSync(calls, "utf8").trim().split("\n");

  it("goes on asking for the end of what a failed ADD may have left, before another ADD and before it is gone", async () => {
    const made = sandbox();
    writeFileSync(broken, "");
    await assert.rejects(made.create(), /away/);
    await assert.rejects(made.destroy(), /away/, "an address must not be forgotten");
    await assert.rejects(made.create(), /away/);
    rmSync(broken);
    await made.create();
    await made.destroy();
    const [remains, add, end, ...more] = called().map((line) => line.split(" "));
    assert.deepEqual([remains?.[0], add?.[0], end?.[0], more.length], ["DEL", "ADD", "DEL", 0]);
    assert.notEqual(remains?.[1], add?.[1], "each try is a container of its own");
    assert.equal(end?.[1], add?.[1]);
  });
});

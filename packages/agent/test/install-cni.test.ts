import assert from "node:assert/strict";
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, it } from "node:test";
import { AgentError } from "../src/errors.ts";
import { installCni } from "../src/install-cni.ts";

let folder = "";

function cni(change: object = {}): Parameters<typeof installCni>[0] {
  return {
    cni: {
      socket: "/run/x/cni.sock",
      executable: join(folder, "built"),
      binDirectory: join(folder, "bin"),
      confDirectory: join(folder, "conf"),
      ...change,
    },
  };
}

function refused(change: object, message: RegExp): void {
  assert.throws(
    () => installCni(cni(change)),
    (error) => error instanceof AgentError && error.code === "AGENT_INSTALL" && message.test(error.message),
  );
}

describe("installing the CNI executable", () => {
  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), "bf-install-"));
    writeFileSync(join(folder, "built"), "first build");
  });
  afterEach(() => rmSync(folder, { recursive: true, force: true }));

  it("puts both files where the runtime looks, into folders that it makes", () => {
    const { executable, configuration } = installCni(cni());
    assert.equal(executable, join(folder, "bin/fabric-cni"));
    assert.equal(configuration, join(folder, "conf/10-beyondfabric.conflist"));
    assert.equal(readFileSync(executable, "utf8"), "first build");
    assert.equal(statSync(executable).mode & 0o777, 0o755);
    assert.deepEqual(JSON.parse(readFileSync(configuration, "utf8")), {
      cniVersion: "1.0.0",
      name: "beyondfabric",
      plugins: [{ type: "fabric-cni", socket: "/run/x/cni.sock" }],
    });
  });

  it("puts a new file in the place of the old one, which whoever runs it keeps, and leaves no other", () => {
    const { executable } = installCni(cni());
    const before = statSync(executable).ino;
    writeFileSync(join(folder, "built"), "second build");
    installCni(cni());
    assert.notEqual(statSync(executable).ino, before);
    assert.equal(readFileSync(executable, "utf8"), "second build");
    assert.deepEqual(readdirSync(join(folder, "bin")), ["fabric-cni"]);
    assert.deepEqual(readdirSync(join(folder, "conf")), ["10-beyondfabric.conflist"]);
  });

  it("is refused without an executable", () => {
    refused({ executable: undefined }, /cni\.executable is not set/);
  });

  it("is refused where the source is missing, and then no configuration names what is not there", () => {
    refused({ executable: join(folder, "never-built") }, /fabric-cni cannot be written: .*never-built/);
    assert.deepEqual(readdirSync(join(folder, "bin")), []);
    assert.deepEqual(readdirSync(folder).sort(), ["bin", "built"]);
  });

  it("is refused where a folder cannot be made or a folder is in the way, and leaves nothing half made", () => {
    refused({ binDirectory: join(folder, "built") }, /built\/fabric-cni cannot be written/);
    mkdirSync(join(folder, "bin/fabric-cni"), { recursive: true });
    refused({}, /bin\/fabric-cni cannot be written/);
    assert.deepEqual(readdirSync(join(folder, "bin")), ["fabric-cni"]);
  });
});

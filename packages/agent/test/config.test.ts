import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, it } from "node:test";
import * as fc from "fast-check";
import { ConfigError, loadConfig, parseConfig } from "../src/config.ts";

function failure(text: string, load = parseConfig): ConfigError {
  try {
    load(text, "node.yaml");
  } catch (error) {
    if (error instanceof ConfigError) return error;
    throw error;
  }
  return assert.fail(`accepted:\n${text}`);
}

/** The single problem as `line path: rule; remedy`. */
function problem(text: string): string {
  const error = failure(text);
  assert.equal(error.problems.length, 1, error.message);
  const { line, path, rule, remedy } = error.problems[0]!;
  return `${line} ${path}: ${rule}; ${remedy}`;
}

void describe("a configuration", () => {
  void it("needs no more than the node's name", () => {
    assert.deepEqual(parseConfig("nodeName: node-1\n", "node.yaml"), {
      nodeName: "node-1",
      ovs: {
        database: "unix:/var/run/openvswitch/db.sock",
        runDirectory: "/var/run/openvswitch",
        bridge: "br-int",
        datapathType: "system",
      },
      cni: { socket: "/run/beyondfabric/cni.sock", binDirectory: "/opt/cni/bin", confDirectory: "/etc/cni/net.d" },
      api: { socket: "/run/beyondfabric/api.sock", healthAddress: { host: "0.0.0.0", port: 9474 } },
      limits: {
        missesPerSecondPerPort: 500,
        missesPerSecondTunnel: 5000,
        entries: 20000,
        idleSeconds: 60,
        heldPerPort: 64,
        holdMilliseconds: 1000,
      },
      addresses: { reclaimSeconds: 300, historySeconds: 86_400, stickyOwners: [] },
      sharedNamespaces: ["kube-system"],
      log: { level: "info" },
    });
  });

  void it("keeps what the file says", () => {
    const config = parseConfig(
      `nodeName: n.example.org
kubeconfig: /etc/k
ovs: { database: "tcp:[::1]:6640", runDirectory: /run/x, bridge: br0, datapathType: netdev }
tunnel: { interface: eth1, address: 10.10.0.11 }
cni: { executable: /opt/fabric-cni }
api: { healthAddress: "[::]:1" }
limits: { missesPerSecondPerPort: 0 }
sharedNamespaces: []
log: { level: debug }
`,
      "node.yaml",
    );
    assert.equal(config.ovs.database, "tcp:[::1]:6640");
    assert.equal(config.ovs.datapathType, "netdev");
    assert.deepEqual(config.tunnel, { interface: "eth1", address: "10.10.0.11" });
    assert.equal(config.cni.executable, "/opt/fabric-cni");
    assert.deepEqual(config.api.healthAddress, { host: "::", port: 1 });
    assert.equal(config.limits.missesPerSecondPerPort, 0);
    assert.equal(config.limits.entries, 20000);
    assert.deepEqual(config.sharedNamespaces, []);
  });
});

void describe("a bad value", () => {
  void it("is named with line, path, rule and remedy", () => {
    assert.equal(
      problem("nodeName: n\n# comment\nlimits:\n  idleSeconds: 5\n\n  entries: many\n"),
      '6 limits.entries: must be a whole number from 100 to 1000000 (it is "many"); the default, 20000, suits 250 pods',
    );
  });

  for (const [key, text, line] of [
    ["nodeName", "nodeName: Node_1", 1],
    ["nodeName", "nodeName: 7", 1],
    ["kubeconfig", "nodeName: n\nkubeconfig: etc/kube", 2],
    ["ovs.database", "nodeName: n\novs:\n  database: ssl:1.2.3.4:6640", 3],
    ["ovs.database", "nodeName: n\novs:\n  database: tcp:1.2.3.4:66400", 3],
    ["ovs.datapathType", "nodeName: n\novs: {datapathType: kernel}", 2],
    ["ovs.bridge", "nodeName: n\novs: {bridge: a-very-long-bridge}", 2],
    ["ovs", "nodeName: n\novs: yes please", 2],
    ["ovs", "nodeName: n\novs:\n", 2],
    ["tunnel.interface", "nodeName: n\ntunnel:\n  interface: a/b", 3],
    ["tunnel.interface", "nodeName: n\ntunnel:\n  address: 1.2.3.4", 2],
    ["tunnel.interface", "nodeName: n\novs: {datapathType: netdev}\ntunnel:\n  interface: longname01234", 4],
    ["tunnel.interface", "nodeName: n\ntunnel:\n  interface: br-int", 3],
    ["ovs.bridge", "nodeName: n\novs: {datapathType: netdev, bridge: br-eth1}\ntunnel:\n  interface: eth1", 2],
    ["tunnel.address", "nodeName: n\ntunnel:\n  interface: eth1\n  address: 10.0.0.1/24", 4],
    ["tunnel.address", "nodeName: n\ntunnel:\n  interface: eth1\n  address: fe80::1%eth0", 4],
    ["tunnel.address", 'nodeName: n\ntunnel:\n  interface: eth1\n  address: "fd00:10::1"', 4],
    ["tunnel.address", "nodeName: n\ntunnel:\n  interface: eth1\n  address: 10.0.1", 4],
    ["cni.socket", `nodeName: n\ncni:\n  socket: /${"x".repeat(107)}`, 3],
    ["api.socket", "nodeName: n\ncni: {socket: /a}\napi:\n  socket: /a", 4],
    ["api.healthAddress", "nodeName: n\napi:\n  healthAddress: 9474", 3],
    ["api.healthAddress", 'nodeName: n\napi:\n  healthAddress: "::1:80"', 3],
    ["limits.holdMilliseconds", "nodeName: n\nlimits:\n  holdMilliseconds: 1001", 3],
    ["limits.entries", "nodeName: n\nlimits:\n  entries: 1e9", 3],
    ["limits.heldPerPort", "nodeName: n\nlimits:\n  heldPerPort: 1.5", 3],
    ["sharedNamespaces[1]", "nodeName: n\nsharedNamespaces:\n- a\n- B", 4],
    ["sharedNamespaces", "nodeName: n\nsharedNamespaces: kube-system", 2],
    ["log.level", "nodeName: n\nlog: {level: loud}", 2],
    ["", "[]", 1],
    ["", "just words", 1],
  ] as const) {
    void it(`is refused: ${text.slice(0, 90).replaceAll("\n", " | ")}`, () => {
      const error = failure(text);
      assert.equal(error.code, "CONFIG_INVALID");
      const found = error.problems.find((each) => each.path === key);
      assert.ok(found !== undefined, error.message);
      assert.equal(found.line, line);
      assert.ok(found.rule.length > 5 && found.remedy.length > 5);
    });
  }
});

void describe("an unknown key", () => {
  for (const [text, expected] of [
    ["nodeName: n\nlimits:\n  entrys: 5", "3 limits.entrys: is no key of ours; did you mean limits.entries?"],
    ["nodeName: n\nkubeConfig: /x", "2 kubeConfig: is no key of ours; did you mean kubeconfig?"],
    ["nodeName: n\nhealthAddress: /x", "2 healthAddress: is no key of ours; did you mean api.healthAddress?"],
    ["nodeName: n\novs:\n  tunnel: {}", "3 ovs.tunnel: is no key of ours; did you mean tunnel, at the left margin?"],
    ["nodeName: n\nlog:\n  destination: x", "3 log.destination: is no key of ours; remove it; known here: log.level"],
  ] as const) {
    void it(`is answered with the nearest name: ${expected}`, () => assert.equal(problem(text), expected));
  }

  void it("cannot reach a prototype", () => {
    const error = failure("nodeName: n\n__proto__: {polluted: 1}\nconstructor: x\n");
    assert.deepEqual(
      error.problems.map(({ path, line }) => `${line} ${path}`),
      ["2 __proto__", "3 constructor"],
    );
    assert.equal(({} as Record<string, unknown>)["polluted"], undefined);
  });
});

void describe("a file", () => {
  void it("has all its problems reported at once, in order of lines", () => {
    const error = failure("limits:\n  entries: -1\n  idle: 3\nlog: {level: x}\nnodename: n\n");
    assert.deepEqual(
      error.message.split("\n").map((text) => text.slice(0, text.indexOf(": ", 13))),
      [
        "node.yaml:1: nodeName",
        "node.yaml:2: limits.entries",
        "node.yaml:3: limits.idle",
        "node.yaml:4: log.level",
        "node.yaml:5: nodename",
      ],
    );
  });

  void it("that is no YAML is refused with the line of the mistake", () => {
    for (const [text, line] of [
      ["nodeName: n\novs: [1\nlog: 2\n", 3],
      ["nodeName: n\nnodeName: m\n", 2],
      ["nodeName: n\n\tovs: x\n", 2],
      ["nodeName: n\n---\nnodeName: m\n", 1],
    ] as const) {
      const error = failure(text);
      assert.equal(error.code, "CONFIG_SYNTAX");
      assert.deepEqual(
        error.problems.map((each) => each.line),
        [line],
        error.message,
      );
    }
  });

  void it("that is empty lacks the node's name", () => {
    for (const text of ["", "# nothing\n", "\uFEFF"]) {
      assert.match(problem(text), /^1 nodeName: is missing and must be the name/);
    }
  });

  void it("gives the line where an alias is used, not where it was defined", () => {
    const error = failure("nodeName: &n node\nlimits:\n  entries: *n\n");
    assert.equal(error.problems[0]!.line, 3);
  });

  for (const [text, line] of [
    ["tunnel: &a\n  interface: *a", 2],
    ["nodeName: n\nsharedNamespaces: &a\n- x\n- *a", 4],
    ["&a [*a]", 1],
    ["nodeName: n\novs: &a\n  bridge: &b [x]\n  database: [[*b, *a]]", 4],
    // The name is given twice; the alias belongs to the second one, which is still open.
    ["nodeName: &a n\nlog: &a {level: *a}", 2],
  ] as const) {
    void it(`that contains itself is refused: ${text.replaceAll("\n", " | ")}`, () => {
      const error = failure(text);
      assert.equal(error.code, "CONFIG_SYNTAX");
      assert.equal(
        error.message,
        `node.yaml:${line}: uses *a inside of the value that &a names, which would never end; write the value out in the place of *a`,
      );
    });
  }

  for (const [levels, width] of [
    [12, 9],
    [19, 5],
    [33, 3],
  ] as const) {
    void it(`whose ${levels} aliases of ${width} aliases grow without bound is refused before they are written out`, () => {
      const lists = Array.from({ length: levels }, (_, level) => {
        const items = Array.from({ length: width }, () => (level === 0 ? "x" : `*a${level - 1}`));
        return `- &a${level} [${items.join(", ")}]`;
      });
      const error = failure(`nodeName: n\nsharedNamespaces:\n${lists.join("\n")}\n`);
      assert.equal(error.code, "CONFIG_SYNTAX");
      assert.match(error.message, /^node\.yaml:\d+: has more than 1048576 characters with its aliases written out/);
      assert.equal(error.problems.length, 1);
    });
  }

  void it("has a long value named in short, however often an alias repeats it", () => {
    const error = failure(`nodeName: n\nlog: &a [${"x".repeat(10_000)}]\ncni: [*a, *a, *a]\novs: [*a, *a]\n`);
    assert.deepEqual(
      error.problems.map((each) => [each.line, each.path]),
      [
        [2, "log"],
        [3, "cni"],
        [4, "ovs"],
      ],
    );
    assert.ok(error.message.length < 1000, error.message);
  });

  void it("that cannot be read is an error with its cause", () => {
    const error = failure("", () => loadConfig("/nonexistent/fabric-node.yaml"));
    assert.equal(error.code, "CONFIG_UNREADABLE");
    assert.match(error.message, /^\/nonexistent\/fabric-node\.yaml:1: cannot be read \(ENOENT.*--config/);
    assert.ok(error.cause instanceof Error);
  });

  void it("is read from disk, and refused unread when it is too large", () => {
    const directory = mkdtempSync(join(tmpdir(), "fabric-config-"));
    try {
      const file = join(directory, "node.yaml");
      writeFileSync(file, "nodeName: from-disk\n");
      assert.equal(loadConfig(file).nodeName, "from-disk");
      writeFileSync(file, "#".repeat((1 << 20) + 1));
      assert.equal(failure("", () => loadConfig(file)).code, "CONFIG_UNREADABLE");
    } finally {
      rmSync(directory, { recursive: true });
    }
  });

  void it("of any content yields a configuration or a ConfigError, never another error", () => {
    const line = fc.oneof(
      fc.constantFrom(
        "nodeName: n",
        "ovs:",
        "  bridge: x",
        "tunnel: &a",
        "  interface: *a",
        "log: &b [*a, *a]",
        "sharedNamespaces: [*b, *b, &c x]",
        "cni: {socket: *c}",
        "nodeName: 123456789012345678901234567890",
        "nodeName: !!timestamp 2001-99-99",
        "nodeName: !!set {a, b}",
        "nodeName: !!omap [a: b]",
        "---",
        "- 1",
        "? {a: b}",
        ": c",
        "limits: {",
        "<<: *a",
        "'",
        "!!binary x",
      ),
      fc.string({ maxLength: 20, unit: "binary" }),
    );
    fc.assert(
      fc.property(fc.array(line, { maxLength: 8 }), (lines) => {
        try {
          parseConfig(lines.join("\n"), "f");
        } catch (error) {
          assert.ok(error instanceof ConfigError, String(error));
          assert.ok(error.problems.length > 0);
          for (const each of error.problems)
            assert.ok(each.line >= 1 && each.line <= lines.join("\n").split("\n").length + 1);
        }
      }),
      { numRuns: 500, examples: [[["tunnel: &a", "  interface: *a"]]] },
    );
  });
});

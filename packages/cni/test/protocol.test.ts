import assert from "node:assert/strict";
import { describe, it } from "node:test";
import * as fc from "fast-check";
import {
  CniError,
  FEATURES,
  parseArguments,
  parseOperation,
  SUPPORTED_VERSIONS,
  type CniEnvironment,
} from "../src/index.ts";

const previous = {
  cniVersion: "1.0.0",
  interfaces: [{ name: "eth0", mac: "0a:58:0a:f4:01:05", sandbox: "/run/netns/x" }],
  ips: [{ address: "10.244.1.5/32", interface: 0 }],
  routes: [{ dst: "0.0.0.0/0", gw: "10.244.1.1" }],
};

function environment(command: string, change: CniEnvironment = {}): CniEnvironment {
  return {
    CNI_COMMAND: command,
    CNI_CONTAINERID: "c0ffee",
    CNI_NETNS: "/run/netns/x",
    CNI_IFNAME: "eth0",
    CNI_ARGS: "IgnoreUnknown=1;K8S_POD_NAMESPACE=shop;K8S_POD_NAME=web-0;K8S_POD_UID=1234;OTHER=x",
    CNI_PATH: "/opt/cni/bin",
    ...change,
  };
}

function config(change: object = {}): string {
  return JSON.stringify({ cniVersion: "1.1.0", name: "beyondfabric", type: "fabric-cni", ...change });
}

function refusal(env: CniEnvironment, stdin: string): CniError {
  try {
    parseOperation(env, stdin);
  } catch (error) {
    assert.ok(error instanceof CniError, String(error));
    return error;
  }
  throw new Error("it was accepted");
}

describe("commands of every version", () => {
  const extra: Record<string, object> = {
    CHECK: { prevResult: previous },
    GC: { "cni.dev/valid-attachments": [{ containerID: "c1", ifname: "eth0" }] },
  };
  for (const version of SUPPORTED_VERSIONS) {
    for (const command of ["ADD", "DEL", "CHECK", "GC", "STATUS", "VERSION"]) {
      const { check, gcAndStatus } = FEATURES[version];
      const exists = command === "CHECK" ? check : command === "GC" || command === "STATUS" ? gcAndStatus : true;
      it(`${version} ${command}: ${exists ? "accepted" : "code 1"}`, () => {
        const stdin = config({ cniVersion: version, ...extra[command] });
        if (exists) assert.equal(parseOperation(environment(command), stdin).command, command);
        else {
          const { code, message, details } = refusal(environment(command), stdin);
          assert.equal(code, 1);
          assert.match(message + details, new RegExp(`${version}.*${command}`));
        }
      });
    }
  }
  it("the specification's table: CHECK from 0.4.0, GC and STATUS from 1.1.0", () => {
    assert.deepEqual(
      SUPPORTED_VERSIONS.map((version) => [version, FEATURES[version].check, FEATURES[version].gcAndStatus]),
      [
        ["0.3.1", false, false],
        ["0.4.0", true, false],
        ["1.0.0", true, false],
        ["1.1.0", true, true],
      ],
    );
  });
});

describe("parameters of an attachment", () => {
  it("reads pod, arguments and capability arguments", () => {
    const operation = parseOperation(environment("ADD"), config({ runtimeConfig: { bandwidth: { ingressRate: 1 } } }));
    assert.ok(operation.command === "ADD");
    const { pod, netns, ifname, containerId, networkName, runtimeConfig, args } = operation.parameters;
    assert.deepEqual(pod, { namespace: "shop", name: "web-0", uid: "1234" });
    assert.deepEqual(
      { netns, ifname, containerId, networkName },
      { netns: "/run/netns/x", ifname: "eth0", containerId: "c0ffee", networkName: "beyondfabric" },
    );
    assert.deepEqual(runtimeConfig, { bandwidth: { ingressRate: 1 } });
    assert.equal(args.get("OTHER"), "x");
    assert.equal(operation.previous, undefined);
  });

  it("DEL needs no namespace, no sound prevResult and no sound CNI_ARGS", () => {
    const operation = parseOperation(
      environment("DEL", { CNI_NETNS: "", CNI_ARGS: "garbage;;=;A=" }),
      config({ prevResult: 7, runtimeConfig: 9, ipam: { type: "host-local" } }),
    );
    assert.ok(operation.command === "DEL");
    assert.equal(operation.parameters.netns, undefined);
  });

  const variables: [name: keyof CniEnvironment, value: string | undefined, says: RegExp][] = [
    ["CNI_COMMAND", "RUN", /CNI_COMMAND.*ADD, DEL/],
    ["CNI_COMMAND", "add", /CNI_COMMAND/],
    ["CNI_COMMAND", undefined, /CNI_COMMAND/],
    ["CNI_CONTAINERID", undefined, /CNI_CONTAINERID/],
    ["CNI_CONTAINERID", "", /CNI_CONTAINERID/],
    ["CNI_CONTAINERID", "../x", /CNI_CONTAINERID/],
    ["CNI_CONTAINERID", "-x", /CNI_CONTAINERID/],
    ["CNI_CONTAINERID", "a b", /CNI_CONTAINERID/],
    ["CNI_CONTAINERID", "a".repeat(256), /255/],
    ["CNI_NETNS", undefined, /CNI_NETNS/],
    ["CNI_NETNS", "run/netns/x", /absolute/],
    ["CNI_IFNAME", undefined, /CNI_IFNAME/],
    ["CNI_IFNAME", ".", /CNI_IFNAME/],
    ["CNI_IFNAME", "..", /CNI_IFNAME/],
    ["CNI_IFNAME", "a/b", /CNI_IFNAME/],
    ["CNI_IFNAME", "a:b", /CNI_IFNAME/],
    ["CNI_IFNAME", "a b", /CNI_IFNAME/],
    ["CNI_IFNAME", "sixteen-bytes-xx", /15 bytes, not 16/],
    ["CNI_IFNAME", "ääääääää", /15 bytes, not 16/],
    ["CNI_ARGS", "NOVALUE", /KEY=VALUE/],
    ["CNI_ARGS", "K8S_POD_NAMSPACE=x", /K8S_POD_NAMSPACE.*IgnoreUnknown/],
    ["CNI_ARGS", "IgnoreUnknown=1;" + "A=1;".repeat(65), /64 pairs/],
    ["CNI_NETNS", "/run/\0", /zero byte/],
  ];
  for (const [name, value, says] of variables) {
    it(`${name}=${JSON.stringify(value)?.slice(0, 30)}: code 4 that names it`, () => {
      const env = environment("ADD", value === undefined ? {} : { [name]: value });
      if (value === undefined) delete env[name];
      const { code, message, details } = refusal(env, config());
      assert.equal(code, 4);
      assert.match(`${message} ${details}`, says);
    });
  }

  it("names of 15 bytes pass", () => {
    assert.equal(parseOperation(environment("ADD", { CNI_IFNAME: "fifteen-bytes-x" }), config()).command, "ADD");
  });

  it("IgnoreUnknown lets unknown keys pass, spelled as runtimes do", () => {
    for (const yes of ["1", "true", "True", "t"])
      assert.equal(parseArguments(`IgnoreUnknown=${yes};X=1`, false).size, 2);
    assert.throws(() => parseArguments("IgnoreUnknown=0;X=1", false), CniError);
    assert.equal(parseArguments("X=a=b;IgnoreUnknown=1", false).get("X"), "a=b");
  });
});

describe("network configuration", () => {
  const cases: [what: string, stdin: string, code: number, says: RegExp][] = [
    ["empty", "", 6, /not JSON/],
    ["cut off", '{"cniVersion":', 6, /not JSON/],
    ["a list", "[]", 6, /not an object/],
    ["null", "null", 6, /not an object/],
    ["no version", '{"name":"x","type":"fabric-cni"}', 1, /0\.1\.0.*serves 0\.3\.1/],
    ["an old version", config({ cniVersion: "0.2.0" }), 1, /0\.2\.0/],
    ["a version to come", config({ cniVersion: "2.0.0" }), 1, /2\.0\.0/],
    ["a version that is none", config({ cniVersion: "latest" }), 6, /latest/],
    ["a version that is a number", config({ cniVersion: 1 }), 6, /1/],
    ["no name", JSON.stringify({ cniVersion: "1.0.0", type: "fabric-cni" }), 7, /name must/],
    ["a name with a slash", config({ name: "a/b" }), 7, /a\/b/],
    ["ipam", config({ ipam: { type: "host-local" } }), 2, /ipam.*host-local/],
    ["runtimeConfig of another type", config({ runtimeConfig: [] }), 7, /runtimeConfig/],
    ["dns of another type", config({ dns: "10.0.0.10" }), 7, /dns/],
    ["prevResult of another type", config({ prevResult: [] }), 7, /prevResult/],
    [
      "prevResult with a wrong index",
      config({ prevResult: { ips: [{ address: "1.1.1.1/32", interface: 2 }] } }),
      7,
      /index/,
    ],
    ["prevResult with a nameless interface", config({ prevResult: { interfaces: [{}] } }), 7, /interfaces\[0\]\.name/],
  ];
  for (const [what, stdin, code, says] of cases) {
    it(`${what}: code ${code}`, () => {
      const error = refusal(environment("ADD"), stdin);
      assert.equal(error.code, code);
      assert.match(`${error.message} ${error.details}`, says);
    });
  }

  it("CHECK without prevResult is refused", () => {
    assert.match(refusal(environment("CHECK"), config()).details, /prevResult must be there/);
  });

  it("GC: a missing list is refused, null and an empty list are empty", () => {
    assert.match(refusal(environment("GC"), config()).details, /valid-attachments must be there/);
    for (const list of [null, []]) {
      const operation = parseOperation(environment("GC"), config({ "cni.dev/valid-attachments": list }));
      assert.ok(operation.command === "GC");
      assert.deepEqual(operation.valid, []);
    }
    assert.equal(refusal(environment("GC"), config({ "cni.dev/valid-attachments": [{ ifname: "eth0" }] })).code, 7);
  });

  it("VERSION takes an empty input", () => {
    assert.deepEqual(parseOperation({ CNI_COMMAND: "VERSION" }, ""), { command: "VERSION", asked: undefined });
  });
});

describe("untrusted input", () => {
  const command = fc.oneof(fc.constantFrom("ADD", "DEL", "CHECK", "GC", "STATUS", "VERSION"), fc.string());
  const text = fc.string({ unit: "binary", maxLength: 40 });
  const env = fc.record(
    { CNI_COMMAND: command, CNI_CONTAINERID: text, CNI_NETNS: text, CNI_IFNAME: text, CNI_ARGS: text },
    { requiredKeys: ["CNI_COMMAND"] },
  );
  const shaped = fc.record(
    {
      cniVersion: fc.oneof(fc.constantFrom(...SUPPORTED_VERSIONS), fc.anything()),
      name: fc.oneof(fc.constant("net"), fc.anything()),
      prevResult: fc.oneof(
        fc.anything(),
        fc.record({ interfaces: fc.anything(), ips: fc.anything(), routes: fc.anything(), dns: fc.anything() }),
      ),
      runtimeConfig: fc.anything(),
      ipam: fc.anything(),
      "cni.dev/valid-attachments": fc.anything(),
    },
    { requiredKeys: ["cniVersion", "name"] },
  );

  it("either an operation or a CniError with a code of the specification, never anything else", () => {
    const stdin = fc.oneof(
      fc.string(),
      fc.json(),
      shaped.map((value) => JSON.stringify(value, (_, part: unknown) => (typeof part === "bigint" ? 0 : part)) ?? ""),
    );
    fc.assert(
      fc.property(env, stdin, (variables, input) => {
        try {
          const operation = parseOperation(variables, input);
          assert.equal(operation.command, variables.CNI_COMMAND);
          if (operation.command === "ADD") assert.match(operation.parameters.containerId, /^[A-Za-z0-9][\w.-]*$/);
        } catch (error) {
          assert.ok(error instanceof CniError, String(error));
          assert.ok([1, 2, 4, 6, 7].includes(error.code), String(error.code));
          assert.ok(error.details.length < 5_000);
        }
      }),
      { numRuns: 3_000 },
    );
  });
});

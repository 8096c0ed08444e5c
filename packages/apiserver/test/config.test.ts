import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { readConfig } from "../src/config.ts";
import { features, hasFeature } from "../src/index.ts";
import { parseServiceRange } from "../src/kinds/service.ts";

const GOOD = { listen: [{ host: "127.0.0.1", port: 0 }], certificateFile: "/crt", keyFile: "/key" };

function read(config: unknown): ReturnType<typeof readConfig> {
  return readConfig("/config", (path) => {
    if (path === "/config") return typeof config === "string" ? config : JSON.stringify(config);
    if (path === "/crt" || path === "/key" || path === "/ca") return `content of ${path}`;
    throw new Error(`no such file: ${path}`);
  });
}

describe("the configuration file", () => {
  test("is read with the files that it names", () => {
    const options = read({ ...GOOD, clientAuthorityFile: "/ca", tokens: [{ token: "12345678", user: "a" }] });
    assert.deepEqual(options.tls, {
      certificate: "content of /crt",
      key: "content of /key",
      clientAuthority: "content of /ca",
    });
    assert.deepEqual(options.tokens, [{ token: "12345678", user: "a", groups: [] }]);
  });

  const bad: [unknown, RegExp][] = [
    ["{", /\/config: is not JSON/],
    ["[]", /must be an object/],
    [{ ...GOOD, colour: "red" }, /colour: unknown field/],
    [{ ...GOOD, listen: [] }, /listen: must name at least one address/],
    [{ ...GOOD, listen: [{ host: "::1", port: 70_000 }] }, /listen\[0\]\.port/],
    [{ ...GOOD, listen: [{ port: 1 }] }, /listen\[0\]\.host/],
    [{ ...GOOD, keyFile: undefined }, /keyFile: is required/],
    [{ ...GOOD, keyFile: "/absent" }, /keyFile: cannot read \/absent/],
    [{ ...GOOD, historySize: -1 }, /historySize: must be a positive number/],
    [{ ...GOOD, tokens: [{ token: "short", user: "a" }] }, /tokens\[0\]\.token/],
  ];
  for (const [config, message] of bad) {
    test(`${JSON.stringify(config)} is refused`, () => {
      assert.throws(() => read(config), { code: "APISERVER_CONFIG_INVALID", message });
    });
  }
});

describe("service ranges", () => {
  test("are read for both families", () => {
    assert.deepEqual(parseServiceRange("10.96.0.0/16"), { family: "IPv4", base: 0x0a600000n, size: 65_536 });
    assert.equal(parseServiceRange("fd00:96::/112").family, "IPv6");
  });
  test("are refused when they are none", () => {
    for (const cidr of ["10.96.0.0", "10.96.0.0/33", "x/8", "10.0.0.0/", "::/129"]) {
      assert.throws(() => parseServiceRange(cidr), /service CIDR/);
    }
  });
});

describe("the table of features", () => {
  test("names every feature once", () => {
    assert.equal(new Set(features.map(({ feature }) => feature)).size, features.length);
  });
  test("answers, and refuses to guess", () => {
    assert.equal(hasFeature("embedded", "endPort"), true);
    assert.equal(hasFeature("kubernetes-1.20", "endPort"), false);
    assert.throws(() => hasFeature("embedded", "telepathy"), RangeError);
  });
});

import assert from "node:assert/strict";
import { describe, it } from "node:test";
import {
  CniError,
  formatError,
  formatResult,
  formatVersion,
  mergeResult,
  parsePreviousResult,
  SUPPORTED_VERSIONS,
  type Attachment,
} from "../src/index.ts";

const attachment: Attachment = {
  hostInterface: { name: "fab12345", mac: "02:00:00:00:00:01" },
  podInterface: { name: "eth0", mac: "0a:58:0a:f4:01:05", sandbox: "/run/netns/x", mtu: 1450 },
  ips: [
    { address: "10.244.1.5/32", gateway: "10.244.1.1" },
    { address: "fd00:244::1:5/128", gateway: "fd00:244::1:1" },
  ],
  routes: [
    { dst: "0.0.0.0/0", gw: "10.244.1.1", mtu: 1400 },
    { dst: "::/0", gw: "fd00:244::1:1" },
  ],
};

describe("result of ADD (SPEC.md section 5)", () => {
  const ips4 = { address: "10.244.1.5/32", gateway: "10.244.1.1", interface: 1 };
  const ips6 = { address: "fd00:244::1:5/128", gateway: "fd00:244::1:1", interface: 1 };
  for (const version of SUPPORTED_VERSIONS) {
    it(version, () => {
      const old = version.startsWith("0.");
      const newest = version === "1.1.0";
      assert.deepEqual(JSON.parse(formatResult(version, mergeResult(undefined, attachment, {}))), {
        cniVersion: version,
        interfaces: [
          { name: "fab12345", mac: "02:00:00:00:00:01" },
          { name: "eth0", mac: "0a:58:0a:f4:01:05", ...(newest ? { mtu: 1450 } : {}), sandbox: "/run/netns/x" },
        ],
        ips: [old ? { version: "4", ...ips4 } : ips4, old ? { version: "6", ...ips6 } : ips6],
        routes: [
          { dst: "0.0.0.0/0", gw: "10.244.1.1", ...(newest ? { mtu: 1400 } : {}) },
          { dst: "::/0", gw: "fd00:244::1:1" },
        ],
        dns: {},
      });
    });
  }

  it("comes behind what earlier plug-ins of the chain made, with indexes that still fit", () => {
    const previous = parsePreviousResult({
      cniVersion: "0.4.0",
      interfaces: [
        { name: "br0", mac: "02:00:00:00:00:09" },
        { name: "net1", sandbox: "/run/netns/x" },
      ],
      ips: [{ version: "4", address: "192.0.2.7/24", interface: 1 }],
      routes: [{ dst: "192.0.2.0/24" }],
      dns: { nameservers: ["192.0.2.53"], domain: "before" },
    });
    const result = JSON.parse(
      formatResult("0.4.0", mergeResult(previous, { ...attachment, dns: { domain: "ours" } }, {})),
    ) as {
      interfaces: { name: string }[];
      ips: { address: string; interface: number; version: string }[];
      routes: unknown[];
      dns: unknown;
    };
    assert.deepEqual(
      result.interfaces.map((entry) => entry.name),
      ["br0", "net1", "fab12345", "eth0"],
    );
    assert.deepEqual(
      result.ips.map((ip) => [ip.address, result.interfaces[ip.interface]?.name, ip.version]),
      [
        ["192.0.2.7/24", "net1", "4"],
        ["10.244.1.5/32", "eth0", "4"],
        ["fd00:244::1:5/128", "eth0", "6"],
      ],
    );
    assert.equal(result.routes.length, 3);
    assert.deepEqual(result.dns, { nameservers: ["192.0.2.53"], domain: "ours" });
  });

  it("reads back what it printed, in every version", () => {
    for (const version of SUPPORTED_VERSIONS) {
      const text = formatResult(version, mergeResult(undefined, attachment, {}));
      assert.equal(formatResult(version, parsePreviousResult(JSON.parse(text))), text);
    }
  });
});

describe("errors and VERSION", () => {
  it("prints code, message and details in the caller's version", () => {
    assert.deepEqual(JSON.parse(formatError("0.4.0", new CniError(7, "bad", "because"))), {
      cniVersion: "0.4.0",
      code: 7,
      msg: "bad",
      details: "because",
    });
    assert.deepEqual(JSON.parse(formatError(undefined, new CniError(11, "later"))), {
      cniVersion: "1.1.0",
      code: 11,
      msg: "later",
    });
  });

  it("VERSION repeats the version that it was asked with", () => {
    const supportedVersions = ["0.3.1", "0.4.0", "1.0.0", "1.1.0"];
    assert.deepEqual(JSON.parse(formatVersion("0.4.0")), { cniVersion: "0.4.0", supportedVersions });
    assert.deepEqual(JSON.parse(formatVersion(undefined)), { cniVersion: "1.1.0", supportedVersions });
    assert.deepEqual(JSON.parse(formatVersion({ x: 1 })), { cniVersion: "1.1.0", supportedVersions });
  });
});

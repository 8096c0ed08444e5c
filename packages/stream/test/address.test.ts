import assert from "node:assert/strict";
import { test } from "node:test";
import { formatAddress, parseAddress, StreamError } from "@beyondfabric/stream";

void test("addresses are read and written", () => {
  const cases: [string, unknown][] = [
    ["unix:/run/ovs/db.sock", { kind: "unix", path: "/run/ovs/db.sock" }],
    ["unix:/run/a b:c", { kind: "unix", path: "/run/a b:c" }],
    ["tcp:127.0.0.1:6640", { kind: "tcp", host: "127.0.0.1", port: 6640 }],
    ["tcp:switch.example:1", { kind: "tcp", host: "switch.example", port: 1 }],
    ["tcp:[fd00::1]:65535", { kind: "tcp", host: "fd00::1", port: 65535 }],
    ["tcp:[fe80::1%eth0]:6653", { kind: "tcp", host: "fe80::1%eth0", port: 6653 }],
  ];
  for (const [text, value] of cases) {
    const address = parseAddress(text);
    assert.deepStrictEqual(address, value);
    assert.equal(formatAddress(address), text);
  }
});

void test("what is not an address is refused with the reason", () => {
  const cases: [string, RegExp][] = [
    ["", /expected unix:\/PATH or tcp:HOST:PORT/],
    ["/run/ovs/db.sock", /expected unix/],
    ["unix:db.sock", /absolute/],
    ["unix:/a\0b", /zero byte/],
    [`unix:/${"x".repeat(107)}`, /at most 107 bytes, this one has 108/],
    ["tcp:fd00::1:6640", /IPv6/],
    ["tcp:host", /tcp:HOST:PORT/],
    ["tcp:host:0", /between 1 and 65535/],
    ["tcp:host:65536", /between 1 and 65535/],
    ["ssl:host:6640", /expected unix/],
  ];
  for (const [text, message] of cases) {
    assert.throws(
      () => parseAddress(text),
      (error) => error instanceof StreamError && error.code === "STREAM_INVALID" && message.test(error.message),
      text,
    );
  }
  assert.equal(parseAddress(`unix:/${"x".repeat(106)}`).kind, "unix");
});

import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { decodeProtobuf } from "../../src/protobuf/decode.ts";

function varint(value: number): Buffer {
  const bytes: number[] = [];
  let rest = BigInt.asUintN(64, BigInt(value));
  for (; rest >= 0x80n; rest >>= 7n) bytes.push(Number(rest & 0x7fn) | 0x80);
  return Buffer.from([...bytes, Number(rest)]);
}

function field(number: number, value: string | Buffer | number): Buffer {
  if (typeof value === "number") return Buffer.concat([varint(number * 8), varint(value)]);
  const bytes = Buffer.from(value);
  return Buffer.concat([varint(number * 8 + 2), varint(bytes.length), bytes]);
}

function envelope(apiVersion: string, kind: string, ...fields: Buffer[]): Buffer {
  const type = Buffer.concat([field(1, apiVersion), field(2, kind)]);
  return Buffer.concat([
    Buffer.from("k8s\0"),
    field(1, type),
    field(2, Buffer.concat(fields)),
    field(3, ""),
    field(4, ""),
  ]);
}

describe("protobuf", () => {
  test("a ConfigMap as a client writes it: zero values are fields that are not set", () => {
    const metadata = Buffer.concat([field(1, "name"), field(2, ""), field(3, "ns"), field(7, 0), field(8, "")]);
    const entry = Buffer.concat([field(1, "key"), field(2, "välue")]);
    const body = envelope("v1", "ConfigMap", field(1, metadata), field(2, entry), field(4, 0));
    assert.deepEqual(decodeProtobuf(body), {
      apiVersion: "v1",
      kind: "ConfigMap",
      metadata: { name: "name", namespace: "ns" },
      data: { key: "välue" },
      immutable: false,
    });
  });

  test("numbers, ports and negative values", () => {
    const port = Buffer.concat([
      field(1, "http"),
      field(2, "TCP"),
      field(3, 80),
      field(4, Buffer.concat([field(1, 1), field(2, 0), field(3, "web")])),
    ]);
    const service = envelope("v1", "Service", field(2, field(1, port)));
    assert.deepEqual(decodeProtobuf(service)["spec"], {
      ports: [{ name: "http", protocol: "TCP", port: 80, targetPort: "web" }],
    });
    const priority = envelope("scheduling.k8s.io/v1", "PriorityClass", field(2, -5));
    assert.equal(decodeProtobuf(priority)["value"], -5);
  });

  test("a field that is not known is refused, not dropped", () => {
    const body = envelope("v1", "ConfigMap", field(99, "something"));
    assert.throws(() => decodeProtobuf(body), { httpStatus: 400, message: /field number 99/ });
    const blank = envelope("v1", "ConfigMap", field(99, Buffer.concat([field(1, ""), field(2, 0)])));
    assert.deepEqual(decodeProtobuf(blank), { apiVersion: "v1", kind: "ConfigMap" });
  });

  test("kinds that are not read are an unsupported media type", () => {
    assert.throws(() => decodeProtobuf(envelope("v1", "Gadget")), { httpStatus: 415 });
    assert.throws(() => decodeProtobuf(envelope("v1", "constructor")), { httpStatus: 415 });
  });

  test("bytes that end early are refused", () => {
    const body = envelope("v1", "ConfigMap", field(1, field(1, "name")));
    for (let length = 0; length < body.length; length++) {
      try {
        decodeProtobuf(body.subarray(0, length));
      } catch (error) {
        assert.ok([400, 415].includes((error as { httpStatus: number }).httpStatus), String(error));
      }
    }
    assert.throws(() => decodeProtobuf(body.subarray(0, 3)), { httpStatus: 400 });
    assert.throws(() => decodeProtobuf(Buffer.from("k8s\0\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", "latin1")), {
      httpStatus: 400,
    });
  });
});

import assert from "node:assert/strict";
import { describe, it } from "node:test";
import * as fc from "fast-check";
import {
  decodeRequest,
  decodeResponse,
  encodeRequest,
  encodeResponse,
  ENVIRONMENT_NAMES,
  RpcError,
} from "../src/index.ts";

const text = fc.string({ unit: "binary" });

describe("the contract between executable and agent", () => {
  it("a request is one line, and comes back as it was", () => {
    const env = fc.record(Object.fromEntries(ENVIRONMENT_NAMES.map((name) => [name, text])), { requiredKeys: [] });
    fc.assert(
      fc.property(env, text, (variables, stdin) => {
        const line = encodeRequest(variables, stdin);
        assert.equal(line.indexOf("\n"), line.length - 1);
        const decoded = decodeRequest(line);
        assert.deepEqual({ ...decoded.env }, { ...variables });
        assert.equal(decoded.stdin, stdin);
      }),
    );
  });

  it("a response survives the spaces that a working agent sends before it", () => {
    fc.assert(
      fc.property(fc.integer({ min: 0, max: 255 }), text, fc.nat(5), (exitCode, stdout, beats) => {
        assert.deepEqual(decodeResponse(" ".repeat(beats) + encodeResponse({ exitCode, stdout })), {
          exitCode,
          stdout,
        });
      }),
    );
  });

  it("anything else is RpcError, and variables outside the protocol are dropped", () => {
    fc.assert(
      fc.property(fc.oneof(text, fc.json()), (line) => {
        for (const decode of [decodeRequest, decodeResponse]) {
          try {
            decode(line);
          } catch (error) {
            assert.ok(error instanceof RpcError, String(error));
          }
        }
      }),
    );
    assert.deepEqual(decodeRequest('{"version":1,"env":{"PATH":"/x","CNI_IFNAME":"a"},"stdin":""}').env, {
      CNI_IFNAME: "a",
    });
    for (const line of [
      '{"exitCode":-1,"stdout":""}',
      '{"exitCode":1.5,"stdout":""}',
      '{"exitCode":256,"stdout":""}',
      '{"exitCode":0}',
    ]) {
      assert.throws(() => decodeResponse(line), RpcError);
    }
  });
});

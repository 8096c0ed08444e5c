import assert from "node:assert/strict";
import { describe, it } from "node:test";
import * as fc from "fast-check";
import {
  bucketSelector,
  cookieBuckets,
  cookieFormat,
  DatapathError,
  decodeCookie,
  encodeCookie,
  isVerdictKind,
  kindSelector,
} from "../src/index.ts";

const kinds = ["base", "pod", "verdict", "refusal"] as const;
const anyKind = fc.constantFrom(...kinds);
const anyId = fc.integer({ min: 0, max: 0xffff_ffff });
const selects = ({ cookie, mask }: { cookie: bigint; mask: bigint }, other: bigint): boolean =>
  (cookie & mask) === (other & mask);

describe("a cookie", () => {
  it("is read back as it was written, and fits 64 bits", () => {
    fc.assert(
      fc.property(anyKind, anyId, (kind, id) => {
        const cookie = encodeCookie(kind, id);
        assert.equal(BigInt.asUintN(64, cookie), cookie);
        assert.deepEqual(decodeCookie(cookie), { kind, bucket: id % cookieBuckets, id });
      }),
    );
  });

  it("of others, of another format or of an unknown kind is none of ours", () => {
    fc.assert(
      fc.property(anyKind, anyId, fc.integer({ min: 1, max: 255 }), (kind, id, other) => {
        const cookie = encodeCookie(kind, id);
        assert.equal(decodeCookie(cookie ^ (BigInt(other) << 56n)), undefined);
        assert.equal(decodeCookie(cookie ^ (BigInt(other) << 48n)), undefined);
      }),
    );
    for (const kind of [0n, 5n, 255n]) {
      assert.equal(decodeCookie((0xbfn << 56n) | (BigInt(cookieFormat) << 48n) | (kind << 40n)), undefined);
    }
    for (const cookie of [0n, 0xffff_ffff_ffff_ffffn]) assert.equal(decodeCookie(cookie), undefined);
  });

  it("takes no number beyond 32 bits", () => {
    for (const id of [-1, 1.5, 0x1_0000_0000, Number.NaN]) {
      assert.throws(
        () => encodeCookie("pod", id),
        (error) => error instanceof DatapathError && error.code === "DATAPATH_BAD_COOKIE",
      );
    }
  });
});

describe("a selector", () => {
  it("of a bucket selects the verdicts of that bucket, and nothing else", () => {
    fc.assert(
      fc.property(fc.nat({ max: cookieBuckets - 1 }), anyKind, anyId, (bucket, kind, id) => {
        const expected = kind === "verdict" && id % cookieBuckets === bucket;
        assert.equal(selects(bucketSelector(bucket), encodeCookie(kind, id)), expected);
        assert.ok(selects(bucketSelector(id % cookieBuckets), encodeCookie("verdict", id)));
      }),
    );
  });

  it("of a kind selects that kind whatever the id", () => {
    fc.assert(
      fc.property(anyKind, anyKind, anyId, (wanted, kind, id) => {
        assert.equal(selects(kindSelector(wanted), encodeCookie(kind, id)), wanted === kind);
      }),
    );
  });
});

describe("on-demand entries", () => {
  it("are of the kinds verdict and refusal", () => {
    assert.deepEqual(
      kinds.filter((kind) => isVerdictKind(kind)),
      ["verdict", "refusal"],
    );
    assert.equal(isVerdictKind(undefined), false);
  });
});

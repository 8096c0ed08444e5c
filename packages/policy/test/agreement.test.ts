import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { addressAt, cidrSize, formatCidr } from "@beyondfabric/packet";
import { evaluateDirection, explainVerdict, passingRules } from "../src/index.ts";
import { oracleAllows, type World, type WorldPacket } from "./oracle.ts";
import { packetFacts, Product } from "./product.ts";
import { Dice } from "./dice.ts";
import { randomPacket, randomWorld } from "./world.ts";

const worlds = 100_000;
const packetsPerWorld = 5;

/** Another seed with every run, printed, so that a failure can be repeated: `WORLD_SEED=n`. */
const seed = Number(process.env["WORLD_SEED"] ?? Math.floor(Math.random() * 2 ** 31));

function complaint(number: number, world: World, packet: WorldPacket, what: string): string {
  return `${what}; WORLD_SEED=${number}\n${JSON.stringify({ packet, world })}`;
}

describe("an evaluator that shares no code", () => {
  it(`agrees on ${worlds} random worlds (seed ${seed})`, () => {
    let allowed = 0;
    for (let number = seed; number < seed + worlds; number++) {
      const dice = new Dice(number);
      const world = randomWorld(dice);
      const product = new Product(world);
      for (let count = 0; count < packetsPerWorld; count++) {
        const packet = randomPacket(dice, world);
        const expected = oracleAllows(world, packet);
        if (expected) allowed++;
        const found = product.allows(packet);
        if (found !== expected) {
          assert.fail(complaint(number, world, packet, `the product ${found ? "allows" : "denies"} it`));
        }
      }
    }
    const share = allowed / (worlds * packetsPerWorld);
    assert.ok(share > 0.2 && share < 0.8, `worlds that are all alike prove nothing: ${share} of the packets pass`);
  });

  it("agrees with every packet of a verdict's prefix", () => {
    let wide = 0;
    for (let number = seed; number < seed + 10_000; number++) {
      const dice = new Dice(number);
      const world = randomWorld(dice);
      const product = new Product(world);
      const drawn = randomPacket(dice, world);
      if (!("pod" in drawn.to)) continue;
      const packet = { ...drawn, from: { stranger: { 4: "192.0.2.9", 6: "2001:db8::9" } } };
      const subject = product.party(packet.to, packet.family);
      const peer = product.party(packet.from, packet.family);
      assert.ok(subject.kind === "pod");
      const { openings, peerPrefix } = evaluateDirection(product.index, { direction: "ingress", subject, peer });
      const passes = passingRules(openings, packetFacts(packet)) !== undefined;
      if (cidrSize(peerPrefix) > 1n) wide++;
      for (const place of [0n, cidrSize(peerPrefix) / 3n, cidrSize(peerPrefix) - 1n]) {
        const address = addressAt(peerPrefix, place);
        const other = { ...packet, from: { stranger: { 4: address, 6: address } } };
        const found = oracleAllows(world, other);
        assert.equal(found, passes, complaint(number, world, other, `not the same for ${formatCidr(peerPrefix)}`));
      }
    }
    assert.ok(wide > 1000, `only ${wide} verdicts are about more than one address`);
  });

  it("agrees with the explanation, sentence and rules", () => {
    for (let number = seed; number < seed + 10_000; number++) {
      const dice = new Dice(number);
      const world = randomWorld(dice);
      const product = new Product(world);
      const packet = randomPacket(dice, world);
      const explanation = explainVerdict(product.index, {
        source: product.party(packet.from, packet.family),
        destination: product.party(packet.to, packet.family),
        packet: packetFacts(packet),
        sharedNamespaces: new Set(),
      });
      const expected = oracleAllows(world, packet);
      assert.equal(explanation.allowed, expected, complaint(number, world, packet, explanation.sentence));
      assert.equal(explanation.sentence.startsWith(expected ? "ALLOWED" : "DENIED"), true);
      for (const direction of explanation.directions) {
        if (direction.verdict.basis !== "rules") continue;
        const matching = direction.policies.flatMap(({ rules }) => rules).some(({ matched }) => matched);
        assert.equal(matching, direction.allowed, complaint(number, world, packet, direction.because));
      }
    }
  });
});

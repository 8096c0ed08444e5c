import assert from "node:assert/strict";
import { describe, it } from "node:test";
import * as fc from "fast-check";
import { canonicalFlow, decodeMessage, flowModFrame, type Flow } from "@beyondfabric/openflow";
import { formatCidr, parseCidr } from "@beyondfabric/packet";
import {
  associationEntry,
  associationFromFlow,
  encodeCookie,
  flowKey,
  flowModFor,
  editions,
  isGuardedFlow,
  sameVerdict,
  verdictFlow,
  verdictFromFlow,
  type Settled,
} from "../src/index.ts";
import { anyAnswered, type Answered } from "./verdict.arbitrary.ts";

const anyId = fc.integer({ min: 1, max: 0xffff_ffff });

const anyEdition = fc.integer({ min: 0, max: editions - 1 });

function flowOf({ question, decision }: Answered, id: number, edition = 0): Flow {
  return verdictFlow(decision, question, id, edition);
}

function readBack({ question, decision }: Answered, id: number, edition: number, flow: Flow): void {
  const read = verdictFromFlow(flow);
  assert.ok(read !== undefined);
  assert.equal(read.id, id);
  assert.equal(read.edition, decision.verdict === "deny" ? 0 : edition);
  assert.deepEqual(read.question, question);
  assert.ok(sameVerdict(read.decision, decision), `${JSON.stringify(read.decision)}, was ${JSON.stringify(decision)}`);
}

describe("a verdict", () => {
  it("is read back from its entry: as written, as a switch reports it, and off the wire", () => {
    fc.assert(
      fc.property(anyAnswered, anyId, anyEdition, (answered, id, edition) => {
        const flow = flowOf(answered, id, edition);
        readBack(answered, id, edition, flow);
        readBack(answered, id, edition, canonicalFlow(flow));
        const { key, frame } = flowModFor("add", answered.question, answered.decision, id, edition);
        const message = decodeMessage(frame);
        assert.ok(message.type === "flow_mod" && message.command === "add");
        assert.equal(flowKey(message.flow), key);
        readBack(answered, id, edition, message.flow);
      }),
      { numRuns: 300 },
    );
  });

  it("has its associations read back from their entries, and each is told apart", () => {
    const anyPort = fc.integer({ min: 1, max: 0xffff });
    const anyDirection = fc.constantFrom("there" as const, "back" as const);
    fc.assert(
      fc.property(
        anyAnswered,
        anyId,
        anyPort,
        anyPort,
        anyDirection,
        (answered, id, sourcePort, destinationPort, direction) => {
          const { question, decision } = answered;
          fc.pre(decision.verdict === "allow");
          const { source, destination } = question;
          const end = { direction, source, destination, sourcePort, destinationPort };
          const flow = associationEntry(decision, question, id, 1, end);
          for (const each of [flow, canonicalFlow(flow)]) {
            assert.ok(isGuardedFlow(each));
            assert.deepEqual(associationFromFlow(each), { question, end });
          }
          const other = { ...end, direction: direction === "there" ? ("back" as const) : ("there" as const) };
          assert.notEqual(flowKey(associationEntry(decision, question, id, 1, other)), flowKey(flow));
          assert.equal(associationFromFlow(flowOf(answered, id)), undefined);
        },
      ),
      { numRuns: 300 },
    );
  });

  it("has the frame that the codec makes of its entry, from a template or not", () => {
    const anyPair = anyAnswered.map(({ question, decision }): Answered => {
      const { source, destination } = question;
      const width = source.includes(":") ? 128 : 32;
      const cube = { source: parseCidr(`${source}/${width}`), destination: parseCidr(`${destination}/${width}`) };
      return { question, decision: { ...decision, cube } };
    });
    fc.assert(
      fc.property(
        fc.oneof(anyPair, anyAnswered),
        anyId,
        anyEdition,
        fc.constantFrom("add" as const, "delete_strict" as const),
        (answered, id, edition, command) => {
          const { frame } = flowModFor(command, answered.question, answered.decision, id, edition);
          assert.deepEqual(frame, flowModFrame(command, flowOf(answered, id, edition), 0));
        },
      ),
      { numRuns: 2000 },
    );
  });

  it("stands in the table of its packets, exact pairs above prefixes", () => {
    fc.assert(
      fc.property(anyAnswered, anyId, (answered, id) => {
        const { source, destination } = answered.decision.cube;
        const width = source.family === 4 ? 32 : 128;
        const flow = flowOf(answered, id);
        assert.equal(flow.table, ["tunnel", "uplink"].includes(answered.question.from) ? 60 : 50);
        assert.equal(flow.priority, source.length === width && destination.length === width ? 200 : 100);
      }),
    );
  });
});

describe("an entry that no verdict wrote", () => {
  const decision: Settled = {
    verdict: "allow",
    cube: { source: parseCidr("10.244.1.5/32"), destination: parseCidr("10.244.2.0/24") },
    way: { kind: "tunnel", destination: "10.10.0.12", vni: 7 },
    reason: "to-remote-pod",
    explanation: "for this test",
    dependsOn: [],
  };
  const flow = verdictFlow(decision, { from: "pod" }, 9, 0);
  const withoutField = (name: string): Flow => ({ ...flow, match: flow.match.filter(({ field }) => field !== name) });
  const loads = (...actions: Extract<Flow["instructions"][number], { type: "apply_actions" }>["actions"]): Flow => ({
    ...flow,
    instructions: [{ type: "apply_actions", actions }],
  });
  const reg5 = { field: "reg5", offset: 0, bits: 32 } as const;

  it("is told apart, while the one beside it is read", () => {
    const read = verdictFromFlow(flow);
    assert.equal(read && formatCidr(read.decision.cube.destination), "10.244.2.0/24");
    const strangers: Record<string, Flow> = {
      "a pod's cookie": { ...flow, cookie: encodeCookie("pod", 9) },
      "no cookie of ours": { ...flow, cookie: 9n },
      "another table": { ...flow, table: 70 },
      "no source class": withoutField("reg0"),
      "a tunnel source in egress": { ...flow, match: [...flow.match, { field: "tun_src", value: 1n }] },
      "a tunnel packet of no tunnel": verdictFlow(decision, { from: "tunnel" }, 9, 0),
      "a mask with a hole": {
        ...withoutField("ip_dst"),
        match: [...withoutField("ip_dst").match, { field: "ip_dst", value: 0n, mask: 0xff00_ff00n }],
      },
      "no action": { ...flow, instructions: [] },
      "an unknown verdict": loads({ type: "load", dst: reg5, value: 0xeen }),
      "a tunnel to nowhere": loads({ type: "load", dst: reg5, value: 2n }),
    };
    for (const [why, stranger] of Object.entries(strangers)) assert.equal(verdictFromFlow(stranger), undefined, why);
  });
});

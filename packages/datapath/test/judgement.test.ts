import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { ipProtocol, parseCidr } from "@beyondfabric/packet";
import type { DirectionVerdict, Openings } from "@beyondfabric/policy";
import {
  judgeAssociation,
  judgePacket,
  type Decision,
  type Guard,
  type Judgement,
  type ListeningEnd,
  type TrackedPacket,
} from "../src/index.ts";

const client = "10.244.1.5";
const server = "10.244.1.6";

function decision(openings: Openings): Decision {
  return {
    verdict: "allow",
    reason: "to-local-pod",
    explanation: "for this test",
    dependsOn: [],
    cube: { source: parseCidr(`${client}/32`), destination: parseCidr(`${server}/32`) },
    way: { kind: "local" },
    guard: { openings, judged: [] },
  };
}

const everything = decision({ kind: "everything", rules: [] });
const nothing = decision({ kind: "ports", TCP: [], UDP: [], SCTP: [] });
const port80 = decision({ kind: "ports", TCP: [{ first: 80, last: 80, rules: [] }], UDP: [], SCTP: [] });
const refused: Decision = { ...nothing, verdict: "deny" } as Decision;

/** A packet from client to server, or back, of a connection that conntrack has as `from` to `to`. */
function packet(
  standing: TrackedPacket["standing"],
  sender: string,
  tracked: { from: string; sourcePort: number; destinationPort: number; protocol?: number },
  more: Partial<TrackedPacket> = {},
): TrackedPacket {
  const { from, sourcePort, destinationPort, protocol = ipProtocol.tcp } = tracked;
  const connection = {
    source: from,
    destination: from === client ? server : client,
    protocol,
    sourcePort,
    destinationPort,
  };
  return {
    standing,
    source: sender,
    connection,
    isRemembered: false,
    isRelated: false,
    isLaterFragment: false,
    ...more,
  };
}

const opened = { from: client, sourcePort: 4000, destinationPort: 80 };
/** The same connection as conntrack has it when it met the server's answer first. */
const reversed = { from: server, sourcePort: 80, destinationPort: 4000 };

function said(judgement: Judgement): string {
  if (!judgement.passes) return "closed";
  const { remember } = judgement;
  return remember === undefined ? "passes" : `passes, ${remember.direction} by ${remember.originator}`;
}

function judge(tracked: TrackedPacket, there: Decision, back?: Decision, listening?: ListeningEnd): string {
  return said(judgePacket(tracked, there, back, () => listening));
}

describe("a packet that no entry judged", () => {
  it("passes as a fragment without ports where any port is open: it waits for the first of its datagram, which has them", () => {
    const udp80 = decision({ kind: "ports", TCP: [], UDP: [{ first: 80, last: 80, rules: [] }], SCTP: [] });
    const ports = { from: client, sourcePort: 0, destinationPort: 0, protocol: ipProtocol.udp };
    const fragment = packet("fresh", client, ports, { isLaterFragment: true });
    assert.equal(judge(fragment, udp80), "passes, there by tracked");
    assert.equal(judge(fragment, nothing), "closed");
    assert.equal(judge(packet("fresh", client, ports), udp80), "closed");
  });

  it("passes when its label permits it, whatever may be opened", () => {
    assert.equal(judge(packet("permitted", client, opened), nothing, nothing), "passes");
  });

  it("is judged as the first of its connection by the direction that it goes", () => {
    assert.equal(judge(packet("fresh", client, opened), port80, nothing), "passes, there by tracked");
    assert.equal(judge(packet("fresh", client, opened), nothing, everything), "closed");
    assert.equal(judge(packet("fresh", client, { ...opened, destinationPort: 81 }), port80), "closed");
  });

  it("is judged again when its label is not valid any more, in the direction of who opened it", () => {
    const remembered = { isRemembered: true, originator: "tracked" } as const;
    assert.equal(judge(packet("doubtful", client, opened, remembered), port80, nothing), "passes, there by tracked");
    assert.equal(judge(packet("doubtful", server, opened, remembered), nothing, port80), "passes, back by tracked");
    assert.equal(judge(packet("doubtful", server, opened, remembered), everything, nothing), "closed");
  });

  it("knows from the label that conntrack has a connection the wrong way round", () => {
    const remembered = { isRemembered: true, originator: "other" } as const;
    assert.equal(judge(packet("doubtful", client, reversed, remembered), port80, nothing), "passes, there by other");
    assert.equal(judge(packet("doubtful", server, reversed, remembered), nothing, port80), "passes, back by other");
    assert.equal(judge(packet("doubtful", server, reversed, remembered), everything, nothing), "closed");
  });

  it("met in the middle of a TCP connection is judged by which end listens", () => {
    const met = packet("doubtful", server, reversed);
    assert.equal(
      judge(met, everything, nothing, "source"),
      "closed",
      "the bypass: the server's own packet opens nothing",
    );
    assert.equal(judge(met, everything, port80, "source"), "passes, back by other");
    assert.equal(judge(met, everything, nothing, "destination"), "passes, there by tracked");
    assert.equal(judge(packet("doubtful", client, opened), port80, nothing, "destination"), "passes, there by tracked");
  });

  it("met in the middle, with nobody to tell, passes only where that does not matter, and is not remembered", () => {
    const met = packet("doubtful", server, reversed);
    assert.equal(judge(met, everything, nothing), "closed");
    assert.equal(judge(met, nothing, everything), "closed");
    assert.equal(judge(met, everything, everything), "passes");
    assert.equal(judge(met, everything, refused), "closed");
  });

  it("asks who listens only when that decides something", () => {
    const ask = (): ListeningEnd => assert.fail("asked");
    assert.equal(said(judgePacket(packet("doubtful", server, reversed), nothing, nothing, ask)), "closed");
    assert.equal(said(judgePacket(packet("fresh", client, opened), port80, nothing, ask)), "passes, there by tracked");
  });

  it("of UDP or ICMP takes whoever is heard first for the one who began", () => {
    const udp = { ...reversed, protocol: ipProtocol.udp };
    assert.equal(judge(packet("doubtful", server, udp), everything, nothing), "passes, there by tracked");
    const icmp = { from: client, sourcePort: 8, destinationPort: 0, protocol: ipProtocol.icmp };
    assert.equal(judge(packet("fresh", client, icmp), port80, everything), "closed");
  });

  it("that is an error about a connection passes with it and is not remembered", () => {
    const error = packet("doubtful", server, opened, { isRemembered: true, isRelated: true, originator: "tracked" });
    assert.equal(judge(error, nothing, port80), "passes");
    assert.equal(judge(error, everything, nothing), "closed");
  });

  it("of a remembered connection without a label of ours is met in the middle", () => {
    const unlabelled = packet("doubtful", server, reversed, { isRemembered: true });
    assert.equal(judge(unlabelled, everything, nothing, "source"), "closed");
  });

  it("passes where tracking has ended for the pair", () => {
    const { guard: _, ...untracked } = everything as Extract<Decision, { verdict: "allow" }>;
    assert.equal(judge(packet("fresh", client, opened), untracked), "passes");
  });
});

describe("an association of SCTP whose ports conntrack does not tell", () => {
  const sctp9: Openings = {
    kind: "ports",
    TCP: [{ first: 80, last: 80, rules: [] }],
    UDP: [],
    SCTP: [{ first: 9, last: 9, rules: [] }],
  };

  it("passes by the port that its INIT went to, and by no port of another protocol", () => {
    assert.equal(said(judgeAssociation(decision(sctp9), 9)), "passes");
    assert.equal(said(judgeAssociation(decision(sctp9), 80)), "closed");
    assert.equal(said(judgeAssociation(everything, 80)), "passes");
    assert.equal(said(judgeAssociation(nothing, 9)), "closed");
    assert.equal(said(judgeAssociation(refused, 9)), "closed");
  });

  it("names the end at which it is closed", () => {
    const verdict = (openings: Openings): DirectionVerdict => ({ openings, isolation: undefined }) as never;
    const guard: Guard = {
      openings: sctp9,
      judged: [
        { direction: "egress", pod: "shop/client", verdict: verdict({ kind: "everything", rules: [] }) },
        { direction: "ingress", pod: "shop/server", verdict: verdict(sctp9) },
      ],
    };
    const judgement = judgeAssociation({ ...everything, guard } as Decision, 10);
    assert.ok(!judgement.passes);
    assert.equal(judgement.closed?.pod, "shop/server");
  });
});

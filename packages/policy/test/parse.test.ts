import assert from "node:assert/strict";
import { describe, it } from "node:test";
import * as fc from "fast-check";
import { formatViolation } from "@beyondfabric/kube/kinds";
import { parseNetworkPolicy, PolicyIndex, type NetworkPolicy, type ParsedPolicy } from "../src/index.ts";
import { oracleAllows, type WorldPolicy } from "./oracle.ts";
import { Product } from "./product.ts";
import { Dice } from "./dice.ts";
import { randomPacket, randomWorld } from "./world.ts";

function parse(spec: unknown): ParsedPolicy {
  return parseNetworkPolicy({ metadata: { namespace: "shop", name: "web" }, spec });
}

function policyOf({ policy }: ParsedPolicy): NetworkPolicy {
  assert.ok(policy !== undefined);
  return policy;
}

function complaints(parsed: ParsedPolicy): string[] {
  return parsed.violations.map(formatViolation);
}

describe("a sound policy", () => {
  it("isolates for ingress when nothing else is said, and for egress when it has such rules", () => {
    for (const [spec, directions] of [
      [{}, "ingress"],
      [undefined, "ingress"],
      [{ egress: [] }, "ingress"],
      [{ egress: null, policyTypes: null }, "ingress"],
      [{ egress: [{}] }, "ingress egress"],
      [{ policyTypes: ["Egress"], ingress: [{}] }, "egress"],
      [{ policyTypes: ["Ingress"], egress: [{}] }, "ingress"],
      [{ policyTypes: ["Egress", "Ingress"] }, "ingress egress"],
    ] as const) {
      const parsed = parse(spec);
      const policy = policyOf(parsed);
      const found = (["ingress", "egress"] as const).filter((direction) => policy[direction] !== undefined);
      assert.equal(found.join(" "), directions, JSON.stringify(spec));
      assert.deepEqual(parsed.violations, []);
    }
  });

  it("takes an empty list of peers or ports for all of them, and an empty list of rules for none", () => {
    for (const rule of [{}, { from: [], ports: [] }, { from: null, ports: null }]) {
      const [parsed] = policyOf(parse({ ingress: [rule] })).ingress!;
      assert.deepEqual([parsed!.peers, parsed!.ports], ["everybody", "everything"]);
    }
    for (const ingress of [[], null, undefined]) assert.deepEqual(policyOf(parse({ ingress })).ingress, []);
  });

  it("keeps ports as ranges and names, TCP where no protocol stands", () => {
    const ports = [
      { port: 80 },
      { port: 8000, endPort: 8100, protocol: "UDP" },
      { protocol: "SCTP" },
      { port: "web" },
      { port: 80, endPort: 80 },
    ];
    assert.deepEqual(policyOf(parse({ ingress: [{ ports }] })).ingress![0]!.ports, [
      { kind: "range", protocol: "TCP", first: 80, last: 80 },
      { kind: "range", protocol: "UDP", first: 8000, last: 8100 },
      { kind: "range", protocol: "SCTP", first: 0, last: 65535 },
      { kind: "named", protocol: "TCP", name: "web" },
      { kind: "range", protocol: "TCP", first: 80, last: 80 },
    ]);
  });

  it("means the network of a CIDR whose host bits are set, as the API does", () => {
    const to = [{ ipBlock: { cidr: "10.1.2.3/8", except: ["10.1.2.3/16"] } }];
    assert.deepEqual(policyOf(parse({ egress: [{ to }] })).egress![0]!.peers, [
      {
        kind: "block",
        cidr: { family: 4, address: "10.0.0.0", length: 8 },
        except: [{ family: 4, address: "10.1.0.0", length: 16 }],
      },
    ]);
  });
});

describe("a policy that cannot be honoured", () => {
  it("says which policy, field, rule and remedy", () => {
    const cases: [spec: unknown, complaint: RegExp][] = [
      [7, /^NetworkPolicy\/shop\/web: spec is 7, so the policy allows nothing; write an object$/],
      [
        { tier: 1 },
        /^NetworkPolicy\/shop\/web: spec\.tier is not known here, so the policy allows nothing; drop it; known/,
      ],
      [{ podSelector: { matchLabels: { a: 1 } } }, /spec\.podSelector\.matchLabels\[a\] .*every pod of the namespace/],
      [{ podSelector: { matchLabels: [] } }, /spec\.podSelector\.matchLabels is \[\]/],
      [{ podSelector: { matchExpressions: [{ key: "a", operator: "Like" }] } }, /matchExpressions\[0\]\.operator/],
      [{ podSelector: { matchExpressions: [7] } }, /spec\.podSelector\.matchExpressions\[0\] is 7/],
      [
        { policyTypes: ["ingress"] },
        /spec\.policyTypes\[0\] is "ingress", so both directions are closed; write Ingress/,
      ],
      [{ policyTypes: "Ingress" }, /spec\.policyTypes is "Ingress"/],
      [{ ingress: {} }, /spec\.ingress is \{\}, so nothing is allowed as ingress; write a list/],
      [{ ingress: [{ form: [] }] }, /spec\.ingress\[0\]\.form is not known here, so the rule allows nothing/],
      [{ ingress: [{ from: 7 }] }, /spec\.ingress\[0\]\.from is 7, so the rule matches nobody/],
      [{ ingress: [{ from: [{}] }] }, /spec\.ingress\[0\]\.from\[0\] is empty, so the peer matches nobody; name a/],
      [{ ingress: [{ from: [{ ipBlock: { cidr: "10.0.0.0/8" }, podSelector: {} }] }] }, /an ipBlock and a selector/],
      [
        { egress: [{ to: [{ ipBlock: { cidr: "10.0.0.0/33" } }] }] },
        /to\[0\]\.ipBlock\.cidr is "10\.0\.0\.0\/33", which/,
      ],
      [{ egress: [{ to: [{ ipBlock: {} }] }] }, /spec\.egress\[0\]\.to\[0\]\.ipBlock\.cidr is missing/],
      [
        { egress: [{ to: [{ ipBlock: { cidr: "10.0.0.0/8", except: ["11.0.0.0/16"] } }] }] },
        /ipBlock\.except\[0\] is "11\.0\.0\.0\/16", which is not inside "10\.0\.0\.0\/8", so the peer matches nobody/,
      ],
      [
        { ingress: [{ ports: [{ protocol: "tcp" }] }] },
        /ports\[0\]\.protocol is "tcp", so it matches no port; write TCP/,
      ],
      [{ ingress: [{ ports: [{ port: 0 }] }] }, /ports\[0\]\.port is 0/],
      [{ ingress: [{ ports: [{ port: "80" }] }] }, /ports\[0\]\.port is "80", which is no port name/],
      [{ ingress: [{ ports: [{ port: 80, endPort: 79 }] }] }, /ports\[0\]\.endPort is 79.*from 80 to 65535/],
      [{ ingress: [{ ports: [{ port: "web", endPort: 81 }] }] }, /ports\[0\]\.endPort stands without a numeric port/],
      [{ ingress: [{ ports: [{ endPort: 81 }] }] }, /ports\[0\]\.endPort stands without a numeric port/],
    ];
    for (const [spec, expected] of cases) {
      const found = complaints(parse(spec));
      assert.equal(found.length, 1, `${JSON.stringify(spec)}: ${found.join("\n")}`);
      assert.match(found[0]!, expected);
    }
  });

  it("allows nothing to anybody that it may have meant, when its own scope cannot be read", () => {
    const rules = { ingress: [{}], egress: [{}], policyTypes: ["Ingress", "Egress"] };
    for (const spec of [
      { ...rules, podSelector: 7 },
      { ...rules, later: true },
      { ...rules, policyTypes: ["Both"] },
    ]) {
      const policy = policyOf(parse(spec));
      assert.deepEqual([policy.ingress, policy.egress], [[], []]);
      assert.ok(policy.podSelector.matches(new Map()));
    }
  });

  it("never becomes wider by losing a part: the other parts keep their places and their meaning", () => {
    const from = [{ podSelector: 7 }, { podSelector: { matchLabels: { a: "b" } } }];
    const [rule] = policyOf(parse({ ingress: [{ from, ports: [{ port: -1 }, { port: 80 }] }] })).ingress!;
    assert.ok(rule!.peers !== "everybody" && rule!.ports !== "everything");
    assert.deepEqual(
      rule!.peers.map(({ kind }) => kind),
      ["unreadable", "pods"],
    );
    assert.deepEqual(
      rule!.ports.map(({ kind }) => kind),
      ["unreadable", "range"],
    );
    const [lost] = policyOf(parse({ ingress: [{ from: [{ podSelector: 7 }], ports: [{ port: -1 }] }] })).ingress!;
    assert.deepEqual([lost!.peers, lost!.ports], [[{ kind: "unreadable" }], [{ kind: "unreadable" }]]);
  });

  it("is closed as a whole when it is larger than any API server stores", () => {
    const from = Array.from({ length: 60_000 }, () => ({ podSelector: {} }));
    const parsed = parse({ ingress: [{ from: [{ podSelector: {} }] }, { from }, { from }, {}] });
    assert.deepEqual(policyOf(parsed).ingress, []);
    assert.equal(complaints(parsed).length, 1);
    assert.match(complaints(parsed)[0]!, /spec\.ingress\[2\]\.from makes the policy too large.*split the policy/);
  });

  it("has no name: there is nothing to apply, and it says so", () => {
    for (const raw of [
      undefined,
      null,
      7,
      [],
      {},
      { metadata: { name: "a" } },
      { metadata: { name: 7, namespace: [] } },
    ]) {
      const parsed = parseNetworkPolicy(raw);
      assert.equal(parsed.policy, undefined);
      assert.equal(parsed.violations.length, 1);
    }
  });

  it("never throws and bounds what it says, whatever the object is", () => {
    const field = fc.constantFrom("podSelector", "policyTypes", "ingress", "egress", "from", "to", "ports", "ipBlock");
    const junk = fc.letrec((tie) => ({
      value: fc.oneof(
        { maxDepth: 6 },
        fc.constantFrom(null, 7, "", "TCP", "10.0.0.0/8", true),
        fc.array(tie("value"), { maxLength: 60 }),
        fc.dictionary(fc.oneof(field, fc.constantFrom("cidr", "except", "port", "matchLabels", "key")), tie("value")),
      ),
    })).value;
    fc.assert(
      fc.property(junk, (spec) => {
        const { policy, violations } = parse(spec);
        assert.ok(policy !== undefined && violations.length <= 50);
        new PolicyIndex().set(policy);
        for (const each of violations) assert.ok(formatViolation(each).length < 600);
      }),
    );
  });

  it("lets nothing pass that the sound policy would not, wherever it is broken", () => {
    const seed = Math.floor(Math.random() * 2 ** 31);
    let closed = 0;
    for (let number = seed; number < seed + 10_000; number++) {
      const dice = new Dice(number);
      const world = randomWorld(dice);
      if (world.policies.length === 0) continue;
      const broken = new Product({ ...world, policies: [] });
      const victim = dice.below(world.policies.length);
      for (const [index, policy] of world.policies.entries()) {
        const raw = index === victim ? breakSomewhere(dice, policy) : policy;
        broken.index.set(policyOf(parseNetworkPolicy(raw)));
      }
      for (let count = 0; count < 10; count++) {
        const packet = randomPacket(dice, world);
        const before = oracleAllows(world, packet);
        const after = broken.allows(packet);
        if (before && !after) closed++;
        assert.ok(before || !after, `seed ${number}: ${JSON.stringify({ packet, victim, world })}`);
      }
    }
    assert.ok(closed > 100, `breaking policies closed only ${closed} packets: the test breaks nothing that matters`);
  });
});

/** The policy with one value of its spec, at any depth, replaced by what no API server would take. */
function breakSomewhere(dice: Dice, policy: WorldPolicy): unknown {
  const copy = structuredClone(policy) as unknown as Record<string, unknown>;
  const places: [holder: Record<string, unknown>, key: string][] = [];
  const visit = (holder: Record<string, unknown>, key: string): void => {
    places.push([holder, key]);
    const value = holder[key];
    if (typeof value !== "object" || value === null) return;
    for (const inner of Object.keys(value)) visit(value as Record<string, unknown>, inner);
  };
  visit(copy, "spec");
  const [holder, key] = dice.pick(places);
  const value = holder[key];
  const isMap = typeof value === "object" && value !== null && !Array.isArray(value);
  if (isMap && dice.oneIn(2)) (value as Record<string, unknown>)["not known\u0000"] = -1.5;
  else holder[key] = dice.pick<unknown>([-1.5, "\u0000", false, { "\u0000": {} }]);
  return copy;
}

import assert from "node:assert/strict";
import { describe, it } from "node:test";
import * as fc from "fast-check";
import { LabelPool, LabelSet } from "@beyondfabric/kube";
import { evaluateDirection, parseNetworkPolicy, PolicyIndex, type NetworkPolicy, type PodParty } from "../src/index.ts";

function policy(namespace: string, name: string, spec: unknown): NetworkPolicy {
  const parsed = parseNetworkPolicy({ metadata: { namespace, name }, spec });
  assert.deepEqual(parsed.violations, []);
  return parsed.policy!;
}

const pool = new LabelPool();

function pod(namespace: string, labels: Record<string, string>, address = "10.1.0.1"): PodParty {
  return {
    kind: "pod",
    address,
    pod: {
      name: address,
      uid: address,
      node: "n1",
      namespace: { name: namespace, labels: LabelSet.of({ name: namespace }) },
      labels: pool.intern(labels),
      ports: [],
    },
  };
}

const anySelector = fc.oneof(
  fc.constant({}),
  fc.record({ matchLabels: fc.dictionary(fc.constantFrom("a", "b"), fc.constantFrom("1", "2", "")) }),
  fc.record({
    matchExpressions: fc.array(
      fc.oneof(
        fc.record({ key: fc.constantFrom("a", "b"), operator: fc.constantFrom("Exists", "DoesNotExist") }),
        fc.record({
          key: fc.constantFrom("a", "b"),
          operator: fc.constantFrom("In", "NotIn"),
          values: fc.array(fc.constantFrom("1", "2"), { minLength: 1, maxLength: 2 }),
        }),
      ),
      { maxLength: 2 },
    ),
  }),
);
const anyChange = fc.record({
  namespace: fc.constantFrom("x", "y"),
  name: fc.constantFrom("p", "q", "r"),
  selector: fc.option(anySelector, { nil: undefined }),
  types: fc.subarray(["Ingress", "Egress"], { minLength: 1 }),
});
const anyLabels = fc.dictionary(fc.constantFrom("a", "b", "c"), fc.constantFrom("1", "2", ""));

describe("the index of policies", () => {
  it("finds what a walk over all policies finds, after any changes", () => {
    fc.assert(
      fc.property(fc.array(anyChange, { maxLength: 12 }), fc.array(anyLabels, { maxLength: 4 }), (changes, sets) => {
        const index = new PolicyIndex();
        const all = new Map<string, NetworkPolicy>();
        for (const { namespace, name, selector, types } of changes) {
          const key = `${namespace}/${name}`;
          if (selector === undefined) {
            assert.equal(index.remove(namespace, name), all.get(key));
            all.delete(key);
          } else {
            const next = policy(namespace, name, { podSelector: selector, policyTypes: types });
            assert.equal(index.set(next), all.get(key));
            all.set(key, next);
          }
          assert.equal(index.size, all.size);
          for (const labels of sets) {
            const { pod: identity } = pod("x", labels);
            const isolations = index.isolations(identity);
            for (const direction of ["ingress", "egress"] as const) {
              const expected = [...all.values()]
                .filter((each) => each.namespace === "x" && each[direction] !== undefined)
                .filter((each) => each.podSelector.matches(identity.labels))
                .sort((a, b) => (a.name < b.name ? -1 : 1));
              assert.deepEqual(isolations[direction]?.policies ?? [], expected);
            }
          }
        }
      }),
    );
  });

  it("looks at the few of 10,000 policies that select a pod, not at all of them", () => {
    const index = new PolicyIndex();
    for (let number = 0; number < 10_000; number++) {
      const peers = [
        {
          podSelector: { matchLabels: { app: `app-${number % 40}` } },
          namespaceSelector: { matchLabels: { name: "x" } },
        },
        { ipBlock: { cidr: "10.0.0.0/8", except: ["10.9.0.0/16"] } },
      ];
      const rules = [{ from: peers, ports: [{ port: 80 }, { port: 443 }] }, { from: [{ podSelector: {} }] }];
      const selector = { matchLabels: { app: `app-${number % 40}` } };
      index.set(policy(`ns-${number % 500}`, `np-${number}`, { podSelector: selector, ingress: rules }));
    }
    const pods = Array.from({ length: 1000 }, (_, number) =>
      pod(`ns-${number % 500}`, { app: `app-${number % 40}` }, `10.${number >> 8}.${number & 255}.1`),
    );
    const decideAll = (): number => {
      let isolated = 0;
      for (const [place, subject] of pods.entries()) {
        const peer = pods[(place * 7 + 1) % pods.length]!;
        if (evaluateDirection(index, { direction: "ingress", subject, peer }).basis === "rules") isolated++;
      }
      return isolated;
    };
    assert.ok(decideAll() > 100, "most pods should be isolated");
    // The machine is shared: the quickest of some rounds, with a wide margin, tells a look at a few from one at all.
    const rounds = Array.from({ length: 15 }, () => {
      const start = performance.now();
      decideAll();
      return ((performance.now() - start) * 1000) / pods.length;
    });
    const microseconds = Math.min(...rounds);
    assert.ok(microseconds < 1000, `a decision takes ${microseconds.toFixed(1)} microseconds`);
  });

  it("is not held up by policies as large as an API server stores", () => {
    const index = new PolicyIndex();
    const blocks = Array.from({ length: 30_000 }, (_, number) => ({
      ipBlock: { cidr: `10.${number >> 8}.${number & 255}.0/25` },
    }));
    const ports = Array.from({ length: 10_000 }, (_, number) => ({ port: 1 + number * 3 }));
    const rules = Array.from({ length: 10_000 }, (_, number) => ({
      from: [{ podSelector: { matchLabels: { app: `a${number}` } } }],
    }));
    const started = performance.now();
    index.set(policy("x", "blocks", { ingress: [{ from: blocks, ports: [{ port: 80 }] }] }));
    index.set(policy("x", "ports", { ingress: [{ ports }] }));
    index.set(policy("x", "rules", { ingress: rules }));
    const compiled = performance.now();
    const peer = { kind: "outside", address: "10.9.9.9" } as const;
    const verdict = evaluateDirection(index, { direction: "ingress", subject: pod("x", {}), peer });
    const decided = performance.now();
    assert.equal(verdict.openings.kind === "ports" && verdict.openings.TCP.length, 10_001);
    assert.ok(compiled - started < 5000 && decided - compiled < 500, `${compiled - started} ${decided - compiled} ms`);
  });
});

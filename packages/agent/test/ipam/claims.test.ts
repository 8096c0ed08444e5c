import assert from "node:assert/strict";
import { describe, it } from "node:test";
import type { AddressHolder, AddressOwner, IpAddressRecord } from "@beyondfabric/kube/kinds";
import type { Ip } from "@beyondfabric/packet";
import { claim, release } from "../../src/ipam/claims.ts";
import type { ClaimEnvironment, ClaimOutcome, ClaimRequest, OwnAddresses } from "../../src/ipam/claims.ts";
import { candidateAddresses, candidatesOf, isCandidate } from "../../src/ipam/candidates.ts";
import { IpamError } from "../../src/ipam/errors.ts";
import { hash64 } from "../../src/ipam/hash.ts";
import { RecentTries } from "../../src/ipam/recent-tries.ts";
import { addressBlockManifest, ipAddressName } from "@beyondfabric/kube/kinds";
import { parseCidr } from "@beyondfabric/packet";
import { Random } from "./simulation/random.ts";
import { addressStore, blockStore, SimulatedApi, SimulatedWatch } from "./simulation/simulated-api.ts";
import { subnet } from "./subnets.ts";

const s = subnet({ cidrs: ["10.0.0.0/24", "fd00::/120"] });
const noOwn: OwnAddresses = {
  draw: () => {
    throw new IpamError("IPAM_NO_BLOCK", "Subnet default: none");
  },
  reserve: async () => ({ state: "unready" }),
  settled: () => {},
};

function world(own: OwnAddresses = noOwn) {
  const api = new SimulatedApi();
  const call = async <Answer>(_name: string, request: () => Answer): Promise<Answer> => request();
  const pods = new Map<string, string>();
  const environment: ClaimEnvironment = {
    store: addressStore(api, call),
    reads: {
      blocksAround: async () => api.list("blocks"),
      podUid: async (_namespace, name) => pods.get(name),
    },
    own,
    now: () => Date.UTC(2026, 0, 2),
  };
  return { api, environment, pods, blocks: blockStore(api, call) };
}

const owner = (name: string, slot = ""): AddressOwner => ({
  apiVersion: "apps/v1",
  kind: "Deployment",
  namespace: "shop",
  name,
  uid: `uid-${name}`,
  slot,
});
const holder = (pod: string): AddressHolder => ({
  namespace: "shop",
  pod,
  podUid: `uid-${pod}`,
  node: "node-1",
  nodeUid: "me",
  mac: "02:00:00:00:00:01",
});
const list = (...addresses: Ip[]) => ({
  [Symbol.iterator]: () => addresses[Symbol.iterator](),
  has: (address: Ip) => addresses.includes(address),
});
function asks(pod: string, addresses: readonly Ip[], more: Partial<ClaimRequest> = {}): ClaimRequest {
  const wishes = [{ family: 4 as const, candidates: list(...addresses) }];
  return { subnet: s, retention: "Fixed", owner: owner("web"), holder: holder(pod), wishes, ...more };
}
function refusal(outcome: ClaimOutcome): IpamError {
  return outcome.state === "refused" ? outcome.error : assert.fail(JSON.stringify(outcome));
}
function records(outcome: ClaimOutcome): readonly IpAddressRecord[] {
  return outcome.state === "granted" ? outcome.records : assert.fail(JSON.stringify(outcome));
}

void describe("claiming an address", () => {
  void it("outside of every block makes it the pod's, once and again", async () => {
    const { environment, api } = world();
    const [first] = records(await claim(asks("web-1", ["10.0.0.9"]), environment));
    assert.equal(first!.phase, "Bound");
    assert.deepEqual(records(await claim(asks("web-1", ["10.0.0.9"]), environment)), [first]);
    assert.equal(api.list("addresses").length, 1);
  });

  void it("that somebody holds is refused with the holder, since when, and the remedy", async () => {
    const { environment, pods } = world();
    await claim(asks("web-1", ["10.0.0.9"]), environment);
    pods.set("web-1", "uid-web-1");
    for (const more of [{}, { owner: owner("other") }]) {
      const error = refusal(await claim(asks("web-2", ["10.0.0.9"], more), environment));
      assert.equal(error.code, "IPAM_ADDRESS_TAKEN");
      assert.match(
        error.message,
        /10\.0\.0\.9 is held by pod shop\/web-1 on node node-1 since 2026-01-02T.*delete that pod/,
      );
    }
    pods.clear();
    pods.set("web-2", "uid-web-2");
    const [record] = records(await claim(asks("web-2", ["10.0.0.9"]), environment));
    assert.deepEqual(
      record!.history.map(({ pod, reason }) => [pod, reason]),
      [["web-1", "Succeeded"]],
    );
  });

  void it("that a pod removed by force may still use is not for one that is gone itself, only for one that follows", async () => {
    const { environment, pods } = world();
    const slot = { owner: owner("db", "db-0"), retention: "Sticky" as const };
    await claim(asks("db-0", ["10.0.0.9"], slot), environment);
    const next = (podUid: string): ClaimRequest => ({
      ...asks("db-0", ["10.0.0.9"], slot),
      holder: { ...holder("db-0"), podUid },
    });
    // Its node has not heard yet that this one was removed as well.
    assert.match(refusal(await claim(next("uid-late"), environment)).message, /held by pod shop\/db-0/);
    assert.match(
      refusal(await claim(asks("web-1", ["10.0.0.9"], slot), environment)).message,
      /held by pod shop\/db-0/,
    );
    pods.set("db-0", "uid-next");
    assert.match(refusal(await claim(next("uid-late"), environment)).message, /held by pod shop\/db-0/);
    assert.equal(records(await claim(next("uid-next"), environment))[0]!.holder?.podUid, "uid-next");
  });

  void it("of a pool never takes one over that a pod of the same owner may still use", async () => {
    const { environment } = world();
    const more = { retention: "Pool" as const };
    await claim(asks("web-1", ["10.0.0.9"], more), environment);
    assert.match(
      refusal(await claim(asks("web-2", ["10.0.0.9"], more), environment)).message,
      /held by pod shop\/web-1/,
    );
    const [second] = records(await claim(asks("web-2", ["10.0.0.9", "10.0.0.10"], more), environment));
    assert.equal(second!.address, "10.0.0.10");
  });

  void it("that is kept for another owner is refused with whom and how long", async () => {
    const { environment } = world();
    await claim(asks("web-1", ["10.0.0.9"]), environment);
    await release("10.0.0.9", "uid-web-1", "PodDeleted", environment);
    const error = refusal(await claim(asks("x", ["10.0.0.9"], { owner: owner("other") }), environment));
    assert.match(error.message, /kept for Deployment shop\/web since .*while it exists.*delete IPAddress/);
    assert.equal(records(await claim(asks("web-2", ["10.0.0.9"]), environment))[0]!.phase, "Bound");
  });

  void it("inside another node's block waits for its grant, and another candidate is tried when it is refused", async () => {
    const { environment, api, blocks } = world();
    await blocks.create(addressBlockManifest("default", parseCidr("10.0.0.0/26"), { name: "node-2", uid: "they" }));
    const request = asks("web-1", ["10.0.0.9", "10.0.0.200"]);
    const pending = await claim(request, environment);
    assert.ok(pending.state === "pending");
    assert.deepEqual(pending.awaited, [{ address: "10.0.0.9", block: parseCidr("10.0.0.0/26"), node: "node-2" }]);
    const held = api.list("addresses")[0]!;
    api.update("addresses", { ...held, refusal: { nodeUid: "they", message: "pod a/b has it" } });
    assert.equal(records(await claim(request, environment))[0]!.address, "10.0.0.200");
    assert.deepEqual(
      api.list("addresses").map(({ address }) => address),
      ["10.0.0.200"],
    );
  });

  void it("whose grant was waited for in vain is given up for the next one", async () => {
    const { environment, blocks, api } = world();
    await blocks.create(addressBlockManifest("default", parseCidr("10.0.0.0/26"), { name: "node-2", uid: "they" }));
    const request = asks("web-1", ["10.0.0.9", "10.0.0.200"]);
    await claim(request, environment);
    const [record] = records(await claim({ ...request, avoid: new Set(["10.0.0.9"]) }, environment));
    assert.equal(record!.address, "10.0.0.200");
    assert.equal(api.list("addresses").length, 1);
  });

  void it("of one family is undone when the other has none", async () => {
    const { environment, api } = world();
    await claim(
      asks("x", ["fd00::9"], { owner: owner("other"), wishes: [{ family: 6, candidates: list("fd00::9") }] }),
      environment,
    );
    const wishes = [
      { family: 4, candidates: list("10.0.0.9") },
      { family: 6, candidates: list("fd00::9") },
    ] as const;
    assert.match(
      refusal(await claim(asks("web-1", [], { wishes }), environment)).message,
      /fd00::9 is held by pod shop\/x/,
    );
    const left = api.list("addresses").filter(({ holder: each }) => each?.pod === "web-1");
    assert.deepEqual(left, []);
  });

  void it("without candidates says what the own blocks say", async () => {
    const { environment } = world();
    const request = asks("web-1", [], { retention: "Sticky", wishes: [{ family: 4 }] });
    assert.equal(refusal(await claim(request, environment)).code, "IPAM_NO_BLOCK");
    const none = asks("web-1", [], { retention: "Pool", pool: "small" });
    assert.match(refusal(await claim(none, environment)).message, /^IPPool small hold.* none of IPv4/);
  });
});

void describe("many pods that draw from one pool at once", () => {
  /** Three agents, each with a watch that is some changes late; requests arrive in an order that the seed decides. */
  async function drawn(pods: number, addresses: number, seed: number) {
    const random = new Random(seed);
    const api = new SimulatedApi();
    const requests = new Map<string, number>();
    const awaits = async (turns: number): Promise<void> => {
      for (let turn = 0; turn < turns; turn++) await new Promise(setImmediate);
    };
    const call = async <Answer>(name: string, request: () => Answer): Promise<Answer> => {
      requests.set(name, (requests.get(name) ?? 0) + 1);
      await awaits(1 + random.below(4));
      const answer = request();
      await awaits(1 + random.below(4));
      return answer;
    };
    const agents = Array.from({ length: 3 }, () => {
      const watch = new SimulatedWatch(api, 0);
      const now = (): number => Date.UTC(2026, 0, 2);
      const environment: ClaimEnvironment = {
        store: addressStore(api, call),
        reads: { blocksAround: async () => [], podUid: async (_namespace, name) => `uid-${name}` },
        own: noOwn,
        now,
        seen: (address) => watch.get("addresses", ipAddressName(address)),
        recent: new RecentTries({ milliseconds: 1000, now }),
      };
      return { watch, environment };
    });
    const over = new AbortController();
    const watching = (async () => {
      for (; !over.signal.aborted; await awaits(1)) for (const { watch } of agents) watch.advance(watch.lag - 12);
    })();
    const range = { family: 4 as const, first: "10.0.0.10", last: `10.0.0.${10 + addresses - 1}` };
    const outcomes = await Promise.all(
      Array.from({ length: pods }, (_, index) => {
        const pod = `web-${index}`;
        const [candidates] = candidatesOf([range], { seed: hash64(`uid-${pod} of run ${seed}`) });
        const wishes = [
          {
            family: 4 as const,
            candidates: {
              [Symbol.iterator]: () => candidateAddresses(candidates!),
              has: (address: Ip) => isCandidate(candidates!, address),
            },
          },
        ];
        const request: ClaimRequest = {
          subnet: s,
          retention: "Pool",
          owner: owner("web"),
          holder: holder(pod),
          wishes,
        };
        return claim(request, agents[index % agents.length]!.environment);
      }),
    );
    over.abort();
    await watching;
    const given = outcomes.map((outcome) => records(outcome)[0]!.address);
    assert.equal(new Set(given).size, pods);
    return (requests.get("create address") ?? 0) + (requests.get("get address") ?? 0);
  }

  // Beside these requests a claim lists its owner's addresses once and confirms what it got.
  for (const [addresses, most, title] of [
    [60, 2, "with a quarter to spare, as a rolling update needs it, a pod asks for two of them at most"],
    [48, 3, "with none to spare, a pod asks for three of them at most"],
  ] as const) {
    void it(`${title}, on average`, async () => {
      let sum = 0;
      for (let seed = 1; seed <= 10; seed++) sum += await drawn(48, addresses, seed);
      assert.ok(sum / 480 <= most, `${sum / 480} requests for each`);
    });
  }

  void it("a full one is refused by what the watch shows, without asking for any", async () => {
    const { environment, api } = world();
    let asked = 0;
    const { store } = environment;
    const counting: ClaimEnvironment = {
      ...environment,
      store: {
        ...store,
        create: (each) => (asked++, store.create(each)),
        get: (address) => (asked++, store.get(address)),
      },
      seen: (address) => api.get("addresses", ipAddressName(address)),
    };
    const more = { retention: "Pool" as const, pool: "web" };
    const addresses = ["10.0.0.9", "10.0.0.10", "10.0.0.11"];
    for (const pod of ["web-1", "web-2", "web-3"]) await claim(asks(pod, addresses, more), counting);
    asked = 0;
    assert.match(refusal(await claim(asks("web-4", addresses, more), counting)).message, /held by pod shop\/web-1/);
    assert.equal(asked, 0);
    await release("10.0.0.10", "uid-web-2", "PodDeleted", environment);
    const [record] = records(await claim(asks("web-4", addresses, more), counting));
    assert.deepEqual([record!.address, asked], ["10.0.0.10", 1]);
  });
});

void describe("two claims of one slot", () => {
  void it("end with one address, although the first pod left the other behind", async () => {
    const slot = owner("db", "db-0");
    const sticky = (pod: string, address: Ip): ClaimRequest =>
      asks(pod, [address], { owner: slot, retention: "Sticky" });
    const { environment, api, pods, blocks } = world();
    await blocks.create(addressBlockManifest("default", parseCidr("10.0.0.0/26"), { name: "node-2", uid: "they" }));
    // The first pod waits for a grant when it is removed; its successor may have either address.
    await claim(sticky("db-0", "10.0.0.9"), environment);
    pods.set("db-0", "uid-new");
    const successor = { ...holder("db-0"), podUid: "uid-new" };
    const both = { ...sticky("db-0", "10.0.0.9"), holder: successor };
    const wishes = [{ family: 4 as const, candidates: list("10.0.0.200", "10.0.0.9") }];
    const outcome = await claim({ ...both, wishes, avoid: new Set(["10.0.0.9"]) }, environment);
    assert.equal(records(outcome)[0]!.address, "10.0.0.200");
    assert.deepEqual(
      api.list("addresses").map(({ address, holder: each }) => [address, each?.podUid]),
      [["10.0.0.200", "uid-new"]],
    );
  });
});

import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { parseIpPool, unassignable, validatePools } from "@beyondfabric/kube/kinds";
import { addressAt, parseCidr } from "@beyondfabric/packet";
import * as fc from "fast-check";
import { object, pool, subnet, texts } from "./objects.ts";

const office = subnet("office", {
  cidrs: ["10.0.0.0/24", "fd00::/64"],
  ranges: ["10.0.0.0/25", "10.0.0.192/26", "fd00::/64"],
  excluded: ["10.0.0.40-10.0.0.49"],
  reserved: ["10.0.0.60-10.0.0.69"],
});

void describe("IPPool", () => {
  void it("keeps its addresses in the order in which they are listed", () => {
    assert.deepEqual(pool("p", { subnet: "office", addresses: ["10.0.0.9", "10.0.0.4/31", "FD00::5 - fd00::7"] }), {
      name: "p",
      uid: "",
      resourceVersion: "",
      created: 0,
      generation: 0,
      subnet: "office",
      addresses: [
        { family: 4, first: "10.0.0.9", last: "10.0.0.9" },
        { family: 4, first: "10.0.0.4", last: "10.0.0.5" },
        { family: 6, first: "fd00::5", last: "fd00::7" },
      ],
      namespaceSelector: undefined,
    });
  });

  for (const [spec, field] of [
    [{ addresses: ["10.0.0.5"] }, "spec.subnet"],
    [{ subnet: "s" }, "spec.addresses"],
    [{ subnet: "s", addresses: [] }, "spec.addresses"],
    [{ subnet: "s", addresses: ["x"] }, "spec.addresses[0]"],
    [{ subnet: "s", addresses: ["10.0.0.9-10.0.0.5"] }, "spec.addresses[0]"],
    [{ subnet: "s", addresses: ["10.0.0.8/29", "10.0.0.15-10.0.0.20"] }, "spec.addresses[1]"],
    [{ subnet: "s", addresses: ["10.0.0.20", "10.0.0.5", "10.0.0.1-10.0.0.30"] }, "spec.addresses[2]"],
    [
      { subnet: "s", addresses: ["10.0.0.5"], namespaceSelector: { matchExpressions: [{ key: "a", operator: "In" }] } },
      "spec.namespaceSelector.matchExpressions[0].values",
    ],
  ] as const) {
    void it(`is refused at ${field}: ${JSON.stringify(spec)}`, () => {
      const parsed = parseIpPool(object("IPPool", "p", spec));
      assert.ok(!parsed.ok);
      assert.ok(
        parsed.violations.some((each) => each.object === "IPPool/p" && each.field === field),
        JSON.stringify(parsed.violations),
      );
    });
  }

  void it("never throws, whatever the API sends", () => {
    const spec = fc.record(
      {
        subnet: fc.jsonValue(),
        addresses: fc.array(fc.oneof(fc.string(), fc.stringMatching(/^[0-9a-f:./ -]{0,30}$/))),
      },
      { requiredKeys: [] },
    );
    fc.assert(fc.property(fc.oneof(fc.jsonValue(), spec), (value) => void parseIpPool(object("IPPool", "p", value))));
  });
});

void describe("pools together", () => {
  void it("hold what their subnet hands out, and share nothing", () => {
    const pools = [
      pool("gone", { subnet: "nowhere", addresses: ["10.0.0.5"] }, 1),
      pool("outside", { subnet: "office", addresses: ["10.0.0.10", "10.0.1.5"] }, 2),
      pool("gateway", { subnet: "office", addresses: ["10.0.0.0/30"] }, 3),
      pool("gate", { subnet: "office", addresses: ["10.0.0.1-10.0.0.3", "fd00::1", "fd00::"] }, 4),
      pool("broadcast", { subnet: "office", addresses: ["10.0.0.250-10.0.0.255"] }, 5),
      pool("excluded", { subnet: "office", addresses: ["10.0.0.41", "10.0.0.30-10.0.0.40"] }, 6),
      pool("ranges", { subnet: "office", addresses: ["10.0.0.128"] }, 7),
      pool(
        "old",
        { subnet: "office", addresses: ["10.0.0.10-10.0.0.12", "10.0.0.60-10.0.0.69", "fd00::5-fd00::7"] },
        8,
      ),
      pool("young", { subnet: "office", addresses: ["10.0.0.12-10.0.0.14", "fd00::7"] }, 9),
      pool("third", { subnet: "office", addresses: ["10.0.0.14"] }, 10),
      pool("v4", { subnet: "four", addresses: ["fd00::9"] }, 11),
    ];
    const four = subnet("four", { cidrs: ["10.1.0.0/24"] });
    assert.deepEqual(texts(validatePools(pools.toReversed(), [office, four])), [
      "IPPool/gone spec.subnet names nowhere, which does not exist or is refused; create or mend that Subnet",
      "IPPool/outside spec.addresses[1] is 10.0.1.5, which is not inside 10.0.0.0/24; choose addresses that Subnet office hands out",
      "IPPool/gateway spec.addresses[0] is 10.0.0.0-10.0.0.3, and 10.0.0.0 is the network address of 10.0.0.0/24; choose addresses that Subnet office hands out",
      "IPPool/gate spec.addresses[0] is 10.0.0.1-10.0.0.3, and 10.0.0.1 is the gateway of 10.0.0.0/24; choose addresses that Subnet office hands out",
      "IPPool/gate spec.addresses[1] is fd00::1, which is the gateway of fd00::/64; choose addresses that Subnet office hands out",
      "IPPool/gate spec.addresses[2] is fd00::, which is the routers' anycast address of fd00::/64; choose addresses that Subnet office hands out",
      "IPPool/broadcast spec.addresses[0] is 10.0.0.250-10.0.0.255, and 10.0.0.255 is the broadcast address of 10.0.0.0/24; choose addresses that Subnet office hands out",
      "IPPool/excluded spec.addresses[0] is 10.0.0.41, which is excluded; choose addresses that Subnet office hands out",
      "IPPool/excluded spec.addresses[1] is 10.0.0.30-10.0.0.40, and 10.0.0.40 is excluded; choose addresses that Subnet office hands out",
      "IPPool/ranges spec.addresses[0] is 10.0.0.128, which is outside of the subnet's ranges; choose addresses that Subnet office hands out",
      "IPPool/young spec.addresses[0] is 10.0.0.12-10.0.0.14, which overlaps IPPool old; give each address to one pool",
      "IPPool/young spec.addresses[1] is fd00::7, which overlaps IPPool old; give each address to one pool",
      "IPPool/v4 spec.addresses[0] is fd00::9, but Subnet four has no IPv6 addresses; choose addresses that Subnet four hands out",
    ]);
  });

  void it("refuse a range exactly when they refuse one of its addresses, and name the first of these", () => {
    const whole = parseCidr("10.0.0.0/24");
    const place = fc.integer({ min: 0, max: 255 });
    fc.assert(
      fc.property(place, place, (a, b) => {
        const [low, high] = [Math.min(a, b), Math.max(a, b)];
        const at = (index: number): string => addressAt(whole, BigInt(index));
        const refused = Array.from({ length: high - low + 1 }, (_, i) => at(low + i)).find(
          (each) => unassignable(office, { family: 4, first: each, last: each }) !== undefined,
        );
        const said = unassignable(office, { family: 4, first: at(low), last: at(high) });
        assert.equal(said === undefined, refused === undefined);
        if (said !== undefined && low !== high) assert.equal(/^and (\S+) is/.exec(said)?.[1], refused);
      }),
    );
  });
});

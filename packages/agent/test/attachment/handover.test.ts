import assert from "node:assert/strict";
import { describe, it } from "node:test";
import type { Announcement } from "@beyondfabric/datapath";
import { parseCidr, type Ip } from "@beyondfabric/packet";
import { handoverOf, stillHeld } from "../../src/attachment/handover.ts";
import type { PodPort } from "../../src/attachment/ports.ts";

const virtual = "10.30.0.250";
const macs = ["0a:00:00:00:00:01", "0a:00:00:00:00:02"] as const;

function pod(index: 0 | 1, held: readonly Ip[] = [], subnet = "vlan30"): PodPort {
  return {
    container: `c${index}`,
    ifname: "eth0",
    netns: "",
    namespace: "shop",
    name: `p${index}`,
    uid: `u${index}`,
    mac: macs[index],
    addresses: [`10.30.0.5${index}`],
    subnet,
    hostInterface: `bf${index}`,
    ofport: 100 + index,
    mtu: 1500,
    created: 0,
    held,
    routed: [],
    claimed: true,
  };
}

const allowed = (subnet: string): ReturnType<typeof parseCidr>[] =>
  subnet === "vlan30" ? [parseCidr("10.30.0.248/29")] : [];
const says = (mac: string, address = virtual): Announcement => ({ address, mac, isStatement: true });
const uses = (mac: string): Announcement => ({ ...says(mac), isStatement: false });

/** Names of who gives the address away and who gets it. */
function outcome(
  announcement: Announcement,
  ports: readonly PodPort[],
  speaker?: PodPort,
  taken: readonly Ip[] = [],
): string {
  const isTaken = (address: Ip): boolean => taken.includes(address);
  const handover = handoverOf(announcement, { ports, speaker, allowed, isTaken });
  return handover === undefined
    ? "as it was"
    : `${handover.from?.name ?? "nobody"} -> ${handover.to?.name ?? "nobody"}`;
}

describe("an address that pods pass on", () => {
  const [a, b] = [pod(0), pod(1)];
  const holder = pod(0, [virtual]);

  it("goes to whoever announces it", () => {
    assert.equal(outcome(says(macs[0]), [a, b], a), "nobody -> p0");
    assert.equal(outcome(says(macs[1]), [holder, b], b), "p0 -> p1");
    assert.equal(outcome(says(macs[0]), [holder, b], holder), "as it was");
  });

  it("goes to who sends from it when nobody here has it, and is not taken from anybody so", () => {
    assert.equal(outcome(uses(macs[0]), [a, b], a), "nobody -> p0");
    assert.equal(outcome(uses(macs[1]), [holder, b], b), "as it was");
  });

  it("leaves the node when somebody on the wire announces it, not when the pod's own frame comes back", () => {
    assert.equal(outcome(says("02:00:00:00:00:99"), [holder, b]), "p0 -> nobody");
    assert.equal(outcome(says(macs[0]), [holder, b]), "as it was");
    assert.equal(outcome(uses("02:00:00:00:00:99"), [holder, b]), "as it was");
    assert.equal(outcome(says("02:00:00:00:00:99"), [a, b]), "as it was");
  });

  it("is nobody's that the subnet does not allow, and never somebody's own", () => {
    assert.equal(outcome(says(macs[0], "10.30.0.240"), [a, b], a), "as it was");
    const stranger = pod(0, [], "other");
    assert.equal(outcome(says(macs[0]), [stranger, b], stranger), "as it was");
    assert.equal(outcome(says(macs[0]), [a, b], a, [virtual]), "as it was");
    const owner = { ...b, addresses: [virtual] };
    assert.equal(outcome(says(macs[0]), [a, owner], a), "as it was");
    assert.equal(outcome(says("02:00:00:00:00:99"), [a, b], a), "as it was", "under another MAC");
  });

  it("is kept for as long as it is allowed and nobody's own", () => {
    const free = (): boolean => false;
    assert.deepEqual(stillHeld(pod(0, [virtual, "10.30.0.249"]), allowed, free), [virtual, "10.30.0.249"]);
    assert.deepEqual(stillHeld(pod(0, [virtual, "10.30.0.5"]), allowed, free), [virtual]);
    assert.deepEqual(
      stillHeld(pod(0, [virtual]), allowed, (address) => address === virtual),
      [],
    );
    assert.deepEqual(stillHeld(pod(0, [virtual], "other"), allowed, free), []);
  });
});

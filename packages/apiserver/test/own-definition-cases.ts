/** The project's own definitions, over HTTP: the same assertions for every control plane, as far as it knows rules. */
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import {
  addressBlockManifest,
  ipAddressManifest,
  ipAddressPatch,
  parseIpAddress,
  type AddressClaim,
} from "@beyondfabric/kube/kinds";
import { parseCidr } from "@beyondfabric/packet";
import { hasFeature, type ControlPlane } from "../src/index.ts";
import type { ApiClient, Loose, RunningPlane } from "./harness.ts";

const COMMITTED = join(import.meta.dirname, "../../../deploy/crds");
const GENERATOR = join(import.meta.dirname, "../../../tools/generate-crds.ts");
const GROUP = "/apis/beyondfabric.io/v1alpha1";
const SUBNETS = `${GROUP}/subnets`;
const ADDRESSES = `${GROUP}/ipaddresses`;
const MERGE = "application/merge-patch+json";

const claim: AddressClaim = {
  address: "10.0.0.5",
  subnet: "office",
  pool: undefined,
  retention: "Sticky",
  owner: { apiVersion: "apps/v1", kind: "StatefulSet", namespace: "shop", name: "db", uid: "set-uid", slot: "db-0" },
  holder: {
    namespace: "shop",
    pod: "db-0",
    podUid: "pod-uid",
    node: "node-1",
    nodeUid: "node-uid",
    mac: "0a:58:0a:00:00:05",
  },
  phase: "Bound",
  since: Date.now() - 3_600_000,
  grant: undefined,
  refusal: undefined,
  reclaimAt: undefined,
  history: [],
};

/** Registers the cases for a control plane. */
export function ownDefinitionCases(plane: ControlPlane, start: () => Promise<RunningPlane>): void {
  describe(`the project's definitions, ${plane}`, () => {
    let running: RunningPlane;
    let cluster: ApiClient;
    let definitions = COMMITTED;
    const knowsRules = hasFeature(plane, "CEL validation rules");
    before(async () => {
      running = await start();
      cluster = running.client;
      if (!knowsRules) {
        definitions = mkdtempSync(join(tmpdir(), "fabric-crds-"));
        execFileSync(process.execPath, [GENERATOR, "--kubernetes", "1.20", "--out", definitions]);
      }
      await cluster.kubectlOk(["apply", "-f", definitions]);
    });
    after(async () => {
      if (definitions !== COMMITTED) rmSync(definitions, { recursive: true });
      await running.stop();
    });

    test("are established", async () => {
      const names = readdirSync(definitions)
        .filter((name) => name.endsWith(".yaml"))
        .map((name) => `crd/${name.slice(0, -5)}`);
      assert.ok(names.length >= 3, names.join());
      await cluster.kubectlOk(["wait", "--for=condition=Established", "--timeout=10s", ...names]);
    });

    test("accept a subnet and refuse one that breaks a rule", async () => {
      const subnet = (name: string, cidrs: string[]): unknown => ({
        apiVersion: "beyondfabric.io/v1alpha1",
        kind: "Subnet",
        metadata: { name },
        spec: { network: "overlay", cidrs },
      });
      const good = await cluster.api("POST", SUBNETS, { body: subnet("good", ["10.244.0.0/16", "fd00:244::/64"]) });
      assert.equal(good.status, 201, good.text);
      const wrong = {
        ...(subnet("bad", ["10.0.0.0/16"]) as Loose),
        spec: { network: "overlay", cidrs: "10.0.0.0/16" },
      };
      assert.equal((await cluster.api("POST", SUBNETS, { body: wrong })).status, 422);
      assert.match(await cluster.kubectlOk(["get", "subnets"]), /good/);
      if (!knowsRules) return;
      const families = await cluster.api("POST", SUBNETS, { body: subnet("bad", ["10.0.0.0/16", "10.1.0.0/16"]) });
      assert.equal(families.status, 422, families.text);
      const host = await cluster.api("POST", SUBNETS, { body: subnet("bad", ["10.0.0.1/16"]) });
      assert.equal(host.status, 422, host.text);
      const moved = await cluster.api("PATCH", `${SUBNETS}/good`, {
        body: { spec: { cidrs: ["10.245.0.0/16", "fd00:244::/64"] } },
        type: MERGE,
      });
      assert.equal(moved.status, 422, moved.text);
    });

    test("take a claim through its life by compare-and-swap", async () => {
      for (const address of ["10.0.0.5", "fd00:244::5"]) {
        const made = await cluster.api("POST", ADDRESSES, { body: ipAddressManifest({ ...claim, address }) });
        assert.equal(made.status, 201, made.text);
        const again = await cluster.api("POST", ADDRESSES, { body: ipAddressManifest({ ...claim, address }) });
        assert.equal(again.status, 409, again.text);
        const read = parseIpAddress(made.body);
        assert.ok(read.ok);
        const path = `${ADDRESSES}/${read.value.name}`;
        const retained = { ...read.value, holder: undefined, phase: "Retained" as const, reclaimAt: Date.now() };
        const swapped = await cluster.api("PATCH", path, { body: ipAddressPatch(retained), type: MERGE });
        assert.equal(swapped.status, 200, swapped.text);
        const now = parseIpAddress(swapped.body);
        assert.ok(now.ok);
        assert.equal(now.value.phase, "Retained");
        assert.equal(now.value.holder, undefined);
        const late = await cluster.api("PATCH", path, { body: ipAddressPatch(retained), type: MERGE });
        assert.equal(late.status, 409, late.text);
        const released = { ...now.value, owner: undefined, phase: "Released" as const, reclaimAt: undefined };
        const freed = await cluster.api("PATCH", path, { body: ipAddressPatch(released), type: MERGE });
        assert.equal(freed.status, 200, freed.text);
        assert.deepEqual(freed.body.metadata.labels, { "beyondfabric.io/subnet": "office" });
      }
    });

    test("take a claim whose owner has no slot and no UID, and one that loses them", async () => {
      const owner = { ...claim.owner!, kind: "Deployment", uid: "", slot: "" };
      const body = ipAddressManifest({ ...claim, address: "10.0.0.50", owner });
      const made = await cluster.api("POST", ADDRESSES, { body });
      assert.equal(made.status, 201, made.text);
      const read = parseIpAddress(made.body);
      assert.ok(read.ok);
      assert.deepEqual(read.value.owner, owner);
      for (const next of [claim.owner, owner]) {
        const stored = parseIpAddress((await cluster.api("GET", `${ADDRESSES}/10-0-0-50`)).body);
        assert.ok(stored.ok);
        const patch = ipAddressPatch({ ...stored.value, owner: next });
        const swapped = await cluster.api("PATCH", `${ADDRESSES}/10-0-0-50`, { body: patch, type: MERGE });
        assert.equal(swapped.status, 200, swapped.text);
        const now = parseIpAddress(swapped.body);
        assert.ok(now.ok);
        assert.deepEqual(now.value.owner, next);
      }
    });

    test("refuse claims that break a rule", async () => {
      const manifest = ipAddressManifest({ ...claim, address: "10.0.0.6" }) as Loose;
      const six = ipAddressManifest({ ...claim, address: "fd00::6" }) as Loose;
      const withName = (body: Loose, name: string): Loose => ({ ...body, metadata: { ...body.metadata, name } });
      const withAddress = (body: Loose, address: string): Loose => ({ ...body, spec: { ...body.spec, address } });
      const { spec, status } = manifest;
      for (const [checker, what, body] of [
        ["rule", "another name", withName(manifest, "10-0-0-7")],
        ["rule", "a name with dots", withName(manifest, "10.0.0.6")],
        ["rule", "a short name", withName(six, "fd00--6")],
        ["rule", "another name", withName(six, "fd00-0000-0000-0000-0000-0000-0000-0007")],
        ["rule", "another spelling", withAddress(six, "fd00:0::6")],
        ["rule", "no address", withAddress(manifest, "10.0.0.256")],
        ["rule", "no holder", { ...manifest, spec: { ...spec, holder: undefined } }],
        ["rule", "a holder", { ...manifest, status: { ...status, phase: "Retained" } }],
        ["rule", "a time without reason", { ...manifest, status: { ...status, reclaimAt: status.since } }],
        ["schema", "upper case", withAddress(six, "FD00::6")],
        ["schema", "no status", { ...manifest, status: undefined }],
        ["schema", "no phase", { ...manifest, status: { since: status.since } }],
        ["schema", "no time", { ...manifest, status: { ...status, since: "yesterday" } }],
      ] as ["rule" | "schema", string, Loose][]) {
        // What an older API server lets pass, the agents refuse.
        assert.ok(!parseIpAddress(JSON.parse(JSON.stringify(body))).ok, what);
        if (checker === "rule" && !knowsRules) continue;
        const reply = await cluster.api("POST", ADDRESSES, { body });
        assert.equal(reply.status, 422, `${what}: ${reply.text}`);
      }
      const made = await cluster.api("POST", ADDRESSES, { body: manifest });
      assert.equal(made.status, 201, made.text);
      for (const change of knowsRules ? [{ address: "10.0.0.7" }, { subnet: "other" }] : []) {
        const moved = await cluster.api("PATCH", `${ADDRESSES}/10-0-0-6`, { body: { spec: change }, type: MERGE });
        assert.equal(moved.status, 422, moved.text);
      }
    });

    test("refuse a block that lends what it has not", async () => {
      const node = { name: "node-1", uid: "u" };
      const block = parseCidr("10.0.0.0/26");
      const lent = [parseCidr("10.0.0.32/27")];
      const made = await cluster.api("POST", `${GROUP}/addressblocks`, {
        body: addressBlockManifest("office", block, node, lent),
      });
      assert.equal(made.status, 201, made.text);
      const lend = (parts: string[]): Promise<{ status: number }> =>
        cluster.api("PATCH", `${GROUP}/addressblocks/10-0-0-0-26`, { body: { spec: { lent: parts } }, type: MERGE });
      assert.equal((await lend(["10.0.0.0/28", "10.0.0.16/28"])).status, 200);
      assert.equal((await lend(["10.0.0.64"])).status, 422);
      if (knowsRules) assert.equal((await lend(["10.0.0.64/28"])).status, 422);
      assert.equal((await lend([])).status, 200);
    });

    test("show what a person asks for", async () => {
      const subnet = {
        apiVersion: "beyondfabric.io/v1alpha1",
        kind: "Subnet",
        metadata: { name: "office" },
        spec: { network: "wire", cidrs: ["10.0.0.0/24"], vlan: 0 },
      };
      assert.equal((await cluster.api("POST", SUBNETS, { body: subnet })).status, 201);
      const status = { capacity: { ipv4: "253" }, used: { ipv4: "3" }, free: { ipv4: "250" } };
      await cluster.api("PATCH", `${SUBNETS}/office/status`, { body: { status }, type: MERGE });
      assert.match(
        await cluster.kubectlOk(["get", "subnets", "office"]),
        /^NAME +CIDRS +NETWORK +VLAN +DEFAULT +USED +FREE +AGE\noffice +\["10\.0\.0\.0\/24"\] +wire +0 +false +3 +250 +\d+s\n$/,
      );
      const pool = {
        apiVersion: "beyondfabric.io/v1alpha1",
        kind: "IPPool",
        metadata: { name: "web" },
        spec: { subnet: "office", addresses: ["10.0.0.50-10.0.0.60"] },
      };
      assert.equal((await cluster.api("POST", `${GROUP}/ippools`, { body: pool })).status, 201);
      assert.match(
        await cluster.kubectlOk(["get", "bfpool", "web"]),
        /^NAME +SUBNET +ADDRESSES +USED +CAPACITY +AGE\nweb +office +\["10\.0\.0\.50-10\.0\.0\.60"\] +\d+s\n$/,
      );
      const body = ipAddressManifest({ ...claim, address: "10.0.0.8" });
      assert.equal((await cluster.api("POST", ADDRESSES, { body })).status, 201);
      assert.match(
        await cluster.kubectlOk(["get", "bfip", "10-0-0-8"]),
        /^NAME +ADDRESS +NAMESPACE +POD +NODE +OWNER KIND +OWNER +PHASE +SINCE\n10-0-0-8 +10\.0\.0\.8 +shop +db-0 +node-1 +StatefulSet +db +Bound +\d+m\n$/,
      );
      const wide = await cluster.kubectlOk(["get", "bfip", "10-0-0-8", "-o", "wide"]);
      assert.match(
        wide,
        / MAC +SUBNET +POOL +RETENTION +OWNER NAMESPACE +SLOT\n.* 0a:58:0a:00:00:05 +office +Sticky +shop +db-0\n$/,
      );
    });
  });
}

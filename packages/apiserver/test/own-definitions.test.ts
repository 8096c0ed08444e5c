/** The project's own definitions (`deploy/crds`) work on the embedded server, their rules included. */
import assert from "node:assert/strict";
import { readdirSync } from "node:fs";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { TestCluster } from "./harness.ts";

const DEFINITIONS = join(import.meta.dirname, "../../../deploy/crds");
const SUBNETS = "/apis/beyondfabric.io/v1alpha1/subnets";

describe("the project's definitions", () => {
  let cluster: TestCluster;
  before(async () => {
    cluster = await TestCluster.start();
    await cluster.kubectlOk(["apply", "-f", DEFINITIONS]);
  });
  after(() => cluster.stop());

  test("are established", async () => {
    const names = readdirSync(DEFINITIONS)
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
    const families = await cluster.api("POST", SUBNETS, { body: subnet("bad", ["10.0.0.0/16", "10.1.0.0/16"]) });
    assert.equal(families.status, 422, families.text);
    const host = await cluster.api("POST", SUBNETS, { body: subnet("bad", ["10.0.0.1/16"]) });
    assert.equal(host.status, 422, host.text);
    const moved = await cluster.api("PATCH", `${SUBNETS}/good`, {
      body: { spec: { cidrs: ["10.245.0.0/16", "fd00:244::/64"] } },
      type: "application/merge-patch+json",
    });
    assert.equal(moved.status, 422, moved.text);
    assert.match(await cluster.kubectlOk(["get", "subnets"]), /good/);
  });
});

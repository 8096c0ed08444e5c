import assert from "node:assert/strict";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, it } from "node:test";
import {
  applyRuleset,
  getSysctl,
  LinkError,
  netnsExists,
  netnsIdentity,
  readTable,
  setSysctls,
  withNamespace,
} from "../src/index.ts";
import { namespaces, pathOf, run } from "./namespaces.ts";

describe("namespaces", () => {
  it("tells live ones from missing paths, plain files and namespaces of another type", (context) => {
    const [name] = namespaces(context, 1) as [string];
    const folder = mkdtempSync(join(tmpdir(), "bf-link-"));
    context.after(() => rmSync(folder, { recursive: true }));
    writeFileSync(join(folder, "file"), "");
    assert.ok(netnsExists(pathOf(name)));
    assert.ok(netnsExists("/proc/self/ns/net"));
    for (const path of [join(folder, "none"), join(folder, "file"), folder, "/proc/self/ns/mnt", "/dev/null"]) {
      assert.ok(!netnsExists(path), path);
      assert.throws(
        () => netnsIdentity(path),
        (error) => error instanceof LinkError && error.code === "LINK_NO_NAMESPACE",
      );
    }
  });

  it("identity is the namespace's, not the path's", (context) => {
    const [first, second] = namespaces(context, 2) as [string, string];
    assert.notEqual(netnsIdentity(pathOf(first)), netnsIdentity(pathOf(second)));
    assert.equal(netnsIdentity("/proc/self/ns/net"), netnsIdentity());
    withNamespace(pathOf(first), () => {
      assert.equal(netnsIdentity(), netnsIdentity(pathOf(first)));
    });
  });

  it("comes back after the function, also when it throws", (context) => {
    const [name] = namespaces(context, 1) as [string];
    const home = netnsIdentity();
    const inside = withNamespace(pathOf(name), () => netnsIdentity());
    assert.equal(inside, netnsIdentity(pathOf(name)));
    assert.equal(netnsIdentity(), home);
    assert.throws(
      () =>
        withNamespace(pathOf(name), () => {
          throw new Error("inside");
        }),
      /inside/,
    );
    assert.equal(netnsIdentity(), home);
  });

  it("leaves every other thread at home, also those that Node starts meanwhile", (context) => {
    const [name] = namespaces(context, 1) as [string];
    const script = `
      import { withNamespace } from ${JSON.stringify(new URL("../src/index.ts", import.meta.url).href)};
      import { readdirSync, readFile, readlinkSync } from "node:fs";
      withNamespace(${JSON.stringify(pathOf(name))}, () => {
        readFile("/proc/self/stat", () => {
          const seen = readdirSync("/proc/self/task").map((task) => readlinkSync("/proc/self/task/" + task + "/ns/net"));
          console.log(seen.length > 4, new Set(seen).size);
        });
      });`;
    assert.equal(run(process.execPath, "--input-type=module", "-e", script), "true 1\n");
  });
});

describe("kernel parameters", () => {
  it("are set and read in the namespace that is named, and in no other", (context) => {
    const [first, second] = namespaces(context, 2) as [string, string];
    setSysctls(
      {
        "ipv4/ip_forward": 1,
        "ipv6/conf/all/forwarding": 1,
        "ipv6/conf/lo/accept_ra": 0,
        "ipv4/conf/all/rp_filter": "2",
      },
      pathOf(first),
    );
    assert.equal(run("ip", "netns", "exec", first, "cat", "/proc/sys/net/ipv4/ip_forward"), "1\n");
    assert.equal(getSysctl("ipv4/conf/all/rp_filter", pathOf(first)), "2");
    assert.equal(getSysctl("ipv6/conf/all/forwarding", pathOf(second)), "0");
    assert.equal(getSysctl("ipv4/ip_forward"), readFileSync("/proc/sys/net/ipv4/ip_forward", "utf8").trim());
  });

  it("refuses names that are none, and those that would leave /proc/sys/net", () => {
    const coded = (code: string) => (error: unknown) => error instanceof LinkError && error.code === code;
    assert.throws(() => setSysctls({ "ipv4/none": 1 }), coded("LINK_NOT_FOUND"));
    for (const name of ["", "ipv4", "../kernel/hostname", "ipv4/../../kernel/hostname", "ipv4//x"]) {
      assert.throws(() => getSysctl(name), coded("LINK_BAD_NAME"), name);
    }
  });
});

describe("nftables", () => {
  it("applies a ruleset in a namespace, whole or not at all, and says what is wrong", async (context) => {
    const [name] = namespaces(context, 1) as [string];
    const netns = pathOf(name);
    const ruleset = (rule: string) =>
      `table inet bf {}\ndelete table inet bf\ntable inet bf {\n  chain post {\n    type nat hook postrouting priority 100;\n    ${rule}\n  }\n}\n`;
    assert.equal(await readTable("inet", "bf", { netns }), undefined);
    await applyRuleset(ruleset("ip saddr 10.244.0.0/16 masquerade"), { netns });
    await applyRuleset(ruleset("ip saddr 10.245.0.0/16 masquerade"), { netns });
    assert.match((await readTable("inet", "bf", { netns }))!, /10\.245\.0\.0\/16 masquerade/);
    await assert.rejects(applyRuleset(ruleset("ip saddr nonsense masquerade"), { netns }), (error) => {
      assert.ok(error instanceof LinkError && error.code === "LINK_NFT");
      assert.match(error.message, /6:.*|nonsense/);
      return true;
    });
    assert.match((await readTable("inet", "bf", { netns }))!, /10\.245/);
    await assert.rejects(applyRuleset("", { program: "/none/nft" }), /install the package nftables/);
  });
});

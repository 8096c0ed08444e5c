import assert from "node:assert/strict";
import { describe, it } from "node:test";
import {
  hostNumber,
  isNamespaceOf,
  isRootLinkOf,
  labNames,
  machineNamespace,
  nodeNumber,
  podNamespace,
} from "../src/names.ts";

const refused = { code: "LAB_BAD_ARGUMENT" };

describe("names of a lab", () => {
  it("refuses lab names that would not fit into a link name", () => {
    assert.equal(labNames("lab").directory, "/run/fabric-lab/lab");
    assert.equal(labNames("a").managementBridge, "a-mgmt");
    assert.ok(labNames("ninechars").managementBridge.length <= 15);
    for (const name of ["", "tenletters", "Lab", "-a", "a-", "a.b", "../x", "1a"])
      assert.throws(() => labNames(name), refused, name);
  });

  it("takes the numbers of nodes and hosts from their names", () => {
    assert.equal(nodeNumber("node-1"), 1);
    assert.equal(nodeNumber("node-180"), 180);
    assert.equal(hostNumber("host-2"), 2);
    for (const name of ["node-0", "node-181", "node-01", "node", "web", "node-1/x"])
      assert.throws(() => nodeNumber(name), refused, name);
    for (const name of ["host-0", "host-51", "node-1"]) assert.throws(() => hostNumber(name), refused, name);
  });

  it("recognises its own namespaces, and not those of a lab whose name begins alike", () => {
    const own = [
      machineNamespace("lab", "node-1"),
      machineNamespace("lab", "host-2"),
      labNames("lab").wireNamespace,
      podNamespace("lab", "0123abcd-ffff"),
    ];
    for (const name of own) {
      assert.ok(isNamespaceOf("lab", name), name);
      assert.ok(!isNamespaceOf("la", name), name);
    }
    for (const name of ["lab-2-node-1", "lab-2-pod-01234567", "lab-node-x", "lab", "labx-node-1", "lab-pod-0123456"])
      assert.ok(!isNamespaceOf("lab", name), name);
    assert.ok(isNamespaceOf("lab-2", "lab-2-node-1"));
  });

  it("recognises its own links in the root namespace", () => {
    assert.ok(isRootLinkOf("lab", "lab-mgmt"));
    assert.ok(isRootLinkOf("lab", "lab-m12"));
    for (const name of ["lab-2-mgmt", "lab-mx", "lab", "eth0"]) assert.ok(!isRootLinkOf("lab", name), name);
  });

  it("names a pod's namespace after its UID", () => {
    assert.equal(podNamespace("lab", "abcdef01-2345-6789"), "lab-pod-abcdef01");
    assert.equal(podNamespace("lab", "ab"), "lab-pod-ab000000");
  });
});

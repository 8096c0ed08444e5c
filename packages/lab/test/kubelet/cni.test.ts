import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, describe, it } from "node:test";
import {
  cniEnvironment,
  parseNetworkConfiguration,
  readNetworkConfiguration,
  resultAddresses,
} from "../../src/kubelet/cni.ts";

const directory = mkdtempSync(join(tmpdir(), "lab-cni-"));
after(() => rmSync(directory, { recursive: true }));

describe("the runtime's side of the CNI", () => {
  it("takes the first configuration list of the folder", async () => {
    assert.equal(await readNetworkConfiguration(join(directory, "absent")), undefined);
    assert.equal(await readNetworkConfiguration(directory), undefined);
    const list = (name: string) => JSON.stringify({ cniVersion: "1.0.0", name, plugins: [{ type: "x" }] });
    writeFileSync(join(directory, "20-b.conflist"), list("b"));
    writeFileSync(join(directory, "10-a.conflist"), list("a"));
    writeFileSync(join(directory, "00-draft.tmp"), "not yet");
    assert.equal((await readNetworkConfiguration(directory))?.name, "a");
  });

  it("refuses a broken list with its file and field", () => {
    for (const [text, what] of [
      ["{", "not JSON"],
      ["3", "not an object"],
      ['{"name":"n","plugins":[{"type":"x"}]}', "cniVersion"],
      ['{"cniVersion":"1.0.0","plugins":[{"type":"x"}]}', "name"],
      ['{"cniVersion":"1.0.0","name":"n","plugins":[]}', "plugins"],
      ['{"cniVersion":"1.0.0","name":"n","plugins":[{}]}', "type"],
    ] as const) {
      assert.throws(
        () => parseNetworkConfiguration(text, "f.conflist"),
        (error: Error) => error.message.startsWith("f.conflist: ") && error.message.includes(what),
        text,
      );
    }
  });

  it("sets the environment that the specification names", () => {
    const attachment = {
      containerId: "c1",
      netns: "/run/netns/x",
      ifname: "eth0",
      podNamespace: "default",
      podName: "web",
      podUid: "u-1",
    };
    assert.deepEqual(cniEnvironment("ADD", attachment, ["/a", "/b"]), {
      CNI_COMMAND: "ADD",
      CNI_CONTAINERID: "c1",
      CNI_NETNS: "/run/netns/x",
      CNI_IFNAME: "eth0",
      CNI_PATH: "/a:/b",
      CNI_ARGS:
        "IgnoreUnknown=1;K8S_POD_NAMESPACE=default;K8S_POD_NAME=web;K8S_POD_INFRA_CONTAINER_ID=c1;K8S_POD_UID=u-1",
    });
  });

  it("reads the addresses of a result in order", () => {
    assert.deepEqual(resultAddresses({ ips: [{ address: "10.0.0.5/24" }, { address: "fd00::5/64" }] }), [
      "10.0.0.5",
      "fd00::5",
    ]);
    assert.deepEqual(resultAddresses({}), []);
  });
});

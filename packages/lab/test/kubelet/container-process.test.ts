import assert from "node:assert/strict";
import { describe, it } from "node:test";
import {
  containerCommand,
  containerEnvironment,
  expandVariables,
  podFiles,
} from "../../src/kubelet/container-process.ts";
import type { Container, Pod } from "../../src/kubelet/pod-model.ts";

const pod: Pod = {
  metadata: { name: "web", namespace: "shop", uid: "u", labels: { app: "web" } },
  spec: { nodeName: "node-1", containers: [] },
};
const facts = { addresses: ["10.0.0.5", "fd00::5"], hostAddress: "172.31.0.11" };

describe("a container's command and environment", () => {
  it("expands known variables, keeps unknown ones, and halves doubled dollars", () => {
    assert.equal(expandVariables("a $(X) $(Y) $$(X) $X", { X: "1" }), "a 1 $(Y) $(X) $X");
  });

  it("joins command and arguments", () => {
    const container: Container = { name: "c", command: ["sh", "-c"], args: ["echo $(WHO)"] };
    assert.deepEqual(containerCommand(container, { WHO: "me" }), ["sh", "-c", "echo me"]);
    assert.deepEqual(containerCommand({ name: "c" }, {}), []);
  });

  it("fills variables from the pod's fields, later ones from earlier ones", () => {
    const field = (name: string, fieldPath: string) => ({ name, valueFrom: { fieldRef: { fieldPath } } });
    const env = containerEnvironment(
      {
        name: "c",
        env: [
          field("IP", "status.podIP"),
          field("IPS", "status.podIPs"),
          field("NODE", "spec.nodeName"),
          field("APP", "metadata.labels['app']"),
          { name: "URL", value: "http://$(IP)/" },
        ],
      },
      pod,
      facts,
    );
    assert.deepEqual(
      [env["IP"], env["IPS"], env["NODE"], env["APP"], env["URL"], env["HOSTNAME"]],
      ["10.0.0.5", "10.0.0.5,fd00::5", "node-1", "web", "http://10.0.0.5/", "web"],
    );
  });

  it("names the pod in its hosts file", () => {
    const { hosts, resolvConf } = podFiles("web", facts.addresses);
    assert.match(hosts, /^10\.0\.0\.5\tweb$/m);
    assert.match(hosts, /^fd00::5\tweb$/m);
    assert.match(resolvConf, /^nameserver 127\.0\.0\.1$/m);
  });
});

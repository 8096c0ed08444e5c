/** The real kubectl, unmodified: the same assertions for every control plane. */
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { hasFeature, type ControlPlane } from "../src/index.ts";
import { eventually, type ApiClient, type RunningPlane } from "./harness.ts";

const NODE = `
apiVersion: v1
kind: Node
metadata:
  name: node-1
  labels: {node-role.kubernetes.io/worker: ""}
status:
  addresses: [{type: InternalIP, address: 10.0.0.1}]
  conditions: [{type: Ready, status: "True", reason: KubeletReady, message: ready}]
  nodeInfo:
    kubeletVersion: v1.30.0
    osImage: Debian
    kernelVersion: "6.1"
    containerRuntimeVersion: "lab://1"
    machineID: ""
    systemUUID: ""
    bootID: ""
    kubeProxyVersion: ""
    operatingSystem: linux
    architecture: amd64
`;

const POD = `
apiVersion: v1
kind: Pod
metadata:
  name: web
  labels: {app: web}
spec:
  nodeName: node-1
  containers:
  - name: c
    image: image:1
    ports: [{containerPort: 80}]
`;

/** Registers the cases for a control plane. */
export function kubectlCases(plane: ControlPlane, start: () => Promise<RunningPlane>): void {
  describe(`kubectl, ${plane}`, () => {
    let running: RunningPlane;
    let cluster: ApiClient;
    before(async () => {
      running = await start();
      cluster = running.client;
      await cluster.kubectlOk(["apply", "-f", "-"], NODE);
    });
    after(() => running.stop());

    test("version and api-resources answer", async () => {
      assert.match(await cluster.kubectlOk(["version"]), /Server Version: v1\./);
      const resources = await cluster.kubectlOk(["api-resources"]);
      assert.match(resources, /networkpolicies +netpol +networking.k8s.io\/v1 +true +NetworkPolicy/);
    });

    test("get nodes shows the columns people know", async () => {
      const output = await cluster.kubectlOk(["get", "nodes", "-o", "wide"]);
      assert.match(
        output,
        /^NAME +STATUS +ROLES +AGE +VERSION +INTERNAL-IP +EXTERNAL-IP +OS-IMAGE +KERNEL-VERSION +CONTAINER-RUNTIME/,
      );
      assert.match(output, /node-1 +Ready +worker +\d+s +v1\.30\.0 +10\.0\.0\.1 +<none> +Debian +6\.1 +lab:\/\/1/);
    });

    test("apply creates, leaves alone, configures", async () => {
      assert.match(await cluster.kubectlOk(["apply", "-f", "-"], POD), /pod\/web created/);
      assert.match(await cluster.kubectlOk(["apply", "-f", "-"], POD), /pod\/web unchanged/);
      const changed = POD.replace("image:1", "image:2").replace("app: web", "app: web, tier: front");
      assert.match(await cluster.kubectlOk(["apply", "-f", "-"], changed), /pod\/web configured/);
      const image = await cluster.kubectlOk(["get", "pod", "web", "-o", "jsonpath={.spec.containers[0].image}"]);
      assert.equal(image, "image:2");
      await cluster.kubectlOk(["apply", "-f", "-"], POD);
      const labels = await cluster.kubectlOk(["get", "pod", "web", "-o", "jsonpath={.metadata.labels}"]);
      assert.equal(labels, '{"app":"web"}');
    });

    test("get in all its forms", async () => {
      await cluster.kubectlOk(["apply", "-f", "-"], POD);
      assert.match(
        await cluster.kubectlOk(["get", "pods"]),
        /^NAME +READY +STATUS +RESTARTS +AGE\nweb +0\/1 +Pending +0/,
      );
      assert.match(await cluster.kubectlOk(["get", "pods", "-A"]), /NAMESPACE +NAME[^]*default +web/);
      assert.match(await cluster.kubectlOk(["get", "pods", "-o", "wide"]), /web .*node-1 +<none> +<none>/);
      assert.match(await cluster.kubectlOk(["get", "pods", "-l", "app=web", "-o", "name"]), /^pod\/web\n$/);
      assert.equal(await cluster.kubectlOk(["get", "pods", "-l", "app=other", "-o", "name"]), "");
      const bound = await cluster.kubectlOk(["get", "pods", "--field-selector", "spec.nodeName=node-1", "-o", "name"]);
      assert.match(bound, /pod\/web/);
      assert.match(await cluster.kubectlOk(["get", "pod", "web", "-o", "yaml"]), /kind: Pod\n/);
      assert.equal(JSON.parse(await cluster.kubectlOk(["get", "pod", "web", "-o", "json"])).metadata.name, "web");
      assert.match(await cluster.kubectlOk(["get", "pods", "--show-labels"]), /app=web/);
      assert.match(await cluster.kubectlOk(["get", "all"]), /service\/kubernetes/);
      assert.match(
        await cluster.kubectlOk(["get", "ns,svc,cm,secret,sa,ep,deploy,netpol,lease"]),
        /namespace\/default/,
      );
      const missing = await cluster.kubectl(["get", "pod", "nobody"]);
      assert.equal(missing.code, 1);
      assert.match(missing.stderr, /Error from server \(NotFound\): pods "nobody" not found/);
    });

    test("the three kinds of patch, label, annotate", async () => {
      await cluster.kubectlOk(["apply", "-f", "-"], POD);
      await cluster.kubectlOk([
        "patch",
        "pod",
        "web",
        "-p",
        '{"spec":{"containers":[{"name":"c","image":"image:3"}]}}',
      ]);
      await cluster.kubectlOk(["patch", "pod", "web", "--type=merge", "-p", '{"metadata":{"labels":{"m":"1"}}}']);
      const operations = '[{"op":"add","path":"/metadata/labels/j","value":"1"}]';
      await cluster.kubectlOk(["patch", "pod", "web", "--type=json", "-p", operations]);
      await cluster.kubectlOk(["label", "pod", "web", "l=1"]);
      await cluster.kubectlOk(["label", "pod", "web", "l-"]);
      await cluster.kubectlOk(["annotate", "pod", "web", "example.io/note=hello"]);
      const { metadata, spec } = JSON.parse(await cluster.kubectlOk(["get", "pod", "web", "-o", "json"]));
      assert.deepEqual(metadata.labels, { app: "web", m: "1", j: "1" });
      assert.equal(metadata.annotations["example.io/note"], "hello");
      assert.equal(spec.containers[0].image, "image:3");
      assert.equal(spec.containers[0].ports[0].containerPort, 80);
      const refused = await cluster.kubectl(["patch", "pod", "web", "-p", '{"spec":{"nodeName":"node-2"}}']);
      assert.match(refused.stderr, /pod updates may not change fields other than/);
    });

    test("server-side apply finds conflicts, and forces them", async () => {
      const applied = POD.replaceAll("web", "applied");
      await cluster.kubectlOk(["apply", "--server-side", "-f", "-"], applied);
      await cluster.kubectlOk(["apply", "--server-side", "-f", "-"], applied);
      await cluster.kubectlOk(["label", "pod", "applied", "app=taken", "--overwrite"]);
      const conflict = await cluster.kubectl(["apply", "--server-side", "-f", "-"], applied);
      assert.equal(conflict.code, 1);
      assert.match(conflict.stderr, /conflict with "kubectl-label".*: \.metadata\.labels\.app/);
      await cluster.kubectlOk(["apply", "--server-side", "--force-conflicts", "-f", "-"], applied);
      await cluster.kubectlOk(
        ["apply", "--server-side", "-f", "-"],
        applied.replace("labels: {app: applied}", "labels: {b: c}"),
      );
      assert.equal(
        await cluster.kubectlOk(["get", "pod", "applied", "-o", "jsonpath={.metadata.labels}"]),
        '{"b":"c"}',
      );
    });

    test("create of what newer clients send as protobuf", async () => {
      assert.match(await cluster.kubectlOk(["create", "namespace", "made"]), /namespace\/made created/);
      await cluster.kubectlOk(["-n", "made", "create", "configmap", "m", "--from-literal=a=b"]);
      assert.equal(await cluster.kubectlOk(["-n", "made", "get", "cm", "m", "-o", "jsonpath={.data.a}"]), "b");
      await cluster.kubectlOk(["-n", "made", "create", "secret", "generic", "s", "--from-literal=a=b"]);
      assert.equal(await cluster.kubectlOk(["-n", "made", "get", "secret", "s", "-o", "jsonpath={.data.a}"]), "Yg==");
      await cluster.kubectlOk(["-n", "made", "create", "serviceaccount", "sa"]);
      await cluster.kubectlOk(["-n", "made", "create", "service", "clusterip", "svc", "--tcp=80:8080"]);
      assert.match(
        await cluster.kubectlOk(["-n", "made", "get", "svc"]),
        /svc +ClusterIP +10\.96\.\d+\.\d+ +<none> +80\/TCP/,
      );
      await cluster.kubectlOk(["-n", "made", "create", "deployment", "d", "--image=image:1", "--replicas=2"]);
      assert.match(await cluster.kubectlOk(["-n", "made", "get", "deploy"]), /d +0\/2/);
      await cluster.kubectlOk(["-n", "made", "create", "role", "r", "--verb=get", "--resource=pods"]);
      await cluster.kubectlOk(["-n", "made", "create", "rolebinding", "r", "--role=r", "--user=bob"]);
      await cluster.kubectlOk(["-n", "made", "create", "job", "j", "--image=image:1"]);
      assert.equal(await cluster.kubectlOk(["auth", "can-i", "create", "pods"]), "yes\n");
      if (hasFeature(plane, "SelfSubjectReview")) {
        assert.match(await cluster.kubectlOk(["auth", "whoami"]), /Username +admin/);
      }
      if (!hasFeature(plane, "namespace deletion")) return;
      await cluster.kubectlOk(["delete", "namespace", "made"]);
      const gone = await cluster.kubectl(["get", "namespace", "made"]);
      assert.match(gone.stderr, /NotFound/);
    });

    test("run, wait, describe, delete", async () => {
      const run = await cluster.kubectlOk(["run", "once", "--image=busybox", "--restart=Never", "--", "sleep", "1"]);
      assert.match(run, /pod\/once created/);
      const command = await cluster.kubectlOk(["get", "pod", "once", "-o", "jsonpath={.spec.containers[0].args}"]);
      assert.equal(command, '["sleep","1"]');
      const waiting = cluster.kubectlOk(["wait", "--for=condition=Ready", "pod/once", "--timeout=30s"]);
      await cluster.api("PATCH", "/api/v1/namespaces/default/pods/once/status", {
        type: "application/strategic-merge-patch+json",
        body: {
          status: {
            phase: "Running",
            podIP: "10.1.0.1",
            podIPs: [{ ip: "10.1.0.1" }],
            conditions: [{ type: "Ready", status: "True" }],
            containerStatuses: [{ name: "once", ready: true, restartCount: 0, state: { running: {} } }],
          },
        },
      });
      assert.match(await waiting, /pod\/once condition met/);
      assert.match(
        await cluster.kubectlOk(["get", "pod", "once", "-o", "wide"]),
        /once +1\/1 +Running +0 +\S+ +10\.1\.0\.1/,
      );
      const uid = await cluster.kubectlOk(["get", "pod", "once", "-o", "jsonpath={.metadata.uid}"]);
      await cluster.api("POST", "/api/v1/namespaces/default/events", {
        body: {
          metadata: { name: "once.1" },
          involvedObject: { kind: "Pod", name: "once", namespace: "default", uid },
          reason: "Started",
          message: "it began",
          type: "Normal",
          lastTimestamp: new Date().toISOString(),
        },
      });
      assert.match(await cluster.kubectlOk(["describe", "pod", "once"]), /Normal +Started +.*it began/);
      assert.match(await cluster.kubectlOk(["get", "events"]), /Normal +Started +pod\/once +it began/);
      assert.match(await cluster.kubectlOk(["describe", "node", "node-1"]), /InternalIP: +10\.0\.0\.1/);
      assert.match(await cluster.kubectlOk(["delete", "pod", "once"]), /pod "once" deleted/);
      assert.equal((await cluster.kubectl(["get", "pod", "once"])).code, 1);
    });

    test("delete waits for the kubelet", async () => {
      await cluster.kubectlOk(["apply", "-f", "-"], POD.replaceAll("web", "slow"));
      let done = false;
      const deletion = cluster.kubectlOk(["delete", "pod", "slow"]).then((output) => {
        done = true;
        return output;
      });
      const path = "/api/v1/namespaces/default/pods/slow";
      await eventually(
        async () => (await cluster.api("GET", path)).body.metadata.deletionTimestamp !== undefined,
        "the deletion to begin",
      );
      assert.match(await cluster.kubectlOk(["get", "pod", "slow"]), /Terminating/);
      assert.equal(done, false);
      await cluster.api("DELETE", path, { body: { gracePeriodSeconds: 0 } });
      assert.match(await deletion, /pod "slow" deleted/);
    });

    test("get -w follows", async () => {
      await cluster.kubectlOk(["run", "before", "--image=image:1"]);
      const watching = cluster.kubectlFollowing("get", "pods", "-w");
      const told = (line: RegExp): Promise<void> =>
        eventually(() => line.test(watching.output()), `${String(line)} in:\n${watching.output()}`);
      try {
        // Its list is there; whatever comes now is news.
        await told(/before +0\/1 +Pending/);
        await cluster.kubectlOk(["run", "followed", "--image=image:1"]);
        await told(/followed +0\/1 +Pending/);
        await cluster.kubectlOk(["delete", "pod", "followed"]);
        await told(/followed +0\/1 +Terminating/);
      } finally {
        await watching.stop();
      }
      await cluster.kubectlOk(["delete", "pod", "before"]);
    });

    test("cordon, taint, drain", async () => {
      await cluster.kubectlOk(["cordon", "node-1"]);
      assert.match(await cluster.kubectlOk(["get", "node", "node-1"]), /Ready,SchedulingDisabled/);
      await cluster.kubectlOk(["uncordon", "node-1"]);
      await cluster.kubectlOk(["taint", "nodes", "node-1", "a=b:NoSchedule"]);
      await cluster.kubectlOk(["taint", "nodes", "node-1", "a-"]);
    });

    test("dry runs, diff and replace", async () => {
      const other = POD.replaceAll("web", "other");
      assert.match(
        await cluster.kubectlOk(["apply", "--dry-run=server", "-f", "-"], other),
        /created \(server dry run\)/,
      );
      assert.equal((await cluster.kubectl(["get", "pod", "other"])).code, 1);
      await cluster.kubectlOk(["create", "-f", "-"], other);
      await cluster.kubectlOk(["replace", "-f", "-"], other.replace("image:1", "image:9"));
      const difference = await cluster.kubectl(["diff", "-f", "-"], other.replace("image:1", "image:8"));
      assert.equal(difference.code, 1, difference.stderr);
      assert.match(difference.stdout, /\+.*image:8/);
    });

    test("explain of a built-in kind fails without harm", async () => {
      const { stdout, stderr } = await cluster.kubectl(["explain", "pods"]);
      assert.match(stdout + stderr, /VERSION: +v1|not found in OpenAPI/);
    });
  });
}

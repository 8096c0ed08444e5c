import assert from "node:assert/strict";
import {
  chmodSync,
  mkdtempSync,
  readFileSync,
  renameSync,
  rmSync,
  symlinkSync,
  unlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, afterEach, before, beforeEach, describe, it } from "node:test";
import { dump } from "js-yaml";
import { inClusterConfig, KubeError, loadKubeconfig } from "../src/index.ts";
import { Authority, type Pair } from "./certificates.ts";

type Fields = Record<string, unknown>;

let authority: Authority;
let alice: Pair;
let bob: Pair;
let directory: string;

before(() => {
  authority = new Authority();
  alice = authority.client("alice");
  bob = authority.client("bob");
});

after(() => authority.remove());

beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), "bf-kubeconfig-"));
});

afterEach(() => rmSync(directory, { recursive: true, force: true }));

function base64(text: string): string {
  return Buffer.from(text).toString("base64");
}

function kubeconfig(user: Fields, cluster: Fields = {}, top: Fields = {}): string {
  const path = join(directory, "config");
  const content = {
    apiVersion: "v1",
    kind: "Config",
    "current-context": "main",
    contexts: [{ name: "main", context: { cluster: "c", user: "u" } }],
    clusters: [{ name: "c", cluster: { server: "https://10.0.0.1:6443", ...cluster } }],
    users: [{ name: "u", user }],
    ...top,
  };
  writeFileSync(path, dump(content));
  return path;
}

function refusal(call: () => unknown): string {
  try {
    call();
  } catch (error) {
    assert.ok(error instanceof KubeError, String(error));
    assert.equal(error.code, "KUBE_CONFIG");
    return error.message;
  }
  throw new assert.AssertionError({ message: "it was not refused" });
}

async function credentialsRefusal(promise: Promise<unknown>): Promise<string> {
  const error: unknown = await promise.then(
    () => undefined,
    (reason: unknown) => reason,
  );
  assert.ok(error instanceof KubeError, String(error));
  assert.equal(error.code, "KUBE_CREDENTIALS");
  return error.message;
}

describe("loadKubeconfig", () => {
  it("reads server, authority, server name and a token", async () => {
    const path = kubeconfig(
      { token: "secret" },
      {
        server: "https://[fd00::1]:6443/",
        "certificate-authority-data": base64(authority.certificate),
        "tls-server-name": "api",
      },
    );
    const { credentials, server, ca, serverName, insecure } = loadKubeconfig(path);
    assert.deepEqual(
      { server, serverName, insecure },
      { server: "https://[fd00::1]:6443", serverName: "api", insecure: false },
    );
    assert.equal(ca, authority.certificate);
    assert.deepEqual(await credentials(), { token: "secret" });
  });

  it("reads the context that is asked for, and a user may be absent", async () => {
    const path = kubeconfig(
      { token: "a" },
      {},
      {
        contexts: [
          { name: "main", context: { cluster: "c", user: "u" } },
          { name: "other", context: { cluster: "plain" } },
        ],
        clusters: [
          { name: "c", cluster: { server: "https://a" } },
          { name: "plain", cluster: { server: "http://127.0.0.1:8080", "insecure-skip-tls-verify": true } },
        ],
      },
    );
    const config = loadKubeconfig(path, "other");
    assert.equal(config.server, "http://127.0.0.1:8080");
    assert.equal(config.insecure, true);
    assert.deepEqual(await config.credentials(), {});
  });

  it("reads files named relative to itself, and JSON", async () => {
    writeFileSync(join(directory, "ca.pem"), authority.certificate);
    writeFileSync(join(directory, "me.pem"), alice.certificate);
    writeFileSync(join(directory, "me.key"), alice.key);
    const path = kubeconfig(
      { "client-certificate": "me.pem", "client-key": "./me.key" },
      { "certificate-authority": "ca.pem" },
    );
    const config = loadKubeconfig(path);
    assert.equal(config.ca, authority.certificate);
    assert.deepEqual(await config.credentials(), { certificate: alice.certificate, key: alice.key });
    writeFileSync(
      path,
      JSON.stringify({
        "current-context": "m",
        contexts: [{ name: "m", context: { cluster: "c" } }],
        clusters: [{ name: "c", cluster: { server: "https://a" } }],
      }),
    );
    assert.equal(loadKubeconfig(path).server, "https://a");
  });

  it("takes data before files, and a certificate together with a token", async () => {
    const path = kubeconfig({
      "client-certificate": "/nowhere",
      "client-certificate-data": base64(alice.certificate),
      "client-key": "/nowhere",
      "client-key-data": base64(alice.key),
      token: "secret",
    });
    assert.deepEqual(await loadKubeconfig(path).credentials(), {
      certificate: alice.certificate,
      key: alice.key,
      token: "secret",
    });
  });

  it("follows certificate files that are renewed, and keeps the old pair while the new one is half there", async () => {
    const certificatePath = join(directory, "me.pem");
    const keyPath = join(directory, "me.key");
    writeFileSync(certificatePath, alice.certificate);
    writeFileSync(keyPath, alice.key);
    const { credentials } = loadKubeconfig(
      kubeconfig({ "client-certificate": certificatePath, "client-key": keyPath }),
    );
    assert.equal((await credentials()).certificate, alice.certificate);
    writeFileSync(`${certificatePath}.new`, bob.certificate);
    renameSync(`${certificatePath}.new`, certificatePath);
    assert.deepEqual(await credentials(), { certificate: alice.certificate, key: alice.key });
    writeFileSync(`${keyPath}.new`, bob.key);
    renameSync(`${keyPath}.new`, keyPath);
    assert.deepEqual(await credentials(), { certificate: bob.certificate, key: bob.key });
    unlinkSync(keyPath);
    assert.deepEqual(await credentials(), { certificate: bob.certificate, key: bob.key });
  });

  it("follows a token file, which overrules a token", async () => {
    const { credentials } = loadKubeconfig(kubeconfig({ token: "old", tokenFile: "token" }));
    assert.match(
      await credentialsRefusal(credentials()),
      /token file .*\/token cannot be used \(ENOENT\); whoever logs in/,
    );
    writeFileSync(join(directory, "token"), "one\n");
    assert.deepEqual(await credentials(), { token: "one" });
    writeFileSync(join(directory, "token"), "two, which is no token\n");
    assert.deepEqual(await credentials(), { token: "one" }, "what is half written is not used");
  });

  for (const [what, user, cluster, expected] of [
    ["no server", {}, { server: undefined }, /clusters\[c\]\.cluster\.server is missing; write for example/],
    ["a server without scheme", {}, { server: "10.0.0.1:6443" }, /cluster\.server is no http or https URL/],
    ["a server with a query", {}, { server: "https://a/?x=1" }, /cluster\.server is no http or https URL/],
    ["a server that is a number", {}, { server: 6443 }, /cluster\.server is no text; put it in quotes/],
    ["a proxy", {}, { "proxy-url": "http://p" }, /cluster\.proxy-url is not supported; reach the API server directly/],
    [
      "an authority that is no base64 of PEM",
      {},
      { "certificate-authority-data": "bm8=" },
      /certificate-authority-data is no PEM in base64/,
    ],
    [
      "an authority that is not there",
      {},
      { "certificate-authority": "gone.pem" },
      /gone\.pem: clusters\[c\]\.cluster\.certificate-authority of .*config cannot be read \(ENOENT\)/,
    ],
    [
      "a flag that is a text",
      {},
      { "insecure-skip-tls-verify": "yes" },
      /insecure-skip-tls-verify is neither true nor false/,
    ],
    [
      "basic authentication",
      { username: "a", password: "b" },
      {},
      /users\[u\]\.user\.username asks for basic authentication.*use a token/,
    ],
    [
      "an auth-provider",
      { "auth-provider": { name: "oidc" } },
      {},
      /users\[u\]\.user\.auth-provider is what Kubernetes replaced/,
    ],
    ["impersonation", { as: "root" }, {}, /users\[u\]\.user\.as asks for impersonation/],
    ["a token with a line break", { token: "a\nb: c" }, {}, /users\[u\]\.user\.token cannot be used/],
    [
      "exec without command",
      { exec: { apiVersion: "client.authentication.k8s.io/v1" } },
      {},
      /exec\.command is missing/,
    ],
    [
      "exec of a version that is gone",
      { exec: { command: "x", apiVersion: "client.authentication.k8s.io/v1alpha1" } },
      {},
      /exec\.apiVersion .*v1alpha1.* is not supported; write client\.authentication\.k8s\.io\/v1 or/,
    ],
    [
      "exec that wants a terminal",
      { exec: { command: "x", apiVersion: "client.authentication.k8s.io/v1", interactiveMode: "Always" } },
      {},
      /interactiveMode is Always/,
    ],
    [
      "exec with args that are no list",
      { exec: { command: "x", apiVersion: "client.authentication.k8s.io/v1", args: "a" } },
      {},
      /exec\.args is no list/,
    ],
    [
      "exec with env of another form",
      { exec: { command: "x", apiVersion: "client.authentication.k8s.io/v1", env: [{ A: "b" }] } },
      {},
      /exec\.env\[0\] is not \{name, value\}/,
    ],
    ["exec that is a text", { exec: "aws" }, {}, /users\[u\]\.user\.exec is no mapping/],
  ] as const) {
    it(`refuses ${what}, naming file, field and remedy`, () => {
      const path = kubeconfig(user, cluster);
      const message = refusal(() => loadKubeconfig(path));
      assert.match(message, expected);
      assert.ok(message.includes(path) || message.includes("gone.pem"), message);
      assert.match(message, /; /);
    });
  }

  it("refuses a certificate without key, the key of another, and an authority that is not to be checked", () => {
    const data = { "client-certificate-data": base64(alice.certificate) };
    assert.match(
      refusal(() => loadKubeconfig(kubeconfig(data))),
      /users\[u\]\.user\.client-certificate stands without client-key; give both/,
    );
    assert.match(
      refusal(() => loadKubeconfig(kubeconfig({ ...data, "client-key-data": base64(bob.key) }))),
      /client-certificate and client-key cannot be used: the key is that of another certificate/,
    );
    const cluster = { "insecure-skip-tls-verify": true, "certificate-authority-data": base64(authority.certificate) };
    assert.match(
      refusal(() => loadKubeconfig(kubeconfig({}, cluster))),
      /contradicts certificate-authority/,
    );
  });

  it("refuses names that lead nowhere, and files that are no kubeconfig", () => {
    const path = kubeconfig({});
    assert.match(
      refusal(() => loadKubeconfig(path, "west")),
      /contexts has no entry named "west"; add it/,
    );
    assert.match(
      refusal(() => loadKubeconfig(kubeconfig({}, {}, { users: [] }))),
      /users has no entry named "u"/,
    );
    assert.match(
      refusal(() => loadKubeconfig(kubeconfig({}, {}, { clusters: "c" }))),
      /clusters is no list/,
    );
    assert.match(
      refusal(() => loadKubeconfig(kubeconfig({}, {}, { "current-context": "" }))),
      /current-context is not set/,
    );
    assert.match(
      refusal(() => loadKubeconfig(join(directory, "absent"))),
      /absent: the kubeconfig cannot be read \(ENOENT\)/,
    );
    writeFileSync(path, "a: b\ntoken: [unclosed secret\n");
    const message = refusal(() => loadKubeconfig(path));
    assert.match(message, /is no YAML: .* in line \d+; correct it/);
    assert.doesNotMatch(message, /secret/);
    writeFileSync(path, "- a\n");
    assert.match(
      refusal(() => loadKubeconfig(path)),
      /the file is no mapping/,
    );
    writeFileSync(path, "");
    assert.match(
      refusal(() => loadKubeconfig(path)),
      /config: /,
    );
  });
});

describe("exec plug-ins", () => {
  function plugin(script: string, more: Fields = {}): ReturnType<typeof loadKubeconfig> {
    const program = join(directory, "plugin");
    writeFileSync(program, `#!/bin/sh\necho run >>${directory}/runs\n${script}\n`);
    chmodSync(program, 0o755);
    const exec = {
      apiVersion: "client.authentication.k8s.io/v1",
      command: "./plugin",
      interactiveMode: "Never",
      ...more,
    };
    return loadKubeconfig(
      kubeconfig({ exec }, { "tls-server-name": "api", "certificate-authority-data": base64(authority.certificate) }),
    );
  }

  function runs(): number {
    return readFileSync(join(directory, "runs"), "utf8").split("\n").length - 1;
  }

  function output(status: Fields, apiVersion = "client.authentication.k8s.io/v1"): string {
    return `cat <<'END'\n${JSON.stringify({ apiVersion, kind: "ExecCredential", status })}\nEND`;
  }

  it("get arguments, environment and what the API asks for, and are run once for many", async () => {
    const { credentials } = plugin(
      `echo "$1 $REGION $KUBERNETES_EXEC_INFO" >${directory}/saw\n${output({ token: "t1" })}`,
      { args: ["get-token"], env: [{ name: "REGION", value: "north" }], provideClusterInfo: true },
    );
    assert.deepEqual(await Promise.all([credentials(), credentials(), credentials()]), [
      { token: "t1" },
      { token: "t1" },
      { token: "t1" },
    ]);
    assert.equal(runs(), 1);
    const [argument, region, ...info] = readFileSync(join(directory, "saw"), "utf8").split(" ");
    assert.deepEqual([argument, region], ["get-token", "north"]);
    assert.deepEqual(JSON.parse(info.join(" ")), {
      apiVersion: "client.authentication.k8s.io/v1",
      kind: "ExecCredential",
      spec: {
        interactive: false,
        cluster: {
          server: "https://10.0.0.1:6443",
          "tls-server-name": "api",
          "insecure-skip-tls-verify": false,
          "certificate-authority-data": base64(authority.certificate),
        },
      },
    });
  });

  it("are run again when the credential ends soon, or was refused", async () => {
    const soon = new Date(Date.now() + 5000).toISOString();
    const late = new Date(Date.now() + 3_600_000).toISOString();
    const { credentials, rejected } = plugin(
      `if [ $(wc -l <${directory}/runs) = 1 ]; then\n${output({ token: "t1", expirationTimestamp: soon })}\nelse\n${output({ token: "t2", expirationTimestamp: late })}\nfi`,
    );
    assert.deepEqual(await credentials(), { token: "t1" });
    assert.deepEqual(await credentials(), { token: "t2" });
    assert.deepEqual(await credentials(), { token: "t2" });
    assert.equal(runs(), 2);
    rejected?.({ token: "t1" });
    await credentials();
    assert.equal(runs(), 2, "an old one that was refused says nothing about the new one");
    rejected?.({ token: "t2" });
    await credentials();
    assert.equal(runs(), 3);
  });

  it("keep serving what has not ended yet when they fail", async () => {
    const soon = new Date(Date.now() + 8000).toISOString();
    const { credentials } = plugin(
      `if [ $(wc -l <${directory}/runs) = 1 ]; then\n${output({ token: "t1", expirationTimestamp: soon })}\nelse exit 1; fi`,
    );
    assert.deepEqual(await credentials(), { token: "t1" });
    assert.deepEqual(await credentials(), { token: "t1" });
    assert.equal(runs(), 2);
  });

  it("may give certificates, and speak v1beta1", async () => {
    const { credentials } = plugin(
      output(
        { clientCertificateData: alice.certificate, clientKeyData: alice.key },
        "client.authentication.k8s.io/v1beta1",
      ),
      { apiVersion: "client.authentication.k8s.io/v1beta1", interactiveMode: undefined },
    );
    assert.deepEqual(await credentials(), { certificate: alice.certificate, key: alice.key });
  });

  it("may be found on the PATH, and say how to be installed", async () => {
    const { credentials } = plugin("", { command: "bf-no-such-plugin", installHint: "install it from the shelf" });
    assert.match(await credentialsRefusal(credentials()), /bf-no-such-plugin is not there; install it from the shelf/);
  });

  for (const [what, script, expected] of [
    ["fail", "echo login first >&2; exit 3", /failed \(3\): login first/],
    ["print no JSON", "echo secret-token", /printed something that is no JSON/],
    ["print another kind", 'echo \'{"kind":"Pod"}\'', /printed undefined "Pod" instead of an ExecCredential/],
    ["give nothing", output({}), /gave neither a token nor a certificate/],
    ["give half a pair", output({ clientKeyData: "k" }), /without the other/],
    [
      "give a pair that is none",
      output({ clientKeyData: "k", clientCertificateData: "c" }),
      /certificate that cannot be used/,
    ],
    ["give no time", output({ token: "t", expirationTimestamp: "soon" }), /expirationTimestamp that is no time/],
    ["give a token that is none", output({ token: "a\nb" }), /gave a token, but it is no token/],
    ["print without end", "cat /dev/zero", /failed/],
  ] as const) {
    it(`that ${what} are named with the reason, and no secret`, async () => {
      const { credentials } = plugin(script);
      const message = await credentialsRefusal(credentials());
      assert.match(message, expected);
      assert.ok(message.includes(join(directory, "plugin")));
      assert.doesNotMatch(message, /secret/);
    });
  }
});

describe("inClusterConfig", () => {
  function account(token: string | undefined, ca: string | undefined = authority.certificate): void {
    if (token !== undefined) writeFileSync(join(directory, "token"), token);
    if (ca !== undefined) writeFileSync(join(directory, "ca.crt"), ca);
  }

  it("takes IPv4, IPv6 and names", () => {
    account("t");
    const at = (host: string): string =>
      inClusterConfig({ KUBERNETES_SERVICE_HOST: host, KUBERNETES_SERVICE_PORT: "443" }, directory).server;
    assert.equal(at("10.96.0.1"), "https://10.96.0.1:443");
    assert.equal(at("fd00:96::1"), "https://[fd00:96::1]:443");
    assert.equal(at("kubernetes.default.svc"), "https://kubernetes.default.svc:443");
  });

  it("reads the token again when the kubelet has replaced it, as it does: by a symbolic link", async () => {
    account(undefined);
    writeFileSync(join(directory, "token-1"), "one");
    writeFileSync(join(directory, "token-2"), "two");
    symlinkSync("token-1", join(directory, "token"));
    const { ca, credentials, rejected } = inClusterConfig(
      { KUBERNETES_SERVICE_HOST: "10.96.0.1", KUBERNETES_SERVICE_PORT: "443" },
      directory,
    );
    assert.equal(ca, authority.certificate);
    assert.deepEqual(await credentials(), { token: "one" });
    symlinkSync("token-2", join(directory, "token.new"));
    renameSync(join(directory, "token.new"), join(directory, "token"));
    assert.deepEqual(await credentials(), { token: "two" });
    unlinkSync(join(directory, "token"));
    rejected?.({ token: "two" });
    assert.deepEqual(await credentials(), { token: "two" }, "the last token is used while there is no other");
  });

  it("says what is missing", async () => {
    const environment = { KUBERNETES_SERVICE_HOST: "10.96.0.1", KUBERNETES_SERVICE_PORT: "443" };
    assert.match(
      refusal(() => inClusterConfig({}, directory)),
      /are not set, so this is no pod; name a file in `kubeconfig`/,
    );
    assert.match(
      refusal(() => inClusterConfig(environment, directory)),
      /ca\.crt: the service account's authority cannot be read \(ENOENT\); let the pod mount/,
    );
    account(undefined, "nothing");
    assert.match(
      refusal(() => inClusterConfig(environment, directory)),
      /ca\.crt: holds no PEM certificate/,
    );
    account(undefined);
    assert.match(
      await credentialsRefusal(inClusterConfig(environment, directory).credentials()),
      /token cannot be used \(ENOENT\)/,
    );
    account("");
    assert.match(await credentialsRefusal(inClusterConfig(environment, directory).credentials()), /it is empty/);
    assert.match(
      refusal(() => inClusterConfig({ ...environment, KUBERNETES_SERVICE_PORT: "x" }, directory)),
      /which is no URL/,
    );
  });
});

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { X509Certificate } from "node:crypto";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { createPki } from "../../src/index.ts";

describe("createPki", () => {
  let directory = "";
  before(() => (directory = mkdtempSync(join(tmpdir(), "apiserver-pki-"))));
  after(() => rmSync(directory, { recursive: true, force: true }));

  function file(name: string, content: string): string {
    const path = join(directory, name);
    writeFileSync(path, content);
    return path;
  }

  test("openssl verifies the chain, for the right purpose only", () => {
    const pki = createPki();
    const authority = file("ca.pem", pki.authority.certificate);
    const server = file("server.pem", pki.server(["127.0.0.1", "fd00::1", "api.example"]).certificate);
    const client = file("client.pem", pki.client({ user: "bob" }).certificate);
    const verify = (purpose: string, path: string): string =>
      execFileSync("openssl", ["verify", "-x509_strict", "-purpose", purpose, "-CAfile", authority, path], {
        encoding: "utf8",
        stdio: "pipe",
      });
    assert.match(verify("sslserver", server), /OK/);
    assert.match(verify("sslclient", client), /OK/);
    assert.throws(() => verify("sslserver", client));
  });

  test("a server's names and addresses of both families are in its certificate", () => {
    const { certificate, key } = createPki().server(["127.0.0.1", "fd00:31::1", "::1", "api.example"]);
    const parsed = new X509Certificate(certificate);
    assert.equal(parsed.checkIP("127.0.0.1"), "127.0.0.1");
    assert.equal(parsed.checkIP("fd00:31::1"), "fd00:31::1");
    assert.equal(parsed.checkIP("::1"), "::1");
    assert.equal(parsed.checkIP("127.0.0.2"), undefined);
    assert.equal(parsed.checkHost("api.example"), "api.example");
    assert.match(key, /BEGIN PRIVATE KEY/);
  });

  test("a client's user and groups are its subject", () => {
    const { certificate } = createPki().client({ user: "system:node:n1", groups: ["system:nodes", "others"] });
    const { subject } = new X509Certificate(certificate);
    assert.equal(subject, "O=system:nodes\nO=others\nCN=system:node:n1");
  });

  test("an authority can be kept and used again, but not with another key", () => {
    const first = createPki();
    const again = createPki(first.authority);
    const certificate = new X509Certificate(again.client({ user: "x" }).certificate);
    assert.equal(certificate.verify(new X509Certificate(first.authority.certificate).publicKey), true);
    assert.throws(() => createPki({ ...first.authority, key: createPki().authority.key }), /does not belong/);
  });
});

import { mkdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { runChecked } from "../process/run.ts";

/** Files of a lab's certificate authority, of its API server and of its administrator. */
export interface Certificates {
  readonly directory: string;
  readonly authority: string;
  readonly serverCertificate: string;
  readonly serverKey: string;
  readonly adminCertificate: string;
  readonly adminKey: string;
  /** Signs service-account tokens. */
  readonly serviceAccountKey: string;
}

const DAYS = "3650";

/** Makes a certificate authority that signs exactly two certificates: the API server's (for `addresses`) and an administrator's. */
export async function createCertificates(directory: string, addresses: readonly string[]): Promise<Certificates> {
  await mkdir(directory, { recursive: true, mode: 0o700 });
  const path = (name: string) => join(directory, name);
  const newKey = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"];
  await runChecked([
    "openssl",
    "req",
    "-x509",
    ...newKey,
    "-days",
    DAYS,
    "-subj",
    "/CN=fabric-lab",
    "-addext",
    "keyUsage=critical,keyCertSign,cRLSign",
    "-keyout",
    path("ca.key"),
    "-out",
    path("ca.crt"),
  ]);
  const names = [
    "DNS:kubernetes",
    "DNS:kubernetes.default",
    "DNS:kubernetes.default.svc",
    "DNS:localhost",
    ...addresses.map((address) => `IP:${address}`),
  ];
  await Promise.all([
    sign(directory, "server", "/CN=kube-apiserver", `subjectAltName=${names.join(",")}\nextendedKeyUsage=serverAuth\n`),
    sign(directory, "admin", "/O=system:masters/CN=lab-admin", "extendedKeyUsage=clientAuth\n"),
    runChecked([
      "openssl",
      "genpkey",
      "-algorithm",
      "RSA",
      "-pkeyopt",
      "rsa_keygen_bits:2048",
      "-out",
      path("service-account.key"),
    ]),
  ]);
  return {
    directory,
    authority: path("ca.crt"),
    serverCertificate: path("server.crt"),
    serverKey: path("server.key"),
    adminCertificate: path("admin.crt"),
    adminKey: path("admin.key"),
    serviceAccountKey: path("service-account.key"),
  };
}

async function sign(directory: string, name: string, subject: string, extensions: string): Promise<void> {
  const path = (file: string) => join(directory, file);
  const extensionFile = path(`${name}.ext`);
  await writeFile(extensionFile, extensions);
  await runChecked([
    "openssl",
    "req",
    "-new",
    "-newkey",
    "ec",
    "-pkeyopt",
    "ec_paramgen_curve:prime256v1",
    "-nodes",
    "-subj",
    subject,
    "-keyout",
    path(`${name}.key`),
    "-out",
    path(`${name}.csr`),
  ]);
  await runChecked([
    "openssl",
    "x509",
    "-req",
    "-in",
    path(`${name}.csr`),
    "-CA",
    path("ca.crt"),
    "-CAkey",
    path("ca.key"),
    "-CAserial",
    path(`${name}.srl`),
    "-CAcreateserial",
    "-days",
    DAYS,
    "-extfile",
    extensionFile,
    "-out",
    path(`${name}.crt`),
  ]);
}

/** Credentials of a kubeconfig's user. */
export type Credentials = { readonly certificate: string; readonly key: string } | { readonly token: string };

/** Writes a kubeconfig that holds everything in itself, as JSON, which is YAML too. */
export async function writeKubeconfig(
  path: string,
  server: string,
  authorityFile: string,
  credentials: Credentials,
): Promise<void> {
  const base64 = async (file: string) => (await readFile(file)).toString("base64");
  const user =
    "token" in credentials
      ? { token: credentials.token }
      : {
          "client-certificate-data": await base64(credentials.certificate),
          "client-key-data": await base64(credentials.key),
        };
  const config = {
    apiVersion: "v1",
    kind: "Config",
    clusters: [{ name: "lab", cluster: { server, "certificate-authority-data": await base64(authorityFile) } }],
    users: [{ name: "lab", user }],
    contexts: [{ name: "lab", context: { cluster: "lab", user: "lab" } }],
    "current-context": "lab",
  };
  await writeFile(path, `${JSON.stringify(config, null, 2)}\n`, { mode: 0o600 });
}

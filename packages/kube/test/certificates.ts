/** A certificate authority of a test, in a directory of its own. */
import { execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

export interface Pair {
  readonly certificate: string;
  readonly key: string;
  readonly certificatePath: string;
  readonly keyPath: string;
}

export class Authority {
  readonly directory: string;
  readonly #ca: Pair;
  #serial = 1;

  constructor() {
    this.directory = mkdtempSync(join(tmpdir(), "bf-kube-ca-"));
    this.#ca = this.#pair("ca", "/CN=test authority", [
      "-x509",
      "-days",
      "2",
      "-addext",
      "keyUsage=critical,keyCertSign",
    ]);
  }

  /** PEM */
  get certificate(): string {
    return this.#ca.certificate;
  }

  get certificatePath(): string {
    return this.#ca.certificatePath;
  }

  /** @param names such as `IP:127.0.0.1` or `DNS:kubernetes` */
  server(...names: string[]): Pair {
    return this.#signed("/CN=server", `subjectAltName=${names.join(",")}\nextendedKeyUsage=serverAuth\n`);
  }

  /** Signed for a user of Kubernetes, in groups. */
  client(user: string, ...groups: string[]): Pair {
    return this.#signed(`${groups.map((group) => `/O=${group}`).join("")}/CN=${user}`, "extendedKeyUsage=clientAuth\n");
  }

  /** A key pair, not signed by anybody: the certificate is its own authority. */
  lone(subject: string): Pair {
    return this.#pair(`lone-${this.#serial++}`, `/CN=${subject}`, ["-x509", "-days", "2"]);
  }

  remove(): void {
    rmSync(this.directory, { recursive: true, force: true });
  }

  #signed(subject: string, extensions: string): Pair {
    const name = `signed-${this.#serial++}`;
    const path = (kind: string): string => join(this.directory, `${name}.${kind}`);
    writeFileSync(path("ext"), extensions);
    openssl("req", ["-new", ...newKey, "-subj", subject, "-keyout", path("key"), "-out", path("csr")]);
    const authority = [
      "-CA",
      this.#ca.certificatePath,
      "-CAkey",
      this.#ca.keyPath,
      "-set_serial",
      String(this.#serial),
    ];
    openssl("x509", [
      "-req",
      "-in",
      path("csr"),
      ...authority,
      "-days",
      "2",
      "-extfile",
      path("ext"),
      "-out",
      path("crt"),
    ]);
    return this.#read(name);
  }

  #pair(name: string, subject: string, more: readonly string[]): Pair {
    const path = (kind: string): string => join(this.directory, `${name}.${kind}`);
    openssl("req", [...newKey, ...more, "-subj", subject, "-keyout", path("key"), "-out", path("crt")]);
    return this.#read(name);
  }

  #read(name: string): Pair {
    const certificatePath = join(this.directory, `${name}.crt`);
    const keyPath = join(this.directory, `${name}.key`);
    return {
      certificate: readFileSync(certificatePath, "utf8"),
      key: readFileSync(keyPath, "utf8"),
      certificatePath,
      keyPath,
    };
  }
}

const newKey = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"];

function openssl(command: string, args: readonly string[]): void {
  execFileSync("openssl", [command, ...args], { stdio: ["ignore", "ignore", "pipe"] });
}

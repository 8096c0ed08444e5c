/** Who we are, from files that somebody else keeps fresh: they are read again when they have changed. */
import { createPrivateKey, X509Certificate } from "node:crypto";
import { open, stat } from "node:fs/promises";
import { KubeError } from "./errors.ts";

export interface Credentials {
  readonly token?: string;
  /** PEM */
  readonly certificate?: string;
  /** PEM */
  readonly key?: string;
}

/** Gives credentials, as they are now. */
export interface CredentialSource {
  /** @throws KubeError `KUBE_CREDENTIALS` */
  read(): Promise<Credentials>;
  /** The server did not take these: what is cached is worth nothing. */
  rejected?(credentials: Credentials): void;
}

export function fixedCredentials(credentials: Credentials): CredentialSource {
  return { read: () => Promise.resolve(credentials) };
}

/** All that several sources give, the later ones winning. */
export function joinedCredentials(sources: readonly CredentialSource[]): CredentialSource {
  return {
    async read() {
      return Object.assign({}, ...(await Promise.all(sources.map((source) => source.read())))) as Credentials;
    },
    rejected(credentials) {
      for (const source of sources) source.rejected?.(credentials);
    },
  };
}

/** A token in a file, as the kubelet renews it for a service account. While it cannot be read, the last one is used. */
export function tokenFile(path: string, remedy: string): CredentialSource {
  const file = new WatchedFile(path);
  let token: string | undefined;
  return {
    async read() {
      try {
        const text = await file.readIfChanged();
        if (text !== undefined) token = checkedToken(text.trim());
      } catch (cause) {
        if (token === undefined) {
          const why = (cause as NodeJS.ErrnoException).code ?? (cause as Error).message;
          throw new KubeError("KUBE_CREDENTIALS", `token file ${path} cannot be used (${why}); ${remedy}`, { cause });
        }
      }
      return token === undefined ? {} : { token };
    },
    rejected: () => file.forget(),
  };
}

/**
 * A client certificate and its key in files. While the two do not belong together, because one of them has been renewed and the
 * other not yet, the last pair is used.
 */
export function certificateFiles(certificatePath: string, keyPath: string, first: Credentials): CredentialSource {
  const files = [new WatchedFile(certificatePath), new WatchedFile(keyPath)] as const;
  let { certificate = "", key = "" } = first;
  let pair = first;
  return {
    async read() {
      try {
        certificate = (await files[0].readIfChanged()) ?? certificate;
        key = (await files[1].readIfChanged()) ?? key;
        if (pairProblem(certificate, key) === undefined) pair = { certificate, key };
      } catch {
        // Being replaced, or gone: what we have is valid until the server says otherwise.
      }
      return pair;
    },
  };
}

/** Why a certificate and a key (PEM) are no client certificate; undefined when they are one. */
export function pairProblem(certificate: string, key: string): string | undefined {
  try {
    const parsed = new X509Certificate(certificate);
    return parsed.checkPrivateKey(createPrivateKey(key)) ? undefined : "the key is that of another certificate";
  } catch (error) {
    return (error as Error).message;
  }
}

/** @throws Error when a header cannot hold this */
export function checkedToken(token: string): string {
  if (!/^[\x21-\x7e]+$/.test(token))
    throw new Error(token === "" ? "it is empty" : "it is no token: it has spaces or control characters");
  return token;
}

const maxFileBytes = 1024 * 1024;

class WatchedFile {
  readonly #path: string;
  #state = "";

  constructor(path: string) {
    this.#path = path;
  }

  /** The text, or undefined when the file is the one that was read last. */
  async readIfChanged(): Promise<string | undefined> {
    const { mtimeMs, ino, size } = await stat(this.#path);
    const state = `${ino} ${mtimeMs} ${size}`;
    if (state === this.#state) return undefined;
    const file = await open(this.#path, "r");
    try {
      const buffer = Buffer.alloc(maxFileBytes);
      const { bytesRead } = await file.read(buffer, 0, maxFileBytes, 0);
      this.#state = state;
      return buffer.toString("utf8", 0, bytesRead);
    } finally {
      await file.close();
    }
  }

  forget(): void {
    this.#state = "";
  }
}

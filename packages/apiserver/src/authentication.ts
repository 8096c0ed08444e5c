/**
 * Who is asking: a client certificate signed by the cluster's authority, or a bearer token. Every authenticated user
 * may do everything: this server does no authorization.
 */
import { createHash, timingSafeEqual } from "node:crypto";
import type { IncomingMessage } from "node:http";
import { TLSSocket } from "node:tls";

/** An authenticated user. */
export interface User {
  name: string;
  groups: string[];
}

/** A static bearer token. */
export interface TokenUser {
  token: string;
  user: string;
  groups?: string[];
}

function digest(text: string): Buffer {
  return createHash("sha256").update(text).digest();
}

/** Recognises users. */
export class Authenticator {
  readonly #tokens: { digest: Buffer; user: User }[];

  constructor(tokens: readonly TokenUser[] = []) {
    this.#tokens = tokens.map(({ token, user, groups }) => ({
      digest: digest(token),
      user: { name: user, groups: [...(groups ?? []), "system:authenticated"] },
    }));
  }

  /** The user of a token, undefined when nobody has it. */
  byToken(token: string): User | undefined {
    const wanted = digest(token);
    return this.#tokens.find((entry) => timingSafeEqual(entry.digest, wanted))?.user;
  }

  /** The user of a request, undefined when it is anonymous. */
  byRequest(request: IncomingMessage): User | undefined {
    const { socket } = request;
    if (socket instanceof TLSSocket && socket.authorized) {
      const { subject } = socket.getPeerCertificate();
      const names = [subject?.CN ?? ""].flat();
      const organisations = subject?.O ?? [];
      const groups = [organisations].flat();
      if (names[0] !== undefined && names[0] !== "") {
        return { name: names[0], groups: [...groups, "system:authenticated"] };
      }
    }
    const match = /^Bearer\s+(\S+)\s*$/i.exec(request.headers.authorization ?? "");
    return match?.[1] === undefined ? undefined : this.byToken(match[1]);
  }
}

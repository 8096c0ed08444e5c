/** A small HTTP server on a unix socket in the agent's place: the agent's own is tested with it in the lab. */
import { mkdtempSync, rmSync } from "node:fs";
import { createServer, type RequestListener } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { runFabricctl } from "../src/index.ts";
import { now } from "./replies.ts";

/** Runs `use` with a socket on which `listener` answers. */
export async function withAgent<T>(listener: RequestListener, use: (socket: string) => Promise<T>): Promise<T> {
  const directory = mkdtempSync(join(tmpdir(), "fabricctl-test-"));
  const socket = join(directory, "api.sock");
  const server = createServer(listener);
  await new Promise<void>((resolve, reject) => {
    server.once("error", reject).listen(socket, resolve);
  });
  try {
    return await use(socket);
  } finally {
    server.closeAllConnections();
    await new Promise((resolve) => server.close(resolve));
    rmSync(directory, { recursive: true });
  }
}

/** Answers every request with this JSON. */
export const answering =
  (reply: unknown, status = 200): RequestListener =>
  (_, response) => {
    response.writeHead(status, { "content-type": "application/json" }).end(JSON.stringify(reply));
  };

/** The text between the quotes without its indentation and first line end. */
export function golden(text: string): string {
  const indentation = /^\n( *)/.exec(text)![1]!;
  return text
    .slice(1)
    .replaceAll(new RegExp(`^${indentation}`, "gm"), "")
    .trimEnd()
    .concat("\n");
}

export interface Ran {
  readonly code: number;
  readonly out: string;
  readonly err: string;
}

/** One command line, in this process; what has the tone `bad` stands between `<` and `>`. */
export async function fabricctl(
  args: readonly string[],
  timeout?: number,
  confirm?: () => Promise<boolean>,
): Promise<Ran> {
  let out = "";
  let err = "";
  const code = await runFabricctl(args, {
    name: "fabricctl",
    out: (text) => {
      out += text;
    },
    err: (text) => {
      err += text;
    },
    paint: (tone, text) => (tone === "bad" ? `<${text}>` : text),
    now: () => now,
    ...(timeout === undefined ? {} : { timeout }),
    ...(confirm === undefined ? {} : { confirm }),
  });
  return { code, out, err };
}

/** What a path of the local API answers. */
import type { IncomingMessage } from "node:http";

export interface Answer {
  /** Default 200. */
  readonly status?: number;
  /** Default `text/plain`. */
  readonly contentType?: string;
  readonly body: string;
}

/** A path answers one method; GET stands for HEAD too. `body` is the parsed JSON of a POST. */
export interface Route {
  readonly method: "GET" | "POST";
  answer(url: URL, body: unknown): Promise<Answer>;
}

/** A request whose parameters or body cannot be used; the message says what to send instead. */
export class RequestError extends Error {
  override readonly name = "RequestError";
  readonly code = "API_REQUEST";
}

/** A route that changes nothing. */
export function asking(answer: (url: URL) => Promise<Answer>): Route {
  return { method: "GET", answer };
}

export function jsonAnswer(reply: unknown): Answer {
  return { contentType: "application/json", body: JSON.stringify(reply) };
}

/** The longest body that is read (bytes). */
const maxBodyBytes = 1024 * 1024;

/** @throws RequestError when the body is too long or no JSON */
export async function readJson(request: IncomingMessage): Promise<unknown> {
  const chunks: Buffer[] = [];
  let size = 0;
  for await (const chunk of request as AsyncIterable<Buffer>) {
    size += chunk.length;
    if (size > maxBodyBytes) throw new RequestError(`the body is longer than ${maxBodyBytes} bytes; send less at once`);
    chunks.push(chunk);
  }
  try {
    return JSON.parse(Buffer.concat(chunks).toString("utf8"));
  } catch (cause) {
    throw new RequestError("the body is no JSON", { cause });
  }
}

/**
 * Changes objects of an API server that only this network namespace reaches: for each line on its standard input, a
 * `Change` as JSON, one request, and one line with a `Changed`. Its argument is a `ChangerOrder` as JSON.
 */
import { Agent, request } from "node:https";
import { createInterface } from "node:readline";
import { monotonicNow } from "../traffic/libc.ts";

/** Which API server. */
export interface ChangerOrder {
  readonly host: string;
  readonly port: number;
  readonly token: string;
  readonly authority: string;
}

/** A merge patch. */
export interface Change {
  readonly path: string;
  readonly body: object;
}

/** When the request left and when it was answered, in nanoseconds of CLOCK_MONOTONIC. */
export interface Changed {
  readonly begun: number;
  readonly ended: number;
  readonly status: number;
}

if (import.meta.main) {
  const order = JSON.parse(process.argv[2]!) as ChangerOrder;
  const agent = new Agent({ keepAlive: true, maxSockets: 1, ca: order.authority });

  const change = ({ path, body }: Change): Promise<Changed> =>
    new Promise((resolve, reject) => {
      const text = JSON.stringify(body);
      const headers = {
        authorization: `Bearer ${order.token}`,
        "content-type": "application/merge-patch+json",
        "content-length": Buffer.byteLength(text),
      };
      const begun = monotonicNow();
      const outgoing = request({ agent, host: order.host, port: order.port, method: "PATCH", path, headers });
      outgoing.on("response", (answer) => {
        answer.resume();
        answer.on("end", () => resolve({ begun, ended: monotonicNow(), status: answer.statusCode ?? 0 }));
      });
      outgoing.on("error", reject);
      outgoing.end(text);
    });

  console.log("ready");
  for await (const line of createInterface({ input: process.stdin })) {
    console.log(JSON.stringify(await change(JSON.parse(line) as Change)));
  }
  agent.destroy();
}

/**
 * The embedded API server as a process: `node main.ts --config FILE`. The file is JSON:
 *
 *     {"listen": [{"host": "127.0.0.1", "port": 6443}], "certificateFile": "…", "keyFile": "…",
 *      "clientAuthorityFile": "…", "tokens": [{"token": "…", "user": "admin", "groups": []}],
 *      "storagePath": "…", "historySize": 10000, "serviceCidrs": ["10.96.0.0/16"]}
 *
 * Prints `listening on HOST:PORT` per address when it serves. SIGTERM and SIGINT end it.
 */
import { readFileSync } from "node:fs";
import { parseArgs } from "node:util";
import { readConfig } from "./config.ts";
import { EmbeddedApiServer } from "./server.ts";

async function main(): Promise<void> {
  const { values } = parseArgs({ options: { config: { type: "string" } } });
  if (values.config === undefined) throw new Error("usage: node main.ts --config FILE");
  const options = readConfig(values.config, (path) => readFileSync(path, "utf8"));
  const server = new EmbeddedApiServer({
    ...options,
    onError: (error) => process.stderr.write(`${new Date().toISOString()} ${error.stack ?? error.message}\n`),
  });
  await server.start();
  for (const { host, port } of server.addresses) process.stdout.write(`listening on ${host}:${port}\n`);
  let stopping = false;
  const stop = (): void => {
    if (stopping) return;
    stopping = true;
    void server.stop().then(() => process.exit(0));
  };
  process.on("SIGTERM", stop);
  process.on("SIGINT", stop);
}

try {
  await main();
} catch (error) {
  process.stderr.write(`${error instanceof Error ? error.message : String(error)}\n`);
  process.exitCode = 1;
}

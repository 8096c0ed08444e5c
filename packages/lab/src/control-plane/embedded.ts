import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { CHECKOUT } from "../names.ts";
import { SupervisedProcess } from "../process/supervised-process.ts";
import type { Certificates } from "./certificates.ts";

/** Where the embedded API server listens and keeps its state. */
export interface EmbeddedOptions {
  readonly directory: string;
  readonly address: string;
  readonly port: number;
  readonly certificates: Certificates;
  readonly mark: Readonly<Record<string, string>>;
}

/** The lab's own API server as a process, so that it can be killed and restarted without the rest of the lab; not started yet. */
export async function embeddedProcess(options: EmbeddedOptions): Promise<SupervisedProcess> {
  const { directory, certificates } = options;
  await mkdir(directory, { recursive: true });
  const configuration = join(directory, "apiserver.json");
  await writeFile(
    configuration,
    JSON.stringify({
      listen: [{ host: options.address, port: options.port }],
      certificateFile: certificates.serverCertificate,
      keyFile: certificates.serverKey,
      clientAuthorityFile: certificates.authority,
      storagePath: join(directory, "storage"),
    }),
  );
  return new SupervisedProcess({
    name: "apiserver",
    env: options.mark,
    logFile: join(directory, "apiserver.log"),
    pidFile: join(directory, "apiserver.pid"),
    command: [process.execPath, join(CHECKOUT, "packages", "apiserver", "src", "main.ts"), "--config", configuration],
  });
}

/** The lab's supervisor: one detached process per lab, started by `fabric-lab up` with the lab's name as its only argument. */
import { join } from "node:path";
import { messageOf } from "../errors.ts";
import { labNames } from "../names.ts";
import { writePidFile } from "../process/pid-file.ts";
import { sweep } from "../down.ts";
import { serveControl } from "./control-server.ts";
import { LabSupervisor } from "./lab-supervisor.ts";
import { readSpec } from "./lab-spec.ts";

const names = labNames(process.argv[2] ?? "");
writePidFile(join(names.directory, "supervisor.pid"), process.pid);

const log = (message: string) => console.log(`${new Date().toISOString()} ${message}`);
const supervisor = new LabSupervisor(readSpec(names), log);
const server = await serveControl(names.controlSocket, supervisor);
const ready = supervisor.start();

process.on("unhandledRejection", (error) => log(`unexpected: ${messageOf(error)}`));

// Whoever ends this process means the lab: nothing is left half-running.
const end = (code: number) => {
  server.close();
  supervisor.halt();
  sweep(names.lab).then(
    () => process.exit(code),
    () => process.exit(1),
  );
};
process.on("SIGTERM", () => end(0));
process.on("SIGINT", () => end(0));

ready.then(
  () => log("ready"),
  (error: unknown) => {
    log(`failed: ${messageOf(error)}`);
    // The answer to `up` goes out first.
    setTimeout(() => end(1), 500);
  },
);

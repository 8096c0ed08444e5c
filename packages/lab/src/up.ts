import { isDeepStrictEqual } from "node:util";
import { spawn } from "node:child_process";
import { closeSync, mkdirSync, openSync, readdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { followUp, supervisorAlive } from "./control-client.ts";
import type { LabConfig } from "./config.ts";
import { sweep } from "./down.ts";
import { LabError } from "./errors.ts";
import { withLock } from "./lock.ts";
import { CHECKOUT, labNames, LABS_DIRECTORY, type LabNames } from "./names.ts";
import { sleep } from "./process/run.ts";
import { fileTail } from "./process/supervised-process.ts";
import type { Step } from "./supervisor/control-server.ts";
import { labMark, type LabSpec, readSpec } from "./supervisor/lab-spec.ts";
import { freeIndex, MAX_LABS } from "./topology/address-plan.ts";
import { leftoversOf, usedManagementIndexes } from "./topology/namespaces.ts";

const LOCK_TIMEOUT_MS = 180_000;
const SUPERVISOR_TIMEOUT_MS = 20_000;

/**
 * Brings a lab up and returns when pods can run. A lab that is up already is left as it is; of one whose supervisor crashed the remains are
 * cleared away first. A failed start leaves nothing behind, and says which component failed.
 */
export async function up(lab: string, config: LabConfig, onStep: (step: Step) => void): Promise<LabSpec> {
  if (process.getuid?.() !== 0)
    throw new LabError("LAB_BAD_ARGUMENT", "fabric-lab needs network namespaces: run it as root");
  const names = labNames(lab);
  return await withLock(lab, LOCK_TIMEOUT_MS, async () => {
    if (await supervisorAlive(names.controlSocket)) {
      // Both went through JSON, so that absent keys compare equal.
      if (!isDeepStrictEqual(readSpec(names).config, JSON.parse(JSON.stringify(config)))) {
        throw new LabError(
          "LAB_BUSY",
          `lab "${lab}" is up with another configuration; take it down first, or choose another --name`,
        );
      }
    } else {
      const { namespaces, links } = await leftoversOf(lab);
      if (namespaces.length > 0 || links.length > 0 || readLabs().includes(lab)) await sweep(lab);
      await prepare(names, config);
      await startSupervisor(names);
    }
    try {
      await followUp(names.controlSocket, onStep);
    } catch (error) {
      await sweep(lab);
      throw error;
    }
    return readSpec(names);
  });
}

/** Names of the labs that have a folder on this machine. */
export function readLabs(): string[] {
  try {
    return readdirSync(LABS_DIRECTORY, { withFileTypes: true })
      .filter((entry) => entry.isDirectory())
      .map((entry) => entry.name);
  } catch {
    return [];
  }
}

async function prepare(names: LabNames, config: LabConfig): Promise<void> {
  mkdirSync(LABS_DIRECTORY, { recursive: true, mode: 0o755 });
  await withLock(".machine", LOCK_TIMEOUT_MS, async () => {
    const used = await usedManagementIndexes();
    for (const other of readLabs()) {
      try {
        used.add(readSpec(labNames(other)).index);
      } catch {
        // A folder without a lab claims no network.
      }
    }
    const index = freeIndex(used);
    if (index === undefined)
      throw new LabError("LAB_BUSY", `all ${MAX_LABS} management networks 172.31.x.0/24 are in use; take a lab down`);
    mkdirSync(names.directory, { recursive: true, mode: 0o700 });
    const spec: LabSpec = { name: names.lab, index, config };
    writeFileSync(names.specFile, `${JSON.stringify(spec, null, 2)}\n`);
  });
}

async function startSupervisor(names: LabNames): Promise<void> {
  const logFile = join(names.directory, "supervisor.log");
  const log = openSync(logFile, "a", 0o600);
  const main = join(CHECKOUT, "packages", "lab", "src", "supervisor", "main.ts");
  const child = spawn(process.execPath, [main, names.lab], {
    detached: true,
    stdio: ["ignore", log, log],
    cwd: "/",
    env: { ...process.env, ...labMark(names.lab) },
  });
  closeSync(log);
  child.unref();
  const deadline = performance.now() + SUPERVISOR_TIMEOUT_MS;
  let ended = false;
  child.once("exit", () => {
    ended = true;
  });
  while (!(await supervisorAlive(names.controlSocket))) {
    if (ended || performance.now() > deadline) {
      const tail = fileTail(logFile, 20);
      await sweep(names.lab);
      throw new LabError("LAB_COMPONENT_FAILED", `the supervisor did not start; its log ends with:\n${tail}`);
    }
    await sleep(20);
  }
}

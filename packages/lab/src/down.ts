import { rm, rmdir } from "node:fs/promises";
import { existsSync } from "node:fs";
import { LabError } from "./errors.ts";
import { labNames, LABS_DIRECTORY } from "./names.ts";
import { forEachBounded, run, sleep } from "./process/run.ts";
import { processStartTime } from "./process/pid-file.ts";
import { MARK_VARIABLE } from "./supervisor/lab-spec.ts";
import { deleteNamespace, leftoversOf, markedProcesses, processesIn } from "./topology/namespaces.ts";
import { withLock } from "./lock.ts";

const LOCK_TIMEOUT_MS = 120_000;

/** Takes a lab down; true when there was one. A lab whose supervisor crashed is cleared away as well. */
export async function down(lab: string): Promise<boolean> {
  return await withLock(lab, LOCK_TIMEOUT_MS, async () => await sweep(lab));
}

/**
 * Clears away everything of a lab by what can be seen: its mark on processes, its names on namespaces and links, its folder. Nothing is
 * asked of the lab itself, so this works in whatever state it is. The calling process is spared.
 */
export async function sweep(lab: string): Promise<boolean> {
  const names = labNames(lab);
  const mark = `${MARK_VARIABLE}=${lab}`;
  let found = existsSync(names.directory);
  // A killed supervisor restarts nothing, but what it was about to start may appear a moment later: look until nothing is found.
  for (let round = 0; ; round++) {
    const { namespaces } = await leftoversOf(lab);
    const pids = new Set([...(await markedProcesses(mark)), ...(await processesIn(namespaces))]);
    pids.delete(process.pid);
    if (pids.size === 0) break;
    found = true;
    if (round === 100)
      throw new LabError(
        "LAB_COMPONENT_FAILED",
        `lab ${lab}: processes ${[...pids].join(", ")} survive SIGKILL; look at them with ps`,
      );
    for (const pid of pids) kill(pid);
    await untilGone(pids);
  }
  const { namespaces, links } = await leftoversOf(lab);
  found ||= namespaces.length > 0 || links.length > 0;
  await forEachBounded(namespaces, 8, deleteNamespace);
  for (const link of links) await run(["ip", "link", "delete", link]);
  await rm(names.directory, { recursive: true, force: true });
  await rmdir(LABS_DIRECTORY).catch(() => undefined); // other labs may still have their folders in it
  const left = await leftoversOf(lab);
  const remains = [...left.namespaces, ...left.links];
  if (remains.length > 0)
    throw new LabError(
      "LAB_COMPONENT_FAILED",
      `lab ${lab}: ${remains.join(", ")} cannot be deleted; try: ip netns delete, ip link delete`,
    );
  return found;
}

function kill(pid: number): void {
  try {
    process.kill(pid, "SIGKILL");
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "ESRCH") throw error;
  }
}

async function untilGone(pids: ReadonlySet<number>): Promise<void> {
  const deadline = performance.now() + 2_000;
  while ([...pids].some((pid) => processStartTime(pid) !== undefined) && performance.now() < deadline) await sleep(10);
}

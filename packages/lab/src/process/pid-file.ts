import { readFileSync, rmSync, writeFileSync } from "node:fs";

/**
 * When the kernel started a process, in clock ticks since boot; `undefined` when it is gone or a zombie.
 * Together with the pid it names a process for ever, whereas a pid alone is given out again.
 */
export function processStartTime(pid: number): string | undefined {
  let stat: string;
  try {
    stat = readFileSync(`/proc/${pid}/stat`, "latin1");
  } catch {
    return undefined;
  }
  // The program's name stands in parentheses and may hold anything, also spaces and parentheses.
  const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
  return fields[0] === "Z" || fields[0] === "X" ? undefined : fields[19];
}

/** Writes pid and start time, one a line. */
export function writePidFile(path: string, pid: number): void {
  writeFileSync(path, `${pid}\n${processStartTime(pid) ?? ""}\n`);
}

/** Removes a pid file; a missing one is fine. */
export function removePidFile(path: string): void {
  rmSync(path, { force: true });
}

/** The pid in a file if that very process is still alive. */
export function readLivePid(path: string): number | undefined {
  let text: string;
  try {
    text = readFileSync(path, "utf8");
  } catch {
    return undefined;
  }
  const [pidText, startTime] = text.split("\n");
  const pid = Number(pidText);
  if (!Number.isSafeInteger(pid) || pid <= 1) return undefined;
  const actual = processStartTime(pid);
  return actual !== undefined && (startTime === "" || startTime === undefined || startTime === actual)
    ? pid
    : undefined;
}

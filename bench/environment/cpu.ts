/** Processor time and memory of a running program. */
import { readFileSync } from "node:fs";
import { checked, library } from "../traffic/libc.ts";

/** Microseconds of processor time since a program's start: all threads, those that ended included, and the first alone. */
export interface CpuTime {
  readonly process: number;
  readonly mainThread: number;
}

const clockGettime = library.func("int clock_gettime(int, uint8_t *)");
const time = new Uint8Array(16);
const timeView = new DataView(time.buffer);

/** The CPU clock of another process (clock_getcpuclockid(3)): the complement of its id, and 2 for the scheduler's account. */
function processClock(pid: number): number {
  return (~pid << 3) | 2;
}

/** Reads the processor time of a process to the nanosecond. Throws when it is gone. */
export function cpuTime(pid: number): CpuTime {
  checked(clockGettime(processClock(pid), time) as number, "clock_gettime", `process ${pid}`);
  const total = Number(timeView.getBigInt64(0, true)) * 1e6 + Number(timeView.getBigInt64(8, true)) / 1e3;
  const scheduled = readFileSync(`/proc/${pid}/task/${pid}/schedstat`, "utf8");
  return { process: total, mainThread: Number(scheduled.split(" ")[0]) / 1000 };
}

/** Resident memory of a process in bytes (VmRSS). */
export function residentBytes(pid: number): number {
  const kilobytes = /^VmRSS:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/status`, "utf8"))?.[1];
  return Number(kilobytes ?? 0) * 1024;
}

import { spawn } from "node:child_process";
import { LabError } from "../errors.ts";

/** What a finished command left: its exit code (128 + signal number when a signal ended it) and its output. */
export interface CommandResult {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

/** Options of {@link run}; times in milliseconds. */
export interface RunOptions {
  readonly input?: string;
  readonly env?: NodeJS.ProcessEnv;
  readonly cwd?: string;
  /** The command is killed after this time; default 60 s. */
  readonly timeoutMs?: number;
  readonly signal?: AbortSignal;
}

/** Output beyond this is cut off: a chatty command must not fill the memory of the supervisor. */
const MAX_OUTPUT = 8 * 1024 * 1024;

const SIGNAL_NUMBERS: Readonly<Record<string, number>> = {
  SIGHUP: 1,
  SIGINT: 2,
  SIGQUIT: 3,
  SIGKILL: 9,
  SIGTERM: 15,
  SIGPIPE: 13,
  SIGSEGV: 11,
  SIGABRT: 6,
};

/** The exit code a shell would report for a finished child. */
export function shellExitCode(code: number | null, signal: NodeJS.Signals | null): number {
  if (code !== null) return code;
  return 128 + (signal === null ? 0 : (SIGNAL_NUMBERS[signal] ?? 0));
}

/**
 * Runs a command to its end and returns whatever it left, also when it failed.
 * Throws `LAB_MISSING_PROGRAM` when it cannot start and `LAB_TIMEOUT` when it did not end in time.
 */
export async function run(command: readonly string[], options: RunOptions = {}): Promise<CommandResult> {
  const [program, ...args] = command;
  if (program === undefined) throw new LabError("LAB_BAD_ARGUMENT", "no command given; name a program after --");
  return await new Promise<CommandResult>((resolve, reject) => {
    const child = spawn(program, args, {
      stdio: ["pipe", "pipe", "pipe"],
      env: options.env ?? process.env,
      cwd: options.cwd,
      signal: options.signal,
    });
    const timeoutMs = options.timeoutMs ?? 60_000;
    let timedOut = false;
    const timer = setTimeout(() => {
      timedOut = true;
      child.kill("SIGKILL");
    }, timeoutMs);
    const stdout: Buffer[] = [];
    const stderr: Buffer[] = [];
    let size = 0;
    const collect = (into: Buffer[]) => (chunk: Buffer) => {
      size += chunk.length;
      if (size <= MAX_OUTPUT) into.push(chunk);
    };
    child.stdout.on("data", collect(stdout));
    child.stderr.on("data", collect(stderr));
    child.stdin.on("error", () => {
      // A command that does not read its input is no failure; its exit code tells.
    });
    child.stdin.end(options.input ?? "");
    child.on("error", (cause) => {
      clearTimeout(timer);
      reject(
        new LabError("LAB_MISSING_PROGRAM", `${program} cannot be started; install it, or run as root`, { cause }),
      );
    });
    child.on("close", (code, signal) => {
      clearTimeout(timer);
      if (timedOut) {
        reject(new LabError("LAB_TIMEOUT", `${command.join(" ")} did not end within ${timeoutMs} ms and was killed`));
        return;
      }
      resolve({
        code: shellExitCode(code, signal),
        stdout: Buffer.concat(stdout).toString(),
        stderr: Buffer.concat(stderr).toString(),
      });
    });
  });
}

/** Like {@link run}, but an exit code other than 0 is an error that quotes what the command said. Returns stdout. */
export async function runChecked(command: readonly string[], options: RunOptions = {}): Promise<string> {
  const result = await run(command, options);
  if (result.code !== 0) {
    const said = (result.stderr.trim() || result.stdout.trim()).slice(-2000);
    throw new LabError("LAB_COMMAND_FAILED", `${command.join(" ")} ended with ${result.code}: ${said}`);
  }
  return result.stdout;
}

/** Resolves after `milliseconds`, at once when `signal` aborts. */
export async function sleep(milliseconds: number, signal?: AbortSignal): Promise<void> {
  if (signal?.aborted === true) return;
  await new Promise<void>((resolve) => {
    const done = () => {
      clearTimeout(timer);
      signal?.removeEventListener("abort", done);
      resolve();
    };
    const timer = setTimeout(done, milliseconds);
    signal?.addEventListener("abort", done);
  });
}

/** Runs `work` over `items`, at most `limit` at a time; the first failure is thrown after all have settled. */
export async function forEachBounded<T>(
  items: readonly T[],
  limit: number,
  work: (item: T) => Promise<void>,
): Promise<void> {
  const failures: unknown[] = [];
  let next = 0;
  const lane = async () => {
    while (next < items.length) {
      const item = items[next++]!;
      try {
        await work(item);
      } catch (error) {
        failures.push(error);
      }
    }
  };
  await Promise.all(Array.from({ length: Math.min(limit, items.length) }, lane));
  if (failures.length > 0) throw failures[0];
}

/** posix_spawn(3) and waitpid(2), called directly: what a container runtime spends, without Node's child processes. */
import { checked, lastErrno, library, EINTR } from "../traffic/libc.ts";

const nativeSpawn = library.func(
  "int posix_spawn(_Out_ int *pid, const char *path, uint8_t *actions, void *attributes, const char **arguments, const char **environment)",
);
const initActions = library.func("int posix_spawn_file_actions_init(uint8_t *)");
const openAction = library.func(
  "int posix_spawn_file_actions_addopen(uint8_t *, int descriptor, const char *path, int flags, unsigned int mode)",
);
const destroyActions = library.func("int posix_spawn_file_actions_destroy(uint8_t *)");
const nativeWait = library.func("int waitpid(int, _Out_ int *status, int)");

const O_RDONLY = 0;
const O_WRONLY_CREAT_TRUNC = 0o1101;

/** A program to start. Standard input and output are files; standard error goes with standard output's name and `.err`. */
export interface Program {
  readonly path: string;
  readonly environment: Readonly<Record<string, string>>;
  readonly input: string;
  readonly output: string;
}

/** Starts a program; returns its process id. */
export function startProgram(program: Program): number {
  // glibc's structure has 80 bytes, musl's fewer.
  const actions = new Uint8Array(256);
  initActions(actions);
  openAction(actions, 0, program.input, O_RDONLY, 0);
  openAction(actions, 1, program.output, O_WRONLY_CREAT_TRUNC, 0o600);
  openAction(actions, 2, `${program.output}.err`, O_WRONLY_CREAT_TRUNC, 0o600);
  const pid = [0];
  const environment = Object.entries(program.environment).map(([name, value]) => `${name}=${value}`);
  const failed = nativeSpawn(pid, program.path, actions, null, [program.path, null], [...environment, null]) as number;
  destroyActions(actions);
  if (failed !== 0) throw new Error(`posix_spawn of ${program.path} failed with errno ${failed}`);
  return pid[0]!;
}

/** Waits for any started program to end. `status` is its exit status, or 128 plus the signal that ended it. */
export function waitForAny(): { pid: number; status: number } {
  const status = [0];
  for (;;) {
    const pid = nativeWait(-1, status, 0) as number;
    if (pid < 0 && lastErrno() === EINTR) continue;
    checked(pid, "waitpid", "started programs");
    const word = status[0]!;
    return { pid, status: (word & 0x7f) === 0 ? (word >> 8) & 0xff : 128 + (word & 0x7f) };
  }
}

import { closeSync, openSync } from "node:fs";
import koffi from "koffi";
import { LabError } from "../errors.ts";

const CLONE_NEWNET = 0x40000000;
const libc = koffi.load("libc.so.6");
const setns = libc.func("int setns(int fd, int nstype)") as (fd: number, type: number) => number;

/** Moves the calling thread into a network namespace; the function it returns moves it back. What is created in between stays there. */
export function enterNetworkNamespace(path: string): () => void {
  const home = openSync("/proc/thread-self/ns/net", "r");
  let target: number;
  try {
    target = openSync(path, "r");
  } catch (cause) {
    closeSync(home);
    throw new LabError("LAB_NOT_FOUND", `network namespace ${path} does not exist`, { cause });
  }
  const entered = setns(target, CLONE_NEWNET);
  closeSync(target);
  if (entered !== 0) {
    closeSync(home);
    throw new LabError("LAB_COMMAND_FAILED", `cannot enter ${path}: is it a network namespace, and is this root?`);
  }
  return () => {
    const back = setns(home, CLONE_NEWNET);
    closeSync(home);
    // To go on in the wrong namespace would put every later socket in the wrong place.
    if (back !== 0) process.abort();
  };
}

/** Network namespaces for one test, with names that no other run has. */
import { execFileSync } from "node:child_process";
import { randomBytes } from "node:crypto";

/** Runs a program and returns what it prints. */
export function run(program: string, ...rest: string[]): string {
  return execFileSync(program, rest, { encoding: "utf8", stdio: ["ignore", "pipe", "pipe"] });
}

/** `count` new namespaces, gone when the test is over. Returns their names; the path of one is `/run/netns/NAME`. */
export function namespaces(context: { after(fn: () => void): void }, count: number): string[] {
  const names = Array.from({ length: count }, (_, index) => `bflink-${randomBytes(4).toString("hex")}-${index}`);
  for (const name of names) {
    run("ip", "netns", "add", name);
    context.after(() => void run("ip", "netns", "del", name));
  }
  return names;
}

export function pathOf(name: string): string {
  return `/run/netns/${name}`;
}

/** The records that `ip -json` prints inside a namespace. */
export function ipJson(namespace: string, ...rest: string[]): Record<string, unknown>[] {
  return JSON.parse(run("ip", "-n", namespace, "-json", "-details", ...rest)) as Record<string, unknown>[];
}

/** For what the kernel does a moment after it said yes, such as link-local addresses: linkwatch defers them, up to a second. */
export async function until(what: string, holds: () => boolean | Promise<boolean>): Promise<void> {
  const deadline = Date.now() + 20_000;
  while (!(await holds())) {
    if (Date.now() > deadline) throw new Error(`waited in vain until ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

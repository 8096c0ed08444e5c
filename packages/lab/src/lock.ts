import { createServer, type Server } from "node:net";
import { LabError } from "./errors.ts";
import { sleep } from "./process/run.ts";

/**
 * Runs `work` while holding a lock of the machine. The lock is an abstract unix socket: the kernel gives it back when its holder dies,
 * so there is no stale lock file to judge.
 */
export async function withLock<T>(name: string, timeoutMs: number, work: () => Promise<T>): Promise<T> {
  const deadline = performance.now() + timeoutMs;
  let lock = await tryLock(name);
  while (lock === undefined) {
    if (performance.now() > deadline)
      throw new LabError(
        "LAB_BUSY",
        `another fabric-lab command holds "${name}" for more than ${timeoutMs} ms; wait for it or end it`,
      );
    await sleep(50);
    lock = await tryLock(name);
  }
  try {
    return await work();
  } finally {
    lock.close();
  }
}

async function tryLock(name: string): Promise<Server | undefined> {
  const server = createServer();
  return await new Promise((resolve, reject) => {
    server.once("error", (error: NodeJS.ErrnoException) => {
      if (error.code === "EADDRINUSE") resolve(undefined);
      else reject(error);
    });
    server.listen(`\0fabric-lab/${name}`, () => {
      server.unref();
      resolve(server);
    });
  });
}

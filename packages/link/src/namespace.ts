/** Network namespaces: entering them for the length of a synchronous function, and telling them apart. */
import { closeSync, fstatSync, openSync, statfsSync } from "node:fs";
import { CLONE_NEWNET, ioctl, setns, startThreadPool } from "./libc.ts";
import { LinkError } from "./errors.ts";

/** Magic number of the file system that namespace files live in (linux/magic.h NSFS_MAGIC). */
const NSFS_MAGIC = 0x6e736673;
/** ioctl that names a namespace's type (linux/nsfs.h NS_GET_NSTYPE). */
const NS_GET_NSTYPE = 0xb703;
const OWN_NAMESPACE = "/proc/thread-self/ns/net";

function noNamespace(path: string, why: string, cause?: unknown): LinkError {
  return new LinkError("LINK_NO_NAMESPACE", `${path} is not a network namespace: ${why}`, {
    object: path,
    remedy: "give the path of a live one, such as /run/netns/NAME or /proc/PID/ns/net",
    cause,
  });
}

/**
 * Opens a network namespace file; the descriptor keeps the namespace alive until it is closed with `closeSync`.
 * Throws LINK_NO_NAMESPACE when the path is missing, is a plain file (what `ip netns del` or a reboot leave behind) or
 * is a namespace of another type.
 */
export function openNamespace(path: string): number {
  let descriptor: number;
  try {
    // Checked before opening: opening a device or a pipe that stands in its place could act or wait.
    if (statfsSync(path).type !== NSFS_MAGIC) throw noNamespace(path, "the file is none");
    descriptor = openSync(path, "r");
  } catch (error) {
    if (error instanceof LinkError) throw error;
    throw noNamespace(path, (error as NodeJS.ErrnoException).code ?? String(error), error);
  }
  if (ioctl(descriptor, NS_GET_NSTYPE, null).value !== CLONE_NEWNET) {
    closeSync(descriptor);
    throw noNamespace(path, "it is a namespace of another type");
  }
  return descriptor;
}

/** True if the path leads to a live network namespace. */
export function netnsExists(path: string): boolean {
  try {
    closeSync(openNamespace(path));
    return true;
  } catch {
    return false;
  }
}

/**
 * The identity of a network namespace, `device:inode`: equal for two paths exactly if they lead to the same namespace.
 * Without a path, that of the calling thread. Throws LINK_NO_NAMESPACE.
 */
export function netnsIdentity(path: string = OWN_NAMESPACE): string {
  const descriptor = openNamespace(path);
  try {
    const { dev, ino } = fstatSync(descriptor, { bigint: true });
    return `${dev}:${ino}`;
  } finally {
    closeSync(descriptor);
  }
}

/**
 * Runs `fn` with the calling thread inside the network namespace at `path`, and returns what it returns. `fn` must be
 * synchronous: sockets that it creates, and /proc/sys/net that it reads, belong to that namespace, but anything that runs
 * after it does not, so the type refuses promises. Without a path `fn` runs where the thread is.
 */
export function withNamespace<T>(path: string | undefined, fn: () => T extends PromiseLike<unknown> ? never : T): T {
  if (path === undefined) return fn();
  startThreadPool();
  const target = openNamespace(path);
  try {
    const home = openSync(OWN_NAMESPACE, "r");
    try {
      setns(target, CLONE_NEWNET, path);
      try {
        return fn();
      } finally {
        // A thread that cannot return would do everything else in the wrong namespace: nothing may go on after that.
        try {
          setns(home, CLONE_NEWNET, "the home namespace");
        } catch (error) {
          console.error("link: cannot return to the home network namespace", error);
          process.abort();
        }
      }
    } finally {
      closeSync(home);
    }
  } finally {
    closeSync(target);
  }
}

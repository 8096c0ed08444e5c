/** Kernel parameters below /proc/sys/net, per network namespace. */
import { readFileSync, writeFileSync } from "node:fs";
import { LinkError } from "./errors.ts";
import { withNamespace } from "./namespace.ts";

function pathOf(name: string): string {
  const parts = name.split("/");
  if (parts.length < 2 || parts.some((part) => part === "" || part === "." || part === ".." || part.includes("\0"))) {
    throw new LinkError("LINK_BAD_NAME", `${JSON.stringify(name)} is not a kernel parameter`, {
      object: name,
      remedy: "write it with slashes below net, such as ipv4/ip_forward or ipv6/conf/eth0/accept_ra",
    });
  }
  return `/proc/sys/net/${name}`;
}

function failed(what: string, name: string, netns: string | undefined, cause: unknown): LinkError {
  const { code, errno } = cause as NodeJS.ErrnoException;
  return new LinkError(
    code === "ENOENT"
      ? "LINK_NOT_FOUND"
      : code === "EACCES" || code === "EPERM"
        ? "LINK_NOT_PERMITTED"
        : "LINK_SYSTEM_CALL",
    `cannot ${what} net/${name}${netns === undefined ? "" : ` in ${netns}`}`,
    { object: name, errno: errno === undefined ? undefined : -errno, cause },
  );
}

/**
 * Sets kernel parameters in the namespace at `netns`, by default the calling thread's, in order. Names are written with
 * slashes, because interface names hold dots: `ipv4/conf/eth0.5/rp_filter`. Those before a refused one stay set.
 * Throws LINK_NOT_FOUND, LINK_BAD_NAME, LINK_NOT_PERMITTED, LINK_NO_NAMESPACE.
 */
export function setSysctls(values: Readonly<Record<string, string | number>>, netns?: string): void {
  const entries = Object.entries(values).map(([name, value]) => ({ name, path: pathOf(name), text: String(value) }));
  withNamespace(netns, () => {
    for (const { name, path, text } of entries) {
      try {
        writeFileSync(path, text, { flag: "r+" });
      } catch (error) {
        throw failed(`set to ${JSON.stringify(text)}`, name, netns, error);
      }
    }
  });
}

/** Reads a kernel parameter, without the final newline. Throws like `setSysctls`. */
export function getSysctl(name: string, netns?: string): string {
  const path = pathOf(name);
  return withNamespace(netns, () => {
    try {
      return readFileSync(path, "utf8").trimEnd();
    } catch (error) {
      throw failed("read", name, netns, error);
    }
  });
}

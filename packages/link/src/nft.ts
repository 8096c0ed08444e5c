/** nftables rulesets, applied by the nft program: its language is the stable interface, not its netlink messages. */
import { spawn } from "node:child_process";
import { LinkError } from "./errors.ts";
import { withNamespace } from "./namespace.ts";

const TIME_LIMIT_MILLISECONDS = 10_000;
const OUTPUT_LIMIT_BYTES = 1 << 20;

interface NftOptions {
  /** Path of the namespace to act in; by default the calling thread's. */
  readonly netns?: string | undefined;
  /** Path of the program, by default `nft` on the PATH. */
  readonly program?: string | undefined;
}

function run(options: NftOptions, argumentsOfNft: readonly string[], input: string): Promise<string> {
  const program = options.program ?? "nft";
  return new Promise((resolve, reject) => {
    // A child inherits the namespaces of the thread that starts it.
    const child = withNamespace(options.netns, () =>
      spawn(program, argumentsOfNft, { stdio: ["pipe", "pipe", "pipe"], timeout: TIME_LIMIT_MILLISECONDS }),
    );
    let output = "";
    let complaint = "";
    child.stdout.setEncoding("utf8").on("data", (text: string) => {
      if (output.length < OUTPUT_LIMIT_BYTES) output += text;
    });
    child.stderr.setEncoding("utf8").on("data", (text: string) => {
      if (complaint.length < OUTPUT_LIMIT_BYTES) complaint += text;
    });
    // A program that ends before it has read everything reports its reason on stderr.
    child.stdin.on("error", () => {});
    child.on("error", (cause: NodeJS.ErrnoException) => {
      reject(
        new LinkError("LINK_NFT", `cannot start ${program}: ${cause.code ?? cause.message}`, {
          object: program,
          remedy: "install the package nftables",
          cause,
        }),
      );
    });
    child.on("close", (status, signal) => {
      if (status === 0) {
        resolve(output);
        return;
      }
      const reason =
        signal === null ? complaint.trim() : `ended by ${signal} after ${TIME_LIMIT_MILLISECONDS} ms at most`;
      reject(
        new LinkError("LINK_NFT", `nft refused the ruleset (status ${status ?? signal}): ${reason}`, {
          object: program,
          remedy: "the line numbers are those of the ruleset; nothing of it was applied",
        }),
      );
    });
    child.stdin.end(input);
  });
}

/**
 * Applies a ruleset, all of it or nothing. Throws LINK_NFT with what nft says, LINK_NO_NAMESPACE. To make it repeatable,
 * let it begin with `table ...` and `delete table ...` of the same table.
 */
export async function applyRuleset(text: string, options: NftOptions = {}): Promise<void> {
  await run(options, ["-f", "-"], text);
}

/** The rules of a table as nft prints them; undefined when there is no such table. Throws LINK_NFT. */
export async function readTable(family: string, table: string, options: NftOptions = {}): Promise<string | undefined> {
  try {
    return await run(options, ["list", "table", family, table], "");
  } catch (error) {
    if (error instanceof LinkError && /No such file or directory/.test(error.message)) return undefined;
    throw error;
  }
}

/** `fabricctl`, also as `kubectl fabric`. */
import { createInterface } from "node:readline/promises";
import { paintFor } from "./terminal.ts";
import { runFabricctl } from "./program.ts";

// `fabricctl flows | head` closes the pipe early: nobody is left to tell.
process.stdout.on("error", (error: NodeJS.ErrnoException) => {
  if (error.code !== "EPIPE") throw error;
  process.exit();
});

/** Only a person who sees the question can agree. */
const person = process.stdin.isTTY && process.stdout.isTTY;

async function confirm(question: string): Promise<boolean> {
  const terminal = createInterface({ input: process.stdin, output: process.stdout });
  try {
    return /^y(es)?$/i.test((await terminal.question(`${question} [y/N] `)).trim());
  } finally {
    terminal.close();
  }
}

process.exitCode = await runFabricctl(process.argv.slice(2), {
  name: process.env["FABRICCTL_NAME"] ?? "fabricctl",
  out: (text) => process.stdout.write(text),
  err: (text) => process.stderr.write(text),
  paint: paintFor(process.stdout),
  now: Date.now,
  ...(person ? { confirm } : {}),
});

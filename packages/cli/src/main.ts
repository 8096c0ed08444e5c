/** `fabricctl`, also as `kubectl fabric`. */
import { paintFor } from "./terminal.ts";
import { runFabricctl } from "./program.ts";

// `fabricctl flows | head` closes the pipe early: nobody is left to tell.
process.stdout.on("error", (error: NodeJS.ErrnoException) => {
  if (error.code !== "EPIPE") throw error;
  process.exit();
});

process.exitCode = await runFabricctl(process.argv.slice(2), {
  name: process.env["FABRICCTL_NAME"] ?? "fabricctl",
  out: (text) => process.stdout.write(text),
  err: (text) => process.stderr.write(text),
  paint: paintFor(process.stdout),
  now: Date.now,
});

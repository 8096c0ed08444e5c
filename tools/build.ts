/**
 * Emits one JavaScript file per program into `build/`, as images and packages carry them: less memory and a quicker start
 * than from source. Development, tests and the lab run the sources as they stand.
 */
import { build } from "esbuild";
import { readFileSync, writeFileSync } from "node:fs";
import { join, resolve } from "node:path";

const root = resolve(import.meta.dirname, "..");

const programs = {
  "fabric-node": "packages/agent/src/main.ts",
  fabricctl: "packages/cli/src/main.ts",
} as const;

await build({
  entryPoints: Object.fromEntries(Object.entries(programs).map(([name, path]) => [name, join(root, path)])),
  outdir: join(root, "build"),
  outExtension: { ".js": ".mjs" },
  bundle: true,
  platform: "node",
  format: "esm",
  target: "node24",
  minify: true,
  keepNames: true,
  // Native code cannot be bundled; it stands beside the file in node_modules.
  external: ["koffi"],
  banner: {
    js: 'import { createRequire as requireFrom } from "node:module"; const require = requireFrom(import.meta.url);',
  },
  logLevel: "warning",
});
/** The agent runs with the same flags from source (`bin/fabric-node`): what is measured is what is installed. */
const flags = {
  "fabric-node": readFileSync(join(root, "packages/agent/node-flags"), "utf8").trim(),
  fabricctl: "",
} as const;

for (const name of Object.keys(programs) as (keyof typeof programs)[]) {
  const wrapper = `#!/bin/sh\nexec "\${NODE:-node}" ${flags[name]} "$(dirname -- "$(readlink -f -- "$0")")/${name}.mjs" "$@"\n`;
  writeFileSync(join(root, "build", name), wrapper, { mode: 0o755 });
}
console.log(`built ${Object.keys(programs).join(", ")} in build/`);

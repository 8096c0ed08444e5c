/**
 * Checks the arrows between packages: what a package's `src` imports from another package of this repository must
 * stand in its package.json, and those declarations must form a directed acyclic graph. Tests may import anything.
 *
 *     node tools/check-arrows.ts [ROOT]
 *
 * Prints every offence as `file:line: what, and what to do` and exits 1 when there is one.
 */
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { dirname, join, relative, resolve, sep } from "node:path";
import { blankComments, lineOf } from "./source-text.ts";

const SCOPE = "@beyondfabric/";

interface Workspace {
  readonly name: string;
  readonly directory: string;
  readonly manifestPath: string;
  readonly manifest: string;
  /** Names of the packages of this repository that package.json declares. */
  readonly arrows: readonly string[];
}

const root = resolve(process.argv[2] ?? join(import.meta.dirname, ".."));
const offences: string[] = [];

function offend(file: string, line: number, text: string): void {
  offences.push(`${relative(root, file)}:${line}: ${text}`);
}

function readWorkspaces(): Workspace[] {
  const packages = join(root, "packages");
  const workspaces: Workspace[] = [];
  for (const entry of readdirSync(packages).sort()) {
    const manifestPath = join(packages, entry, "package.json");
    if (!existsSync(manifestPath)) continue;
    const manifest = readFileSync(manifestPath, "utf8");
    const parsed = JSON.parse(manifest) as { name: string; dependencies?: Record<string, string> };
    workspaces.push({
      name: parsed.name,
      directory: join(packages, entry),
      manifestPath,
      manifest,
      arrows: Object.keys(parsed.dependencies ?? {}).filter((name) => name.startsWith(SCOPE)),
    });
  }
  return workspaces;
}

function sourceFiles(directory: string): string[] {
  if (!existsSync(directory)) return [];
  return readdirSync(directory, { recursive: true, encoding: "utf8" })
    .filter((path) => path.endsWith(".ts") && !path.split(sep).includes("node_modules"))
    .map((path) => join(directory, path))
    .sort();
}

const SPECIFIER = /\b(?:from|import)\s*\(?\s*(["'])([^"'\n]+)\1/g;

function checkImports(workspace: Workspace): void {
  for (const file of sourceFiles(join(workspace.directory, "src"))) {
    const text = blankComments(readFileSync(file, "utf8"));
    for (const match of text.matchAll(SPECIFIER)) {
      const specifier = match[2]!;
      const line = lineOf(text, match.index);
      if (specifier.startsWith(".")) {
        const target = resolve(dirname(file), specifier);
        if (!target.startsWith(workspace.directory + sep)) {
          offend(file, line, `imports ${specifier}, which leaves ${workspace.name}: import the package by its name`);
        }
        continue;
      }
      if (!specifier.startsWith(SCOPE)) continue;
      const name = specifier.split("/", 2).join("/");
      if (name !== workspace.name && !workspace.arrows.includes(name)) {
        const where = relative(root, workspace.manifestPath);
        offend(
          file,
          line,
          `imports ${specifier}, but ${where} does not declare ${name}: drop the import or argue for the arrow`,
        );
      }
    }
  }
}

function manifestLine(workspace: Workspace, name: string): number {
  return lineOf(workspace.manifest, Math.max(0, workspace.manifest.lastIndexOf(`"${name}"`)));
}

/** Depth-first search with colours; every edge that closes a cycle is one offence, with the whole cycle named. */
function checkAcyclic(workspaces: readonly Workspace[]): void {
  const byName = new Map(workspaces.map((workspace) => [workspace.name, workspace]));
  const done = new Set<string>();
  const path: string[] = [];
  const visit = (workspace: Workspace): void => {
    path.push(workspace.name);
    for (const arrow of workspace.arrows) {
      const target = byName.get(arrow);
      if (target === undefined) {
        offend(workspace.manifestPath, manifestLine(workspace, arrow), `declares ${arrow}, which is no package here`);
      } else if (path.includes(arrow)) {
        const cycle = [...path.slice(path.indexOf(arrow)), arrow].join(" -> ");
        offend(workspace.manifestPath, manifestLine(workspace, arrow), `closes the cycle ${cycle}: one arrow must go`);
      } else if (!done.has(arrow)) {
        visit(target);
      }
    }
    path.pop();
    done.add(workspace.name);
  };
  for (const workspace of workspaces) if (!done.has(workspace.name)) visit(workspace);
}

const workspaces = readWorkspaces();
for (const workspace of workspaces) checkImports(workspace);
checkAcyclic(workspaces);
for (const offence of offences) console.error(offence);
if (offences.length > 0) process.exitCode = 1;

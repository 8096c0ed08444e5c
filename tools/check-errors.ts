/**
 * Checks that every error code in packages/<name>/src stands in docs/errors.md, and that every code there still exists.
 *
 *     node tools/check-errors.ts [ROOT]
 *
 * A code is a literal such as "OVSDB_TIMEOUT" where an error gets its code: the first argument of `new …Error(`, a `code`
 * property or field, or a member of a union type whose name ends in `Code`. Prints offences as `file:line: …`, exits 1.
 */
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join, relative, resolve } from "node:path";
import { blankComments, lineOf } from "./source-text.ts";

const root = resolve(process.argv[2] ?? join(import.meta.dirname, ".."));
const document = join(root, "docs/errors.md");

const LITERAL = /"([A-Z]+(?:_[A-Z0-9]+)+)"/g;
const PLACES = [
  /\bnew\s+\w*(?:Error|Failure)\s*\(\s*"[A-Z]+(?:_[A-Z0-9]+)+"/g,
  /\bcode\??\s*[:=]\s*\|?\s*"[A-Z]+(?:_[A-Z0-9]+)+"(?:\s*\|\s*"[A-Z]+(?:_[A-Z0-9]+)+")*/g,
  /\btype\s+\w*Code\s*=\s*\|?\s*"[A-Z]+(?:_[A-Z0-9]+)+"(?:\s*\|\s*"[A-Z]+(?:_[A-Z0-9]+)+")*/g,
];

/** Each code with the first place where it stands. */
function codesInSources(): Map<string, string> {
  const codes = new Map<string, string>();
  const packages = join(root, "packages");
  for (const name of readdirSync(packages).sort()) {
    const source = join(packages, name, "src");
    if (!existsSync(source)) continue;
    for (const path of readdirSync(source, { recursive: true, encoding: "utf8" }).sort()) {
      if (!path.endsWith(".ts")) continue;
      const file = join(source, path);
      const text = blankComments(readFileSync(file, "utf8"));
      for (const place of PLACES) {
        for (const match of text.matchAll(place)) {
          for (const literal of match[0].matchAll(LITERAL)) {
            const at = `${relative(root, file)}:${lineOf(text, match.index + literal.index)}`;
            if (!codes.has(literal[1]!)) codes.set(literal[1]!, at);
          }
        }
      }
    }
  }
  return codes;
}

/** Each code of the tables with its line: rows begin with the code in backquotes. */
function codesInDocument(): Map<string, number> {
  const codes = new Map<string, number>();
  for (const [index, line] of readFileSync(document, "utf8").split("\n").entries()) {
    const row = /^\|\s*`([A-Z]+(?:_[A-Z0-9]+)+)`\s*\|\s*(\S.*?)\s*\|\s*(\S.*?)\s*\|\s*$/.exec(line);
    if (row !== null) codes.set(row[1]!, index + 1);
  }
  return codes;
}

const used = codesInSources();
const described = codesInDocument();
const where = relative(root, document);
const offences = [
  ...[...used]
    .filter(([code]) => !described.has(code))
    .map(([code, at]) => `${at}: ${code} is not in ${where}: add a row with its meaning and its remedy`),
  ...[...described]
    .filter(([code]) => !used.has(code))
    .map(([code, line]) => `${where}:${line}: ${code} is thrown nowhere: delete the row`),
];
for (const offence of offences) console.error(offence);
if (offences.length > 0) process.exitCode = 1;

/**
 * Reporter for `node --test`: one line per finished test file or failed test, and, as the last line of the run, the
 * plain "N passed, N failed" that `.ci/run` and people look for.
 */
import type { TestEvent } from "node:test/reporters";
import { relative } from "node:path";

interface Failure {
  file: string;
  name: string;
  message: string;
}

/** Lines of a failure's message that are told again at the end of the run. */
const MAX_REPEATED_LINES = 20;

const cwd = process.cwd();

export default async function* report(source: AsyncIterable<TestEvent>): AsyncGenerator<string> {
  let passed = 0;
  let failed = 0;
  let skipped = 0;
  const failures: Failure[] = [];
  const perFile = new Map<string, { passed: number; ms: number }>();
  for await (const event of source) {
    if (event.type === "test:pass" || event.type === "test:fail") {
      const { data } = event;
      const file = relative(cwd, data.file ?? "?");
      // A describe block ends with an event of its own; counting it would count its tests twice. The same holds for
      // the event that stands for a whole file.
      const isContainer = data.details.type === "suite" || data.name === data.file || file === data.name;
      if (event.type === "test:pass") {
        if (isContainer) continue;
        if (data.skip !== undefined && data.skip !== false) {
          skipped++;
          continue;
        }
        passed++;
        const entry = perFile.get(file) ?? { passed: 0, ms: 0 };
        entry.passed++;
        entry.ms += data.details.duration_ms;
        perFile.set(file, entry);
        if (process.env["TEST_VERBOSE"] !== undefined || file.startsWith("test/system")) {
          yield `  ok   ${file}: ${data.name} (${Math.round(data.details.duration_ms)} ms)\n`;
        }
      } else {
        const error = (data.details as { error: Error & { cause?: unknown; failureType?: string } }).error;
        if (isContainer && error.failureType === "subtestsFailed") continue;
        failed++;
        const cause = error.cause instanceof Error ? (error.cause.stack ?? error.cause.message) : String(error.cause);
        failures.push({ file, name: data.name, message: cause });
        yield `  FAIL ${file}: ${data.name}\n${indent(cause)}\n`;
      }
    } else if (event.type === "test:stderr" || event.type === "test:stdout") {
      yield event.data.message;
    } else if (event.type === "test:diagnostic" && process.env["TEST_VERBOSE"] !== undefined) {
      yield `  # ${event.data.message}\n`;
    }
  }
  for (const [file, entry] of [...perFile].sort(([a], [b]) => a.localeCompare(b))) {
    yield `  ${file}: ${entry.passed} passed in ${Math.round(entry.ms)} ms\n`;
  }
  if (failures.length > 0) {
    yield "\nFailed:\n";
    // Again with its message: of a long log often only the end is kept.
    for (const { file, name, message } of failures) {
      yield `  ${file}: ${name}\n${indent(message.split("\n").slice(0, MAX_REPEATED_LINES).join("\n"))}\n`;
    }
  }
  yield `\n${passed} passed, ${failed} failed${skipped > 0 ? `, ${skipped} skipped` : ""}\n`;
}

function indent(text: string): string {
  return text
    .split("\n")
    .map((line) => `       ${line}`)
    .join("\n");
}

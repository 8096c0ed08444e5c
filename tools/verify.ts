/**
 * The tests of `make verify`, as one run with one result: one file after the other, and beside them the one that does
 * little but wait, so that its minutes pass only once.
 *
 *     node tools/verify.ts
 */
import { PassThrough } from "node:stream";
import { finished } from "node:stream/promises";
import { run } from "node:test";
import report from "./test-reporter.ts";

const events = new PassThrough({ objectMode: true });
const streams = [
  run({
    globPatterns: ["packages/*/test/**/*.verify.ts", "test/system/*.test.ts", "test/system/policy-churn.verify.ts"],
    concurrency: 1,
  }),
  run({ globPatterns: ["test/system/silence.verify.ts"], concurrency: 1 }),
];
for (const stream of streams) {
  stream.on("test:fail", () => (process.exitCode = 1));
  stream.pipe(events, { end: false });
}
void Promise.all(streams.map((stream) => finished(stream))).then(() => events.end());
for await (const text of report(events)) process.stdout.write(text);

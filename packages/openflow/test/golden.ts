/**
 * Golden pairs: `testdata/messages.txt` holds, for each message, its name, its frame in hex and the text that
 * `ovs-ofctl ofp-print` gives for it. `node packages/openflow/test/golden.ts` writes the file anew from the samples and
 * the installed ovs-ofctl; a reviewer reads the difference.
 */
import { execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { encodeMessage } from "../src/index.ts";
import { sampleFlows } from "./sample-flows.ts";
import { sampleMessages } from "./sample-messages.ts";

export interface Golden {
  readonly name: string;
  readonly frame: Buffer;
  /** Lines as the tool prints them, without the last line break. */
  readonly text: string;
}

const file = join(import.meta.dirname, "../testdata/messages.txt");

export function readGoldens(): readonly Golden[] {
  return readFileSync(file, "utf8")
    .split(/^# /m)
    .slice(1)
    .map((block) => {
      const [name, hex, ...text] = block.trimEnd().split("\n") as [string, string, ...string[]];
      return { name, frame: Buffer.from(hex, "hex"), text: text.join("\n") };
    });
}

/** What the installed tool prints for frames, one text each. */
export function printByTool(frames: readonly Buffer[]): readonly string[] {
  const directory = mkdtempSync(join(tmpdir(), "bf-of-print-"));
  try {
    // A message of a known form after each tells where its text ends.
    const mark = encodeMessage({ type: "echo_request", data: new Uint8Array() }, 0xffff_fffe);
    const path = join(directory, "frames");
    writeFileSync(path, Buffer.concat(frames.flatMap((frame) => [frame, mark])));
    const out = execFileSync("ovs-ofctl", ["ofp-parse", path], {
      encoding: "utf8",
      maxBuffer: 1 << 26,
      stdio: ["ignore", "pipe", "ignore"],
    });
    return out
      .split(/^OFPT_ECHO_REQUEST \(OF1\.5\) \(xid=0xfffffffe\): 0 bytes of payload\n/m)
      .slice(0, -1)
      .map((text) => text.trimEnd());
  } finally {
    rmSync(directory, { recursive: true });
  }
}

if (import.meta.main) {
  const messages = [
    ...sampleMessages,
    ...sampleFlows.map(({ name, flow }) => ({
      name: `flow-mod: ${name}`,
      message: { type: "flow_mod", command: "add", flow } as const,
    })),
  ];
  const frames = messages.map(({ message }, index) => encodeMessage(message, index + 1));
  const texts = printByTool(frames);
  const blocks = messages.map(({ name }, i) => `# ${name}\n${frames[i]!.toString("hex")}\n${texts[i]!}\n`);
  writeFileSync(file, blocks.join("\n"));
}

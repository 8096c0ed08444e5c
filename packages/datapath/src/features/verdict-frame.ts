/**
 * Flow-mods of verdicts about exact pairs, from templates. They go ahead of a first packet in the same write, so it waits
 * while they are made; and those of one shape differ in a few numbers only. A template is the frame that the codec makes of
 * such an entry, and knows where in it those numbers stand.
 */
import { flowModFrame, type Flow } from "@beyondfabric/openflow";
import { ipFamily, ipToBytes, parseIp, type Ip } from "@beyondfabric/packet";
import { encodeCookie } from "../cookie.ts";
import { DatapathError } from "../errors.ts";
import type { SourceClass, Way } from "../registers.ts";

/** An entry about an exact pair, as far as its bytes depend on it. */
export interface ExactVerdict {
  readonly from: SourceClass;
  readonly source: Ip;
  readonly destination: Ip;
  readonly tunnelSource: Ip | undefined;
  readonly way: Way;
  readonly kind: "verdict" | "refusal";
  readonly id: number;
}

export type VerdictCommand = "add" | "delete_strict";

interface Template {
  readonly frame: Buffer;
  readonly source: number;
  readonly destination: number;
  readonly tunnelSource: number;
  readonly tunnelDestination: number;
  readonly vni: number;
}

/** Where a flow-mod has its cookie (OpenFlow 1.5 section 7.3.4.2). */
const cookieAt = 8;

/** Numbers that occur nowhere else in a flow-mod: where they stand in an encoded one, the real ones belong. */
const marks = {
  4: { source: parseIp("165.90.1.121"), destination: parseIp("165.90.2.122") },
  6: { source: parseIp("a55a:1::a55a:79"), destination: parseIp("a55a:2::a55a:7a") },
  tunnelSource: parseIp("165.90.3.123"),
  tunnelDestination: 0xa55a_047c,
  vni: 0xa5_057d,
} as const;

const templates = new Map<number, Template>();

/**
 * The flow-mod of an entry about an exact pair.
 * @param flowOf builds the entry that the frame is made after, once for each shape
 */
export function exactVerdictFrame(
  command: VerdictCommand,
  verdict: ExactVerdict,
  flowOf: (verdict: ExactVerdict) => Flow,
): Buffer {
  const { way } = verdict;
  const shape = shapeOf(command, verdict);
  let template = templates.get(shape);
  if (template === undefined) templates.set(shape, (template = templateOf(command, verdict, flowOf)));
  const frame = Buffer.from(template.frame);
  frame.writeBigUInt64BE(encodeCookie(verdict.kind, verdict.id), cookieAt);
  frame.set(ipToBytes(verdict.source), template.source);
  frame.set(ipToBytes(verdict.destination), template.destination);
  if (template.tunnelSource > 0) frame.set(ipToBytes(verdict.tunnelSource!), template.tunnelSource);
  if (template.tunnelDestination > 0) frame.writeUInt32BE(way.tunnelDestination >>> 0, template.tunnelDestination);
  if (template.vni > 0) frame.writeUInt32BE(way.vni, template.vni);
  return frame;
}

const classNumbers: Readonly<Record<SourceClass, number>> = { pod: 0, tunnel: 1, host: 2 };

/** One number for everything that changes more of a frame than the numbers that a template leaves open. */
function shapeOf(command: VerdictCommand, { from, source, tunnelSource, way }: ExactVerdict): number {
  const bits = [command === "add", ipFamily(source) === 4, tunnelSource === undefined];
  return bits.reduce((shape, bit) => shape * 2 + Number(bit), way.code * 4 + classNumbers[from]);
}

function templateOf(command: VerdictCommand, verdict: ExactVerdict, flowOf: (verdict: ExactVerdict) => Flow): Template {
  const { source, destination } = marks[ipFamily(verdict.source)];
  const tunnelled = verdict.way.tunnelDestination !== 0 || verdict.way.vni !== 0;
  const way = tunnelled ? { ...verdict.way, tunnelDestination: marks.tunnelDestination, vni: marks.vni } : verdict.way;
  const tunnelSource = verdict.tunnelSource === undefined ? undefined : marks.tunnelSource;
  const frame = flowModFrame(command, flowOf({ ...verdict, source, destination, tunnelSource, way }), 0);
  const place = (mark: Uint8Array | number): number => {
    const at = frame.indexOf(typeof mark === "number" ? numberBytes(mark) : mark);
    const again = at < 0 ? at : frame.indexOf(typeof mark === "number" ? numberBytes(mark) : mark, at + 1);
    if (at >= 0 && again < 0) return at;
    throw new DatapathError(
      "DATAPATH_UNDECLARED",
      `an entry of ${verdict.from} with way ${verdict.way.code} does not have each of its numbers in one place; ` +
        "mend the marks in verdict-frame.ts",
    );
  };
  return {
    frame,
    source: place(ipToBytes(source)),
    destination: place(ipToBytes(destination)),
    tunnelSource: tunnelSource === undefined ? 0 : place(ipToBytes(tunnelSource)),
    tunnelDestination: tunnelled ? place(marks.tunnelDestination) : 0,
    vni: tunnelled ? place(marks.vni) : 0,
  };
}

function numberBytes(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(value);
  return bytes;
}

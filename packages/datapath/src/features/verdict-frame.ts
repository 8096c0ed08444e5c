/**
 * Flow-mods of verdicts about exact pairs, from templates. They go ahead of a first packet in the same write, so it waits
 * while they are made; and those of one shape differ in a few numbers only. A template is the frame that the codec makes of
 * such an entry, and knows where in it those numbers stand.
 */
import { flowModFrame, type Flow } from "@beyondfabric/openflow";
import { ipFamily, ipToBytes, parseIp, type Ip } from "@beyondfabric/packet";
import { encodeCookie } from "../cookie.ts";
import { DatapathError } from "../errors.ts";
import {
  narrowBit,
  sourceClass,
  unset,
  verdictCode,
  type Segment,
  type SourceClass,
  type WayRegisters,
} from "../registers.ts";

/** An entry about an exact pair, as far as its bytes depend on it. */
export interface ExactVerdict {
  readonly from: SourceClass;
  readonly source: Ip;
  readonly destination: Ip;
  readonly tunnelSource?: Ip;
  readonly segment?: Segment;
  readonly way: WayRegisters;
  readonly kind: "verdict" | "refusal";
  readonly id: number;
  readonly edition: number;
}

export type VerdictCommand = "add" | "delete_strict";

interface Template {
  readonly frame: Buffer;
  readonly source: number;
  readonly destination: number;
  /** 0, here and below, where the entry has no such number. */
  readonly tunnelSource: number;
  readonly segment: number;
  readonly reg2: number;
  readonly reg3: number;
  readonly reg4: number;
}

/** Where a flow-mod has its cookie (OpenFlow 1.5 section 7.3.4.2). */
const cookieAt = 8;

/** Numbers that occur nowhere else in a flow-mod: where they stand in an encoded one, the real ones belong. */
const marks = {
  4: { source: parseIp("165.90.1.121"), destination: parseIp("165.90.2.122") },
  6: { source: parseIp("a55a:1::a55a:79"), destination: parseIp("a55a:2::a55a:7a") },
  tunnelSource: parseIp("165.90.3.123"),
  segment: 0xa55a_077f,
  reg2: 0xa55a_057d,
  reg3: 0xa55a_047c,
  reg4: 0x5aa5_067e,
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
  if (template.segment > 0) frame.writeUInt32BE(verdict.segment! >>> 0, template.segment);
  if (template.reg2 > 0) frame.writeUInt32BE(way.reg2 >>> 0, template.reg2);
  if (template.reg3 > 0) frame.writeUInt32BE(way.reg3 >>> 0, template.reg3);
  if (template.reg4 > 0) frame.writeUInt32BE(way.reg4 >>> 0, template.reg4);
  return frame;
}

/** Which of the way's registers an entry with this verdict loads with numbers of its own. */
function openRegisters({ code, reg4 }: WayRegisters): { reg2: boolean; reg3: boolean; reg4: boolean } {
  const reg2 = code === verdictCode.tunnel || code === verdictCode.uplinkTo;
  return { reg2, reg3: reg2 || code === verdictCode.uplink, reg4: reg4 !== unset && reg4 !== narrowBit };
}

/** One number for everything that changes more of a frame than the numbers that a template leaves open. */
function shapeOf(command: VerdictCommand, { from, source, tunnelSource, segment, way, edition }: ExactVerdict): number {
  const bits = [
    command === "add",
    ipFamily(source) === 4,
    tunnelSource === undefined,
    segment === undefined,
    way.reg4 === unset,
    way.reg4 === narrowBit,
  ];
  return bits.reduce((shape, bit) => shape * 2 + Number(bit), (edition * 8 + way.code) * 8 + sourceClass[from]);
}

function templateOf(command: VerdictCommand, verdict: ExactVerdict, flowOf: (verdict: ExactVerdict) => Flow): Template {
  const { source, destination } = marks[ipFamily(verdict.source)];
  const open = openRegisters(verdict.way);
  const way = {
    ...verdict.way,
    ...(open.reg2 ? { reg2: marks.reg2 } : {}),
    ...(open.reg3 ? { reg3: marks.reg3 } : {}),
    ...(open.reg4 ? { reg4: marks.reg4 } : {}),
  };
  const isTunnelled = verdict.tunnelSource !== undefined;
  const isOnWire = verdict.segment !== undefined;
  const marked = {
    ...verdict,
    source,
    destination,
    way,
    ...(isTunnelled ? { tunnelSource: marks.tunnelSource } : {}),
    ...(isOnWire ? { segment: marks.segment } : {}),
  };
  const frame = flowModFrame(command, flowOf(marked), 0);
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
    tunnelSource: isTunnelled ? place(ipToBytes(marks.tunnelSource)) : 0,
    segment: isOnWire ? place(marks.segment) : 0,
    reg2: open.reg2 ? place(marks.reg2) : 0,
    reg3: open.reg3 ? place(marks.reg3) : 0,
    reg4: open.reg4 ? place(marks.reg4) : 0,
  };
}

function numberBytes(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(value);
  return bytes;
}

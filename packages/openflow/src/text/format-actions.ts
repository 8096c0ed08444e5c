/** Actions and instructions as ovs-ofctl prints them. */
import { ipFromBigInt } from "@beyondfabric/packet";
import type { Action, Instruction, LearnSpec, NatRange, PacketInReason } from "../model.ts";
import { packetInReasons, reservedPorts } from "../tables/numbers.ts";
import { fieldByName } from "../tables/fields.ts";
import { hex } from "./syntax.ts";
import { formatPort, formatSetValue, formatSlice } from "./values.ts";

type ActionOf<T extends Action["type"]> = Extract<Action, { readonly type: T }>;
type Formatters = { readonly [T in Action["type"]]: (action: ActionOf<T>) => string };

/** Helpers of conntrack by their port. */
export const ALGS: Readonly<Record<string, number>> = { ftp: 21, tftp: 69 };

const formatters: Formatters = {
  output: ({ port, maxLen }) => {
    if (port === reservedPorts.CONTROLLER) return `CONTROLLER:${maxLen ?? 0xffff}`;
    return port < 0xffff_ff00 ? `output:${port}` : formatPort(port);
  },
  output_reg: ({ src }) => `output:${formatSlice(src)}`,
  group: ({ group }) => `group:${group}`,
  meter: ({ meter }) => `meter:${meter}`,
  set_field: ({ field, value, mask }) => {
    const row = fieldByName(field);
    return `set_field:${formatSetValue(row, value, mask)}->${row.inActions ?? row.name}`;
  },
  load: ({ dst, value }) => `load:${hex(value)}->${formatSlice(dst)}`,
  move: ({ src, dst }) => `move:${formatSlice(src)}->${formatSlice(dst)}`,
  push_vlan: ({ ethertype }) => `push_vlan:0x${ethertype.toString(16).padStart(4, "0")}`,
  pop_vlan: () => "pop_vlan",
  dec_ttl: () => "dec_ttl",
  set_queue: ({ queue }) => `set_queue:${queue}`,
  resubmit: ({ port, table, ct }) => {
    if (port !== undefined && table === undefined && ct !== true) return `resubmit:${formatPort(port)}`;
    const from = port === undefined ? "" : formatPort(port);
    return `resubmit(${from},${table ?? ""}${ct === true ? ",ct" : ""})`;
  },
  controller: formatController,
  ct: formatCt,
  nat: formatNat,
  ct_clear: () => "ct_clear",
  check_pkt_larger: ({ length, dst }) => `check_pkt_larger(${length})->${formatSlice(dst)}`,
  conjunction: ({ id, clause, clauses }) => `conjunction(${id},${clause}/${clauses})`,
  note: ({ bytes }) => `note:${hexBytes(bytes)}`,
  delete_field: ({ field }) => `delete_field:${field}`,
  stack_push: ({ src }) => `push:${formatSlice(src)}`,
  stack_pop: ({ dst }) => `pop:${formatSlice(dst)}`,
  clone: ({ actions }) => `clone(${joinActions(actions)})`,
  learn: formatLearn,
  unknown: ({ bytes }) => `unknown:${Buffer.from(bytes).toString("hex")}`,
};

/** One action. */
export function formatAction(action: Action): string {
  return (formatters[action.type] as (action: Action) => string)(action);
}

function joinActions(actions: readonly Action[]): string {
  return actions.map(formatAction).join(",");
}

/** Actions joined by commas; `drop` when there are none. */
export function formatActions(actions: readonly Action[]): string {
  return actions.length === 0 ? "drop" : joinActions(actions);
}

/** What an entry does, as it stands behind `actions=`. */
export function formatInstructions(instructions: readonly Instruction[]): string {
  const parts = instructions.map(formatInstruction).filter((part) => part !== "");
  return parts.length === 0 ? "drop" : parts.join(",");
}

function formatInstruction(instruction: Instruction): string {
  switch (instruction.type) {
    case "apply_actions":
      return joinActions(instruction.actions);
    case "write_actions":
      return `write_actions(${formatActions(instruction.actions)})`;
    case "clear_actions":
      return "clear_actions";
    case "write_metadata": {
      const mask = instruction.mask === 0xffff_ffff_ffff_ffffn ? "" : `/${hex(instruction.mask)}`;
      return `write_metadata:${hex(instruction.value)}${mask}`;
    }
    case "meter":
      return `meter:${instruction.meter}`;
    case "goto_table":
      return `goto_table:${instruction.table}`;
    case "unknown":
      return `unknown_instruction:${Buffer.from(instruction.bytes).toString("hex")}`;
  }
}

function hexBytes(bytes: Uint8Array): string {
  return [...bytes].map((byte) => byte.toString(16).padStart(2, "0")).join(".");
}

/** Why a packet goes to the controller. */
export function formatReason(reason: PacketInReason): string {
  return typeof reason === "string" ? reason : String(reason.unknown);
}

function formatController(action: ActionOf<"controller">): string {
  const { maxLen = 0xffff, controllerId = 0, reason = packetInReasons[1]!, userdata, pause, meterId } = action;
  const parts: string[] = [];
  if (reason !== "action") parts.push(`reason=${formatReason(reason)}`);
  if (maxLen !== 0xffff) parts.push(`max_len=${maxLen}`);
  if (controllerId !== 0) parts.push(`id=${controllerId}`);
  if (userdata !== undefined && userdata.length > 0) parts.push(`userdata=${hexBytes(userdata)}`);
  if (pause === true) parts.push("pause");
  if (meterId !== undefined) parts.push(`meter_id=${meterId}`);
  const onlyLength = parts.length === (maxLen === 0xffff ? 0 : 1) && reason === "action" && controllerId === 0;
  return onlyLength && pause !== true && meterId === undefined
    ? `CONTROLLER:${maxLen}`
    : `controller(${parts.join(",")})`;
}

function formatCt(action: ActionOf<"ct">): string {
  const parts: string[] = [];
  if (action.commit === true) parts.push("commit");
  if (action.force === true) parts.push("force");
  if (action.table !== undefined) parts.push(`table=${action.table}`);
  if (typeof action.zone === "object") parts.push(`zone=${formatSlice(action.zone)}`);
  else if (action.zone !== undefined && action.zone !== 0) parts.push(`zone=${action.zone}`);
  let nested = action.actions ?? [];
  if (nested[0]?.type === "nat") {
    parts.push(formatNat(nested[0]));
    nested = nested.slice(1);
  }
  if (nested.length > 0) parts.push(`exec(${joinActions(nested)})`);
  if (action.alg !== undefined && action.alg !== 0) {
    parts.push(`alg=${Object.keys(ALGS).find((name) => ALGS[name] === action.alg) ?? action.alg}`);
  }
  return `ct(${parts.join(",")})`;
}

function formatNat(action: ActionOf<"nat">): string {
  if (action.direction === undefined) return "nat";
  const ranges: string[] = [];
  const { ipv4, ipv6, ports } = action;
  if (ipv4 !== undefined) ranges.push(formatRange(ipv4, (ip) => ipFromBigInt(ip, 4)));
  const bracket = ports === undefined ? (text: string) => text : (text: string) => `[${text}]`;
  if (ipv6 !== undefined) ranges.push(formatRange(ipv6, (ip) => bracket(ipFromBigInt(ip, 6))));
  if (ports !== undefined) ranges.push(formatRange(ports, String));
  const parts = [ranges.length === 0 ? action.direction : `${action.direction}=${ranges.join(":")}`];
  if (action.persistent === true) parts.push("persistent");
  if (action.hash === true) parts.push("hash");
  if (action.random === true) parts.push("random");
  return `nat(${parts.join(",")})`;
}

function formatRange<T>(range: NatRange<T>, text: (value: T) => string): string {
  return range.max === undefined || range.max === range.min ? text(range.min) : `${text(range.min)}-${text(range.max)}`;
}

function formatLearn({ learn }: ActionOf<"learn">): string {
  const parts = [`table=${learn.table}`];
  const { idleTimeout = 0, hardTimeout = 0, finIdleTimeout = 0, finHardTimeout = 0 } = learn;
  if (idleTimeout !== 0) parts.push(`idle_timeout=${idleTimeout}`);
  if (hardTimeout !== 0) parts.push(`hard_timeout=${hardTimeout}`);
  if (finIdleTimeout !== 0) parts.push(`fin_idle_timeout=${finIdleTimeout}`);
  if (finHardTimeout !== 0) parts.push(`fin_hard_timeout=${finHardTimeout}`);
  if (learn.priority !== undefined && learn.priority !== 0x8000) parts.push(`priority=${learn.priority}`);
  const flags = learn.flags ?? 0;
  if ((flags & 1) !== 0) parts.push("send_flow_rem");
  if ((flags & 2) !== 0) parts.push("delete_learned");
  if (learn.cookie !== undefined && learn.cookie !== 0n) parts.push(`cookie=${hex(learn.cookie)}`);
  for (const spec of learn.specs) parts.push(formatLearnSpec(spec));
  return `learn(${parts.join(",")})`;
}

function formatLearnSpec(spec: LearnSpec["specs"][number]): string {
  if (spec.kind === "output") return `output:${formatSlice(spec.src)}`;
  const { src, dst } = spec;
  if (spec.kind === "load") return `load:${typeof src === "bigint" ? hex(src) : formatSlice(src)}->${formatSlice(dst)}`;
  if (typeof src !== "bigint") {
    const same = src.field === dst.field && src.offset === dst.offset;
    return same ? formatSlice(dst) : `${formatSlice(dst)}=${formatSlice(src)}`;
  }
  const row = fieldByName(dst.field);
  if (dst.offset !== 0 || dst.bits !== row.bits) return `${formatSlice(dst)}=${hex(src)}`;
  return `${row.inActions ?? row.name}=${formatSetValue(row, src)}`;
}

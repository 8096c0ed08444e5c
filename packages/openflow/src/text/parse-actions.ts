/** Actions and instructions out of the syntax of ovs-ofctl. */
import { ipFamily, ipToBigInt, isIp, isMac, macToBigInt, parseIp } from "@beyondfabric/packet";
import { OpenFlowTextError } from "../errors.ts";
import type { Action, FieldSlice, Instruction, LearnSpec, NatRange, PacketInReason } from "../model.ts";
import { withoutDefaults } from "../tables/action-bodies.ts";
import { packetInReasons, reservedPorts } from "../tables/numbers.ts";
import { fieldByName } from "../tables/fields.ts";
import type { FieldName } from "../tables/fields.ts";
import { ALGS } from "./format-actions.ts";
import { isNumber, parseInteger, parseItem, parseItems, parseNumber, splitArrow, splitItems } from "./syntax.ts";
import type { Item } from "./syntax.ts";
import { fieldOfText, isPort, parsePort, parseSlice, parseValue } from "./values.ts";

/** Nested parentheses deeper than this are no flow. */
const MAX_DEPTH = 16;

type ActionParser = (value: string, item: Item, depth: number) => Action;

function setField(field: FieldName, value: bigint): Action {
  return { type: "set_field", field, value };
}

/** By the word before the colon or parenthesis. */
const parsers: Readonly<Record<string, ActionParser>> = {
  output: (value) => parseOutput(value),
  group: (value) => ({ type: "group", group: parseInteger(value, 32, "group") }),
  meter: (value) => ({ type: "meter", meter: parseInteger(value, 32, "meter") }),
  set_field: (value) => parseSetField(value),
  load: (value) => parseLoad(value),
  move: (value) => {
    const [src, dst] = splitArrow(value, "move").map(parseSlice) as [FieldSlice, FieldSlice];
    if (src.bits !== dst.bits) throw new OpenFlowTextError(`move: ${src.bits} bits into ${dst.bits}`);
    return { type: "move", src, dst };
  },
  push_vlan: (value) => ({ type: "push_vlan", ethertype: parseInteger(value, 16, "push_vlan") }),
  pop_vlan: () => ({ type: "pop_vlan" }),
  strip_vlan: () => ({ type: "pop_vlan" }),
  dec_ttl: () => ({ type: "dec_ttl" }),
  set_queue: (value) => ({ type: "set_queue", queue: parseInteger(value, 32, "set_queue") }),
  set_tunnel: (value) => setField("tunnel_id", parseNumber(value, 64, "set_tunnel")),
  set_tunnel64: (value) => setField("tunnel_id", parseNumber(value, 64, "set_tunnel64")),
  mod_dl_src: (value) => setField("eth_src", parseMacNumber(value)),
  mod_dl_dst: (value) => setField("eth_dst", parseMacNumber(value)),
  mod_nw_src: (value) => setField("ip_src", parseIpv4Number(value)),
  mod_nw_dst: (value) => setField("ip_dst", parseIpv4Number(value)),
  resubmit: (value, item) => parseResubmit(value, item),
  controller: (value, item) => parseController(value, item),
  ct: (value, _item, depth) => parseCt(value, depth),
  nat: (value) => parseNat(value),
  ct_clear: () => ({ type: "ct_clear" }),
  check_pkt_larger: (value) => {
    const [length, target] = splitArrow(value, "check_pkt_larger");
    const dst = parseSlice(target);
    if (dst.bits !== 1) throw new OpenFlowTextError(`check_pkt_larger writes 1 bit, not ${dst.bits} of ${dst.field}`);
    return { type: "check_pkt_larger", length: parseInteger(length, 16, "check_pkt_larger"), dst };
  },
  conjunction: (value) => {
    const parts = /^(\w+),\s*(\d+)\/(\d+)$/.exec(value);
    if (parts === null) throw new OpenFlowTextError(`conjunction(${value}) is not conjunction(id,clause/clauses)`);
    const id = parseInteger(parts[1]!, 32, "conjunction");
    return { type: "conjunction", id, clause: Number(parts[2]), clauses: Number(parts[3]) };
  },
  note: (value) => ({ type: "note", bytes: parseHexBytes(value, "note") }),
  delete_field: (value) => ({ type: "delete_field", field: parseSlice(value).field }),
  push: (value) => ({ type: "stack_push", src: parseSlice(value) }),
  pop: (value) => ({ type: "stack_pop", dst: parseSlice(value) }),
  clone: (value, _item, depth) => ({ type: "clone", actions: parseList(value, depth + 1) }),
  learn: (value) => ({ type: "learn", learn: parseLearn(value) }),
};

/**
 * Reads actions such as `load:5->NXM_NX_REG0[0..7],resubmit(,4)`; `drop` and nothing are no actions.
 * @throws OpenFlowTextError naming the action.
 */
export function parseActions(text: string): readonly Action[] {
  return parseList(text, 0);
}

function parseList(text: string, depth: number): readonly Action[] {
  if (depth > MAX_DEPTH) throw new OpenFlowTextError(`actions nest deeper than ${MAX_DEPTH}`);
  return splitItems(text)
    .filter((part) => part !== "drop")
    .map((part) => parseAction(part, depth));
}

function parseAction(text: string, depth: number): Action {
  const item = parseItem(text);
  const key = item.key.toLowerCase();
  const parser = Object.hasOwn(parsers, key) ? parsers[key] : undefined;
  if (parser !== undefined) return parser(item.value, item, depth);
  if (item.sign === "" && isPort(item.key)) return { type: "output", port: parsePort(item.key) };
  throw new OpenFlowTextError(`${JSON.stringify(text)} is no action`);
}

/** Reads what stands behind `actions=`: actions, and the instructions that ovs-ofctl mixes with them. */
export function parseInstructions(text: string): readonly Instruction[] {
  const applied: Action[] = [];
  const others: Instruction[] = [];
  for (const part of splitItems(text)) {
    if (part === "drop") continue;
    const item = parseItem(part);
    switch (item.key) {
      case "goto_table":
        others.push({ type: "goto_table", table: parseInteger(item.value, 8, item.key) });
        break;
      case "clear_actions":
        others.push({ type: "clear_actions" });
        break;
      case "write_actions":
        others.push({ type: "write_actions", actions: parseActions(item.value) });
        break;
      case "write_metadata": {
        const [value, mask] = item.value.split("/", 2) as [string, string?];
        others.push({
          type: "write_metadata",
          value: parseNumber(value, 64, item.key),
          mask: mask === undefined ? 0xffff_ffff_ffff_ffffn : parseNumber(mask, 64, item.key),
        });
        break;
      }
      case "apply_actions":
        applied.push(...parseActions(item.value));
        break;
      default:
        applied.push(parseAction(part, 0));
    }
  }
  return applied.length === 0 ? others : [{ type: "apply_actions", actions: applied }, ...others];
}

function parseOutput(value: string): Action {
  if (isPort(value)) return { type: "output", port: parsePort(value) };
  return { type: "output_reg", src: parseSlice(value) };
}

function parseSetField(text: string): Action {
  const [source, name] = splitArrow(text, "set_field");
  const field = fieldOfText(name);
  if (!field.writable) throw new OpenFlowTextError(`set_field: no action may write ${field.name}`);
  const { value, mask } = parseValue(field, source);
  return mask === undefined
    ? { type: "set_field", field: field.name, value }
    : { type: "set_field", field: field.name, value, mask };
}

function parseLoad(text: string): Action {
  const [source, target] = splitArrow(text, "load");
  const dst = parseSlice(target);
  if (!fieldByName(dst.field).writable) throw new OpenFlowTextError(`load: no action may write ${dst.field}`);
  return { type: "load", dst, value: parseNumber(source, dst.bits, "load") };
}

function parseMacNumber(text: string): bigint {
  if (!isMac(text)) throw new OpenFlowTextError(`${JSON.stringify(text)} is not a MAC address`);
  return macToBigInt(text);
}

function parseIpv4Number(text: string): bigint {
  if (!isIp(text) || ipFamily(parseIp(text)) !== 4) {
    throw new OpenFlowTextError(`${JSON.stringify(text)} is not an IPv4 address`);
  }
  return ipToBigInt(text);
}

function parseResubmit(value: string, item: Item): Action {
  if (item.sign === ":") return { type: "resubmit", port: parsePort(value) };
  const [port = "", table = "", ct] = value.split(",").map((part) => part.trim());
  if (ct !== undefined && ct !== "ct") throw new OpenFlowTextError(`resubmit: ${JSON.stringify(ct)} is not "ct"`);
  return {
    type: "resubmit",
    ...(port === "" ? {} : { port: parsePort(port) }),
    ...(table === "" ? {} : { table: parseInteger(table, 8, "resubmit") }),
    ...(ct === undefined ? {} : { ct: true }),
  };
}

function parseController(value: string, item: Item): Action {
  if (item.sign === "") return outputToController(0xffff);
  if (item.sign === ":" || isNumber(value)) return outputToController(parseInteger(value, 16, "controller"));
  let action: Extract<Action, { type: "controller" }> = { type: "controller" };
  for (const option of parseItems(value)) {
    const what = `controller: ${option.key}`;
    switch (option.key) {
      case "reason":
        action = { ...action, reason: parseReason(option.value) };
        break;
      case "max_len":
        action = { ...action, maxLen: parseInteger(option.value, 16, what) };
        break;
      case "id":
        action = { ...action, controllerId: parseInteger(option.value, 16, what) };
        break;
      case "userdata":
        action = { ...action, userdata: parseHexBytes(option.value, what) };
        break;
      case "pause":
        action = { ...action, pause: true };
        break;
      case "meter_id":
        action = { ...action, meterId: parseInteger(option.value, 32, what) };
        break;
      default:
        throw new OpenFlowTextError(`${what}: no such option`);
    }
  }
  // With a length and nothing else it is the plain output, to the tool as here.
  const { type, maxLen, ...options } = withoutDefaults(action);
  return type === "controller" && Object.keys(options).length === 0 ? outputToController(maxLen ?? 0xffff) : action;
}

function outputToController(maxLen: number): Action {
  const port = reservedPorts.CONTROLLER;
  return maxLen === 0xffff ? { type: "output", port } : { type: "output", port, maxLen };
}

function parseReason(text: string): PacketInReason {
  const named = packetInReasons.find((reason) => reason === text);
  return named ?? { unknown: parseInteger(text, 8, "controller: reason") };
}

function parseHexBytes(text: string, what: string): Uint8Array {
  const digits = text.replaceAll(".", "");
  if (digits.length % 2 !== 0 || !/^[0-9a-f]*$/i.test(digits)) {
    throw new OpenFlowTextError(`${what}: ${JSON.stringify(text)} is not pairs of hex digits`);
  }
  return Uint8Array.from(Buffer.from(digits, "hex"));
}

function parseCt(text: string, depth: number): Action {
  let action: Extract<Action, { type: "ct" }> = { type: "ct" };
  const nested: Action[] = [];
  for (const option of parseItems(text)) {
    switch (option.key) {
      case "commit":
        action = { ...action, commit: true };
        break;
      case "force":
        action = { ...action, force: true };
        break;
      case "table":
        action = { ...action, table: parseInteger(option.value, 8, "ct: table") };
        break;
      case "zone": {
        const zone = isNumber(option.value) ? parseInteger(option.value, 16, "ct: zone") : parseSlice(option.value);
        if (zone !== 0) action = { ...action, zone };
        break;
      }
      case "alg":
        action = { ...action, alg: ALGS[option.value] ?? parseInteger(option.value, 16, "ct: alg") };
        break;
      case "nat":
        nested.push(parseNat(option.value));
        break;
      case "exec":
        nested.push(...parseList(option.value, depth + 1));
        break;
      default:
        throw new OpenFlowTextError(`ct: ${JSON.stringify(option.text)} is no option`);
    }
  }
  return nested.length === 0 ? action : { ...action, actions: nested };
}

/** `src=10.0.0.1-10.0.0.9:1024-2048,random`, `dst=[fd00::1]:80`, or nothing. */
function parseNat(text: string): Action {
  let action: Extract<Action, { type: "nat" }> = { type: "nat" };
  for (const option of parseItems(text)) {
    switch (option.key) {
      case "src":
      case "dst":
        action = { ...action, direction: option.key, ...(option.value === "" ? {} : parseNatRange(option.value)) };
        break;
      case "persistent":
        action = { ...action, persistent: true };
        break;
      case "hash":
        action = { ...action, hash: true };
        break;
      case "random":
        action = { ...action, random: true };
        break;
      default:
        throw new OpenFlowTextError(`nat: ${JSON.stringify(option.text)} is no option`);
    }
  }
  return action;
}

const NAT_RANGE =
  /^(?:(?<a>\[[0-9a-fA-F:.]+\]|[0-9.]+|[0-9a-fA-F:.]+?)(?:-(?<b>\[[0-9a-fA-F:.]+\]|[0-9.]+|[0-9a-fA-F:.]+?))?)?(?::(?<c>\d{1,5})(?:-(?<d>\d{1,5}))?)?$/;

function parseNatRange(text: string): Pick<Extract<Action, { type: "nat" }>, "ipv4" | "ipv6" | "ports"> {
  // An IPv6 address without brackets is the whole value: its last group is no port.
  const [first, last] = text.split("-", 2) as [string, string?];
  const bare = isIp(first) && (last === undefined || isIp(last));
  const groups = bare ? { a: first, b: last } : NAT_RANGE.exec(text)?.groups;
  if (groups === undefined)
    throw new OpenFlowTextError(`nat: ${JSON.stringify(text)} is not address[-address][:port[-port]]`);
  const address = (part: string): string => {
    const ip = part.replaceAll(/[[\]]/g, "");
    if (!isIp(ip)) throw new OpenFlowTextError(`nat: ${JSON.stringify(part)} is not an IP address`);
    return parseIp(ip);
  };
  const { a, b } = groups as { a?: string; b?: string };
  const { c, d } = groups as { c?: string; d?: string };
  const out: { ipv4?: NatRange<bigint>; ipv6?: NatRange<bigint>; ports?: NatRange<number> } = {};
  if (a !== undefined) {
    const min = address(a);
    const range = { min: ipToBigInt(min), ...(b === undefined ? {} : { max: ipToBigInt(address(b)) }) };
    if (ipFamily(min) === 4) out.ipv4 = range;
    else out.ipv6 = range;
  }
  if (c !== undefined) {
    const min = parseInteger(c, 16, "nat: port");
    out.ports = d === undefined ? { min } : { min, max: parseInteger(d, 16, "nat: port") };
  }
  return out;
}

/** Options of `learn` that are numbers: their place in the specification and their width. */
const LEARN_NUMBERS: Readonly<Record<string, readonly [keyof LearnSpec, number]>> = {
  table: ["table", 8],
  idle_timeout: ["idleTimeout", 16],
  hard_timeout: ["hardTimeout", 16],
  fin_idle_timeout: ["finIdleTimeout", 16],
  fin_hard_timeout: ["finHardTimeout", 16],
  priority: ["priority", 16],
};

function parseLearn(text: string): LearnSpec {
  const out: Record<string, unknown> = { table: 1 };
  const specs: LearnSpec["specs"][number][] = [];
  let flags = 0;
  for (const item of parseItems(text)) {
    const known = Object.hasOwn(LEARN_NUMBERS, item.key) ? LEARN_NUMBERS[item.key] : undefined;
    if (known !== undefined && item.sign === "=") {
      out[known[0]] = parseInteger(item.value, known[1], `learn: ${item.key}`);
    } else if (item.key === "cookie") out["cookie"] = parseNumber(item.value, 64, "learn: cookie");
    else if (item.text === "send_flow_rem") flags |= 1;
    else if (item.text === "delete_learned") flags |= 2;
    else specs.push(parseLearnSpec(item));
  }
  if (flags !== 0) out["flags"] = flags;
  return { ...(out as unknown as LearnSpec), specs };
}

function parseLearnSpec(item: Item): LearnSpec["specs"][number] {
  if (item.key === "output" && item.sign === ":") return { kind: "output", src: parseSlice(item.value) };
  if (item.key === "load" && item.sign === ":") {
    const [source, target] = splitArrow(item.value, "learn: load");
    const dst = parseSlice(target);
    if (isNumber(source)) return { kind: "load", src: parseNumber(source, dst.bits, "learn: load"), dst };
    return { kind: "load", src: parseSlice(source), dst };
  }
  const dst = parseSlice(item.key);
  if (item.sign === "") return { kind: "match", src: dst, dst };
  if (/^[A-Za-z_][A-Za-z0-9_]*(?:\[.*\])?$/.test(item.value))
    return { kind: "match", src: parseSlice(item.value), dst };
  const field = fieldByName(dst.field);
  const whole = dst.offset === 0 && dst.bits === field.bits;
  const src = whole ? parseValue(field, item.value).value : parseNumber(item.value, dst.bits, "learn");
  return { kind: "match", src, dst };
}

/** Whole flows made of the samples: every field matched and set, every action, every instruction. */
import { fields } from "../src/index.ts";
import type { Action, Field, Flow, Instruction, Match } from "../src/index.ts";
import { ipv4, ipv6, prerequisites, sampleActions, sampleMask, sampleValue, tracked } from "./samples.ts";

export interface NamedFlow {
  readonly name: string;
  readonly flow: Flow;
}

/** Fields that a switch takes but reports under another name, or that only it may write. */
const reportedOtherwise = new Set(["in_port_nxm", "vlan_tci", "nw_tos", "recirc_id", "dp_hash", "packet_type"]);

/** Options of tunnels that the tests map. */
export const mappedOptions = 32;

function isUsable(field: Field): boolean {
  if (reportedOtherwise.has(field.name)) return false;
  return field.variable !== true || Number(field.name.slice("tun_metadata".length)) < mappedOptions;
}

export function flowOf(match: Match, actions: readonly Action[], instructions: readonly Instruction[] = []): Flow {
  return {
    table: 3,
    priority: 1000,
    cookie: 0xbf01_0203_0405_0607n,
    match,
    instructions: [...(actions.length === 0 ? [] : [{ type: "apply_actions" as const, actions }]), ...instructions],
  };
}

export const tcp: Match = [ipv4, { field: "ip_proto", value: 6n }];
const tagged = { field: "vlan_vid", value: 0x1000n, mask: 0x1000n } as const;

function* matchingFlows(): Generator<NamedFlow> {
  for (const field of fields.filter(isUsable)) {
    const others = prerequisites(field).filter((other) => other.field !== field.name);
    const value = sampleValue(field);
    // An option of a tunnel is reported without mask only when its whole mapped length was matched.
    if (field.variable !== true) {
      yield { name: `match ${field.name}`, flow: flowOf([...others, { field: field.name, value }], []) };
    }
    if (!field.maskable) continue;
    const mask = sampleMask(field);
    const entry = { field: field.name, value: value & mask, mask };
    yield { name: `match part of ${field.name}`, flow: flowOf([...others, entry], [{ type: "output", port: 2 }]) };
  }
}

function* settingFlows(): Generator<NamedFlow> {
  for (const field of fields.filter((candidate) => candidate.writable && isUsable(candidate))) {
    const needed = prerequisites(field).filter((other) => other.field !== field.name);
    const match = field.name === "vlan_vid" ? [tagged] : field.name.startsWith("ct_") ? [ipv4] : needed;
    // What conntrack holds is written in the action that commits.
    const wrap = (action: Action): Action =>
      field.name.startsWith("ct_") ? { type: "ct", commit: true, actions: [action] } : action;
    const value = sampleValue(field);
    const whole = wrap({ type: "set_field", field: field.name, value });
    yield { name: `set ${field.name}`, flow: flowOf(match, [whole]) };
    if (!field.maskable || field.variable === true) continue;
    const mask = sampleMask(field);
    const part = wrap({ type: "set_field", field: field.name, value: value & mask, mask });
    yield { name: `set part of ${field.name}`, flow: flowOf(match, [part]) };
  }
  // The short form is the only one that may be set.
  yield { name: "set in_port", flow: flowOf([], [{ type: "set_field", field: "in_port_nxm", value: 0n }]) };
}

function matchFor(action: Action): Match {
  if (action.type === "pop_vlan") return [tagged];
  return action.type === "resubmit" && action.ct === true ? [...tcp, tracked] : tcp;
}

function* actingFlows(): Generator<NamedFlow> {
  for (const [name, action] of sampleActions) yield { name, flow: flowOf(matchFor(action), [action]) };
  const conjunction: Action = { type: "conjunction", id: 77, clause: 2, clauses: 3 };
  yield { name: "conjunction", flow: flowOf(tcp, [conjunction]) };
  yield {
    name: "two conjunctions",
    flow: flowOf(tcp, [conjunction, { ...conjunction, id: 78, clause: 1, clauses: 2 }]),
  };
  const subnet = 0xfd00n << 112n;
  for (const [name, nat] of [
    ["nat to IPv6", { direction: "dst", ipv6: { min: subnet + 1n } }],
    [
      "nat to IPv6 and ports",
      { direction: "dst", ipv6: { min: subnet, max: subnet | 0xffn }, ports: { min: 80, max: 90 } },
    ],
  ] as const) {
    yield { name, flow: flowOf([ipv6], [{ type: "ct", commit: true, actions: [{ type: "nat", ...nat }] }]) };
  }
  yield { name: "delete an option", flow: flowOf([], [{ type: "delete_field", field: "tun_metadata3" }]) };
  yield {
    name: "several at once",
    flow: flowOf(
      [
        { field: "in_port", value: 1n },
        { field: "reg0", value: 1n },
        { field: "reg1", value: 0n, mask: 0xffn },
        ...tcp,
      ],
      sampleActions
        .filter(([, { type }]) => type === "set_field" || type === "move" || type === "output")
        .map(([, a]) => a),
    ),
  };
}

function* wholeFlows(): Generator<NamedFlow> {
  const flow = flowOf(
    tcp,
    [{ type: "output", port: 1 }],
    [
      { type: "clear_actions" },
      { type: "write_actions", actions: [{ type: "output", port: 2 }] },
      { type: "write_metadata", value: 0x12n, mask: 0xffn },
      { type: "goto_table", table: 9 },
    ],
  );
  yield { name: "instructions", flow };
  yield { name: "timeouts", flow: { ...flow, idleTimeout: 60, hardTimeout: 3600 } };
  yield { name: "flags", flow: { ...flow, flags: ["send_flow_rem", "no_pkt_counts", "no_byt_counts"] } };
  yield {
    name: "metadata written whole",
    flow: flowOf([], [], [{ type: "write_metadata", value: 5n, mask: (1n << 64n) - 1n }]),
  };
  yield { name: "nothing", flow: { table: 0, priority: 0x8000, cookie: 0n, match: [], instructions: [] } };
}

/** All of them, each named. */
export const sampleFlows: readonly NamedFlow[] = [
  ...matchingFlows(),
  ...settingFlows(),
  ...actingFlows(),
  ...wholeFlows(),
];

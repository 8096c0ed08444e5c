/**
 * The pipeline of `br-int` as data: which tables there are, what entries in them may match, which fields they may set
 * and where they may send a packet. Every entry is checked against its table's declaration when it is built
 * ({@link defineFlow}), and `docs/pipeline.md` is generated from the same declarations.
 */
import type { Action, FieldName, Flow, Instruction, Match } from "@beyondfabric/openflow";
import { DatapathError } from "./errors.ts";

export interface TableDeclaration {
  readonly id: number;
  /** One sentence for `docs/pipeline.md`: what is decided here. */
  readonly purpose: string;
  /** When its entries come and go. */
  readonly lifetime: "constant" | "per pod" | "on demand";
  readonly matches: readonly FieldName[];
  /** Fields that actions of this table may write. */
  readonly sets: readonly FieldName[];
  readonly next: readonly TableName[];
  /** Whether its actions may put a packet out of a port. */
  readonly outputs: boolean;
  /** What befalls a packet that no entry takes. */
  readonly miss: string;
}

export type TableName =
  | "classify"
  | "spoof-guard"
  | "spoofed"
  | "arp-nd"
  | "nd-reply"
  | "bridge"
  | "track"
  | "known"
  | "label"
  | "dispatch"
  | "egress"
  | "ingress"
  | "commit"
  | "fit"
  | "too-large"
  | "forward"
  | "deliver";

const addressMatches = ["eth_type", "ip_src", "ip_dst", "ipv6_src", "ipv6_dst"] as const;

/** Fields that a miss or a verdict loads, in either of the two tables where verdicts are found. */
const verdictSets = ["reg2", "reg3", "reg4", "reg5", "reg6", "reg7", "reg9", "pkt_mark"] as const;

/** What tells entries about tracked packets from the others, and one connection from another. */
const trackingMatches = [
  "reg8",
  "ct_state",
  "ct_nw_proto",
  "ct_tp_dst",
  "ip_frag",
  "ip_proto",
  "sctp_src",
  "sctp_dst",
] as const;

export const tables: Readonly<Record<TableName, TableDeclaration>> = {
  classify: {
    id: 0,
    purpose:
      "Tells by the port where a packet comes from: a pod, the tunnel, a wire or the node itself. Only tunnel packets of a known network identifier enter, and of a wire only the VLANs of subnets, without their tag.",
    lifetime: "constant",
    matches: [
      "in_port",
      "vlan_vid",
      "eth_type",
      "tunnel_id",
      "ip_dst",
      "ipv6_dst",
      "ip_proto",
      "icmpv6_type",
      "icmpv6_code",
      "nd_target",
    ],
    sets: ["reg0", "reg1", "vlan_vid"],
    next: ["spoof-guard", "arp-nd", "bridge", "track"],
    outputs: false,
    miss: "dropped",
  },
  "spoof-guard": {
    id: 10,
    purpose:
      "Passes only what a pod says in its own name: its MAC, its addresses, in IP, ARP and neighbour discovery. A pod is no router and no DHCP server, and has no VLANs to choose from.",
    lifetime: "per pod",
    matches: [
      "in_port",
      "vlan_vid",
      "eth_src",
      "eth_type",
      "ip_src",
      "ip_dst",
      "ipv6_src",
      "ipv6_dst",
      "ip_proto",
      "udp_src",
      "udp_dst",
      "icmpv6_type",
      "icmpv6_code",
      "arp_op",
      "arp_spa",
      "arp_tpa",
      "arp_sha",
      "nd_target",
      "nd_sll",
      "nd_tll",
    ],
    sets: ["reg1"],
    next: ["spoofed", "arp-nd", "bridge", "track"],
    outputs: false,
    miss: "dropped",
  },
  spoofed: {
    id: 12,
    purpose:
      "Counts what a pod said under a false name and drops it. The agent is shown as much as a meter lets through: it tells what was false.",
    lifetime: "per pod",
    matches: ["in_port"],
    sets: ["pkt_mark"],
    next: [],
    outputs: false,
    miss: "dropped (a port that is no pod's)",
  },
  "arp-nd": {
    id: 20,
    purpose:
      "Answers ARP and neighbour solicitations for the gateways of overlays, and for the node's own addresses on a wire, in the switch, with the router's MAC.",
    lifetime: "constant",
    matches: ["reg1", "eth_type", "arp_op", "arp_tpa", "ip_proto", "icmpv6_type", "icmpv6_code", "nd_target"],
    sets: [
      "eth_dst",
      "eth_src",
      "arp_op",
      "arp_tha",
      "arp_tpa",
      "arp_sha",
      "arp_spa",
      "ipv6_src",
      "ipv6_dst",
      "icmpv6_type",
    ],
    next: ["nd-reply", "bridge"],
    outputs: true,
    miss: "dropped: nobody else's address is answered for, and nothing is flooded",
  },
  "nd-reply": {
    id: 21,
    purpose:
      "Completes a neighbour advertisement: the option can be rewritten only once the packet has become an advertisement.",
    lifetime: "constant",
    matches: ["eth_type", "ip_proto", "icmpv6_type", "icmpv6_code"],
    sets: ["nd_reserved", "nd_options_type", "nd_tll"],
    next: [],
    outputs: true,
    miss: "dropped",
  },
  bridge: {
    id: 25,
    purpose:
      "Carries ARP and neighbour discovery between the pods of a physical network and their wire. What is asked about a pod of this node reaches that pod alone; what pods ask goes to the wire. Nothing is learned, nothing flooded but what the gateway says to all.",
    lifetime: "per pod",
    matches: [
      "in_port",
      "reg0",
      "reg1",
      "eth_dst",
      "eth_type",
      "arp_op",
      "arp_spa",
      "arp_tpa",
      "ip_proto",
      "icmpv6_type",
      "icmpv6_code",
      "nd_target",
    ],
    sets: ["vlan_vid"],
    next: [],
    outputs: true,
    miss: "dropped: nobody here is meant",
  },
  track: {
    id: 40,
    purpose:
      "Sends what an isolated pod of this node says or hears through conntrack, in the zone of policies. What concerns no isolated pod goes on without.",
    lifetime: "per pod",
    matches: [...addressMatches],
    sets: ["pkt_mark"],
    next: ["known", "dispatch"],
    outputs: false,
    miss: "dropped",
  },
  known: {
    id: 42,
    purpose:
      "Says what conntrack knows of a tracked packet: a connection passes by the label of the verdict that let it in, for as long as that verdict holds. First packets are judged by the pair's entries, and what is neither by the agent. SCTP whose ports conntrack does not tell (the userspace datapath) is judged by the entries of its association.",
    lifetime: "on demand",
    matches: ["ct_state", "ct_label", "ct_nw_proto", "ct_tp_dst", "eth_type", "ip_proto", "ip_frag", "tcp_flags"],
    sets: ["reg8"],
    next: ["label", "dispatch"],
    outputs: false,
    miss: "dropped",
  },
  label: {
    id: 43,
    purpose:
      "Tells first packets under which verdict's label their connection is remembered, should one of the pair's openings let them pass.",
    lifetime: "on demand",
    matches: ["reg0", "reg1", "tun_src", ...addressMatches],
    sets: ["reg6", "reg7", "pkt_mark"],
    next: ["dispatch"],
    outputs: false,
    miss: "dropped",
  },
  dispatch: {
    id: 44,
    purpose: "To the verdicts about what arrives from elsewhere, or about what pods and the node itself send.",
    lifetime: "constant",
    matches: ["reg0"],
    sets: [],
    next: ["egress", "ingress"],
    outputs: false,
    miss: "dropped",
  },
  egress: {
    id: 50,
    purpose:
      "What the pods of this node, and the node itself, send: the verdict about the pair and the way to the destination. A packet without an entry pauses here while the agent decides.",
    lifetime: "on demand",
    matches: ["in_port", "reg0", "reg9", ...trackingMatches, ...addressMatches],
    sets: verdictSets,
    next: ["commit", "fit", "forward"],
    outputs: false,
    miss: "dropped (a port that is no pod's)",
  },
  ingress: {
    id: 60,
    purpose:
      "What comes out of a tunnel or in from a wire: a tunnel packet passes only from the node that owns the source address, a packet of a wire only to a pod that lives on it. A packet without an entry pauses here while the agent decides.",
    lifetime: "on demand",
    matches: ["in_port", "reg0", "reg1", "reg9", "tun_src", ...trackingMatches, ...addressMatches],
    sets: verdictSets,
    next: ["commit", "fit", "forward"],
    outputs: false,
    miss: "dropped",
  },
  commit: {
    id: 63,
    purpose:
      "Remembers the connection of a first packet that an opening let pass, and of any packet that the agent did, under the label of its verdict.",
    lifetime: "constant",
    matches: ["eth_type", "reg7"],
    sets: ["ct_label"],
    next: ["fit"],
    outputs: false,
    miss: "dropped",
  },
  fit: {
    id: 65,
    purpose:
      "Measures what a pod of a physical network sends to a pod of an overlay, whose packets are smaller; first packets pass here too.",
    lifetime: "constant",
    matches: ["reg4"],
    sets: ["reg9"],
    next: ["too-large", "forward"],
    outputs: false,
    miss: "dropped",
  },
  "too-large": {
    id: 66,
    purpose:
      "What does not fit goes to the agent, which answers with fragmentation needed (IPv4) or packet too big (IPv6); a meter bounds how much.",
    lifetime: "constant",
    matches: ["reg9"],
    sets: [],
    next: ["forward"],
    outputs: false,
    miss: "dropped",
  },
  forward: {
    id: 70,
    purpose:
      "Obeys the verdict register, whether an entry or the agent wrote it: to a pod of this node, into the tunnel, onto a wire, to the node itself, or nowhere.",
    lifetime: "constant",
    matches: ["reg0", "reg3", "reg5"],
    sets: ["tun_dst", "tunnel_id", "eth_src", "eth_dst", "vlan_vid"],
    next: ["deliver"],
    outputs: true,
    miss: "dropped: a verdict that is unset lets nothing pass",
  },
  deliver: {
    id: 80,
    purpose: "Hands the packet to the pod that owns the address, with the pod's MAC.",
    lifetime: "per pod",
    matches: ["eth_type", "ip_dst", "ipv6_dst"],
    sets: ["eth_src", "eth_dst"],
    next: [],
    outputs: true,
    miss: "dropped: the pod has gone",
  },
};

const nameById = new Map<number, TableName>(
  (Object.keys(tables) as TableName[]).map((name) => [tables[name].id, name]),
);

/** The declared name of a table number, or undefined for a table that is not ours. */
export function tableName(id: number): TableName | undefined {
  return nameById.get(id);
}

export interface FlowDefinition {
  readonly table: TableName;
  readonly priority: number;
  readonly cookie: bigint;
  readonly match: Match;
  readonly actions: readonly Action[];
  readonly goto?: TableName;
}

/**
 * Builds one entry and holds it against its table's declaration.
 * @throws DatapathError `DATAPATH_UNDECLARED` when it matches, sets, outputs or goes to what the table does not declare:
 *   always a programming error, found before the switch sees it.
 */
export function defineFlow(definition: FlowDefinition): Flow {
  const declaration = tables[definition.table];
  for (const field of definition.match) {
    if (field.field === "unknown" || !declaration.matches.includes(field.field)) {
      throw undeclared(definition, `matches ${field.field}`);
    }
  }
  checkActions(definition, declaration, definition.actions);
  if (definition.goto !== undefined && !declaration.next.includes(definition.goto)) {
    throw undeclared(definition, `goes to ${definition.goto}`);
  }
  const instructions: Instruction[] = [];
  if (definition.actions.length > 0) instructions.push({ type: "apply_actions", actions: definition.actions });
  if (definition.goto !== undefined) instructions.push({ type: "goto_table", table: tables[definition.goto].id });
  return {
    table: declaration.id,
    priority: definition.priority,
    cookie: definition.cookie,
    match: definition.match,
    instructions,
  };
}

function checkActions(definition: FlowDefinition, declaration: TableDeclaration, actions: readonly Action[]): void {
  for (const action of actions) {
    switch (action.type) {
      case "set_field":
        requireSet(definition, declaration, action.field);
        break;
      case "load":
      case "move":
        requireSet(definition, declaration, action.dst.field);
        break;
      case "output":
      case "output_reg":
        if (!declaration.outputs) throw undeclared(definition, "puts packets out");
        break;
      case "resubmit": {
        requireNext(definition, declaration, action.table);
        break;
      }
      case "ct": {
        if (action.table !== undefined) requireNext(definition, declaration, action.table);
        checkActions(definition, declaration, action.actions ?? []);
        break;
      }
      case "push_vlan":
      case "pop_vlan":
        requireSet(definition, declaration, "vlan_vid");
        break;
      case "check_pkt_larger":
        requireSet(definition, declaration, action.dst.field);
        break;
      case "controller":
      case "meter":
        break;
      default:
        throw undeclared(definition, `uses action ${action.type}`);
    }
  }
}

function requireNext(definition: FlowDefinition, declaration: TableDeclaration, table: number | undefined): void {
  const next = table === undefined ? undefined : tableName(table);
  if (next === undefined || !declaration.next.includes(next)) throw undeclared(definition, `sends to table ${table}`);
}

function requireSet(definition: FlowDefinition, declaration: TableDeclaration, field: FieldName): void {
  if (!declaration.sets.includes(field)) throw undeclared(definition, `sets ${field}`);
}

function undeclared(definition: FlowDefinition, what: string): DatapathError {
  return new DatapathError(
    "DATAPATH_UNDECLARED",
    `entry of table ${definition.table}, priority ${definition.priority}, ${what}, which the table does not declare; declare it in pipeline.ts or mend the entry`,
  );
}

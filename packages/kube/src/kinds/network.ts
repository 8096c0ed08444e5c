/** Network: what carries packets between nodes, either tunnels of ours (Overlay) or the wire itself (Underlay). */
import { z } from "zod";
import { bySeniority, celRules, conditionsSchema, defineKind, immutable, parseObject } from "./kind.ts";
import type { Identity, Offend, Parsed, Violation } from "./kind.ts";
import { ruled } from "./rules.ts";

const interfaceSchema = z.object({
  nodeSelector: ruled(
    z
      .record(z.string().max(316), z.string().max(63))
      .describe(
        "Labels that a node must carry for this entry to hold on it. Absent: every node that no earlier entry names.",
      ),
    "must map labels to values",
    "write for example {rack: a}",
  ).optional(),
  name: ruled(
    z
      .string()
      .max(15)
      .regex(/^[^\s/:]{1,15}$/)
      .describe("Name of the NIC on the node."),
    "must be an interface name: 1 to 15 characters, no space, '/' or ':'",
    "write a name that `ip link` shows on the node",
  ),
});

const specSchema = ruled(
  celRules(
    z.object({
      type: ruled(
        z
          .enum(["Overlay", "Underlay"])
          .describe("Overlay: packets travel in tunnels. Underlay: pods are hosts on the physical network."),
        "must be Overlay or Underlay",
        "write Overlay for tunnels, Underlay for the physical network",
      ),
      encapsulation: ruled(
        z.enum(["VXLAN", "Geneve", "GRE"]).describe("Tunnel protocol of an Overlay. Default VXLAN."),
        "must be VXLAN, Geneve or GRE",
        "drop the field for VXLAN",
      ).optional(),
      port: ruled(
        z.int().min(1).max(65535).describe("UDP port of the tunnels. Default 4789 for VXLAN, 6081 for Geneve."),
        "must be a port, from 1 to 65535",
        "drop the field for the protocol's own port",
      ).optional(),
      vni: ruled(
        z.int().min(1).max(16777215).describe("Network identifier in the tunnel header. Default 1."),
        "must be from 1 to 16777215 (24 bits)",
        "drop the field for 1",
      ).optional(),
      mtu: ruled(
        z.int().min(1280).max(65535).describe("MTU of the pods. Default: the link's MTU less what the tunnel adds."),
        "must be from 1280 (the least that IPv6 allows) to 65535",
        "drop the field to derive it from the link",
      ).optional(),
      interfaces: ruled(
        z
          .array(interfaceSchema)
          .max(256)
          .describe("The NIC that carries this network, per node; the first entry that fits a node holds."),
        "must be a list of at most 256 entries of {nodeSelector, name}",
        "write for example [{name: eth1}]",
      ).default([]),
      allowNodeInterface: ruled(
        z
          .boolean()
          .describe(
            "An Underlay may take a NIC that carries addresses of the node itself: they move to the NIC's bridge, and come back when the network goes. Default false.",
          ),
        "must be true or false",
        "write it without quotes",
      ).optional(),
    }),
    ...immutable("type", "encapsulation", "port", "vni"),
    {
      rule: "self.type == 'Overlay' || !has(self.encapsulation) && !has(self.port) && !has(self.vni)",
      message: "encapsulation, port and vni belong to an Overlay",
      since: "1.25",
    },
    {
      rule: "self.type == 'Underlay' || !has(self.allowNodeInterface)",
      message: "allowNodeInterface belongs to an Underlay",
      since: "1.25",
    },
    {
      rule: "self.type == 'Overlay' || has(self.interfaces) && self.interfaces.size() > 0",
      message: "an Underlay needs interfaces: the NIC that carries it",
      since: "1.25",
    },
    {
      rule: "!has(self.encapsulation) || self.encapsulation != 'GRE' || !has(self.port)",
      message: "GRE has no port",
      since: "1.25",
    },
  ),
  "must be the network's specification",
  "write for example {type: Overlay}",
);

export const networkKind = defineKind({
  plural: "networks",
  kind: "Network",
  shortNames: ["bfnet"],
  description: "What carries packets between nodes: tunnels (Overlay) or the physical network (Underlay).",
  spec: specSchema,
  status: z.object({ conditions: conditionsSchema }),
  rules: [],
  columns: [
    { name: "Type", type: "string", jsonPath: ".spec.type", description: "Overlay or Underlay" },
    { name: "Encapsulation", type: "string", jsonPath: ".spec.encapsulation", description: "Tunnel protocol" },
    { name: "VNI", type: "integer", jsonPath: ".spec.vni", description: "Identifier in the tunnel header" },
    {
      name: "MTU",
      type: "integer",
      jsonPath: ".spec.mtu",
      description: "MTU of the pods, when it is set",
      priority: 1,
    },
    { name: "Age", type: "date", jsonPath: ".metadata.creationTimestamp", description: "Since when it exists" },
  ],
});

/** The NIC for the nodes that carry all these labels. */
export interface NetworkInterface {
  readonly nodeSelector: Readonly<Record<string, string>>;
  readonly name: string;
}

export interface OverlayNetwork extends Identity {
  readonly type: "Overlay";
  readonly encapsulation: "VXLAN" | "Geneve" | "GRE";
  /** UDP port; undefined for GRE, which has none. */
  readonly port: number | undefined;
  readonly vni: number;
  /** Undefined: derive it from the link. */
  readonly mtu: number | undefined;
  readonly interfaces: readonly NetworkInterface[];
}

export interface UnderlayNetwork extends Identity {
  readonly type: "Underlay";
  readonly mtu: number | undefined;
  readonly interfaces: readonly NetworkInterface[];
  /** Whether it may take a NIC that carries addresses of the node itself. */
  readonly allowNodeInterface: boolean;
}

/** A Network with every default filled in. */
export type Network = OverlayNetwork | UnderlayNetwork;

/** UDP ports that IANA assigned (RFC 7348 section 8, RFC 8926 section 7). */
const DEFAULT_PORT = { VXLAN: 4789, Geneve: 6081, GRE: undefined } as const;

/** Reads a Network object; what is wrong with it comes back as violations. */
export function parseNetwork(raw: unknown): Parsed<Network> {
  return parseObject(networkKind, raw, (identity, spec, offend): Network => {
    checkSpec(spec, offend);
    const interfaces = spec.interfaces.map(({ nodeSelector, name }) => ({ nodeSelector: nodeSelector ?? {}, name }));
    if (spec.type === "Underlay") {
      const allowNodeInterface = spec.allowNodeInterface ?? false;
      return { ...identity, type: "Underlay", mtu: spec.mtu, interfaces, allowNodeInterface };
    }
    const encapsulation = spec.encapsulation ?? "VXLAN";
    const port = spec.port ?? DEFAULT_PORT[encapsulation];
    return { ...identity, type: "Overlay", encapsulation, port, vni: spec.vni ?? 1, mtu: spec.mtu, interfaces };
  });
}

/** The violations of one Network, looked at by itself. */
export function validateNetwork(raw: unknown): readonly Violation[] {
  const parsed = parseNetwork(raw);
  return parsed.ok ? [] : parsed.violations;
}

function checkSpec(spec: z.output<typeof specSchema>, offend: Offend): void {
  if (spec.type === "Underlay") {
    for (const field of ["encapsulation", "port", "vni"] as const) {
      if (spec[field] === undefined) continue;
      offend(
        ["spec", field],
        "belongs to an Overlay, this is an Underlay",
        "drop the field; a VLAN is set on the Subnet",
      );
    }
    if (spec.interfaces.length === 0) {
      offend(["spec", "interfaces"], "must name the NIC that carries an Underlay", "write for example [{name: eth1}]");
    }
  } else {
    if (spec.allowNodeInterface !== undefined) {
      offend(["spec", "allowNodeInterface"], "belongs to an Underlay, this is an Overlay", "drop the field");
    }
    if (spec.encapsulation === "GRE" && spec.port !== undefined) {
      offend(["spec", "port"], "does not exist in GRE, which runs on IP itself", "drop the field");
    }
  }
  const everywhere = spec.interfaces.findIndex((each) => Object.keys(each.nodeSelector ?? {}).length === 0);
  if (everywhere >= 0 && everywhere < spec.interfaces.length - 1) {
    const rule = "holds on every node, so the entries behind it never do";
    offend(["spec", "interfaces", everywhere], rule, "give it a nodeSelector or move it to the end");
  }
}

/**
 * Networks that exclude each other: two Overlays whose packets could not be told apart on the wire. The older of two
 * keeps its place, and only networks that are sound themselves count.
 */
export function validateNetworks(networks: readonly Network[]): Violation[] {
  const violations: Violation[] = [];
  const owners = new Map<string, string>();
  for (const network of networks.toSorted(bySeniority)) {
    if (network.type === "Underlay") continue;
    const { encapsulation, port, vni, name } = network;
    const key = `${encapsulation} ${port ?? ""} ${vni}`;
    const owner = owners.get(key);
    if (owner === undefined) {
      owners.set(key, name);
      continue;
    }
    const where = port === undefined ? encapsulation : `${encapsulation} port ${port}`;
    violations.push({
      object: `Network/${name}`,
      field: "spec.vni",
      rule: `is ${vni}, which Network ${owner} has on ${where} already`,
      remedy: "choose another vni",
    });
  }
  return violations;
}

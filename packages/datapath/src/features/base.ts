/**
 * The constant entries: a node holds these, and no more, before it has any pod. They are the same for every node up to
 * the numbers of three ports.
 */
import type { Action, Flow, Match } from "@beyondfabric/openflow";
import { ipFamily, ipToBigInt, macToBigInt, parseCidr, type Ip, type Mac } from "@beyondfabric/packet";
import { encodeCookie } from "../cookie.ts";
import {
  destinationIn,
  ethType,
  etherType,
  inPort,
  neighbourAdvertisement,
  neighbourSolicitation,
  protocol,
} from "../match.ts";
import { defineFlow, tables, type FlowDefinition } from "../pipeline.ts";
import { load, slice, sourceClass, verdictCode } from "../registers.ts";
import { forgeryFlows } from "./forgery.ts";
import { linkLocal } from "./link-local.ts";
import { missFlow } from "./miss.ts";
import { fitFlows, uplinkForwardFlows, wireFlows, type Wire } from "./wire.ts";
import { trackingFlows } from "./tracking.ts";

/** The MAC that every node's router answers with; pods see one gateway wherever they run. */
export const routerMac: Mac = "0e:fa:b0:00:00:01";

/**
 * Where a pod on a physical network finds that router: a link-local address (RFC 3927), as its own gateway is a machine on
 * the wire. In IPv6 it is the link-local address of {@link routerMac}.
 */
export const routerAddress: Ip = "169.254.1.1";

const ofppInPort = 0xffff_fff8;

export interface SwitchPorts {
  /** OpenFlow port of the flow-based tunnel port. */
  readonly tunnel: number;
  /** OpenFlow port of `fabric0`, the node's own way into the bridge. */
  readonly host: number;
  readonly hostMac: Mac;
}

export interface BaseFacts {
  readonly ports: SwitchPorts;
  /** The gateways of all overlay subnets: answered for in the switch. */
  readonly gateways: readonly Ip[];
  /** Virtual network identifiers that may arrive through the tunnel. */
  readonly vnis: readonly number[];
  /** The segments that pods of this node live on, or may. */
  readonly wires?: readonly Wire[];
  /** Largest IP packet that a pod of an overlay takes (bytes); present when anybody may send larger ones. */
  readonly overlayMtu?: number;
  /** Whether misses of the tunnel and of the node pass a meter (its number is the port's). */
  readonly metered: boolean;
}

export function baseFlows(facts: BaseFacts): Flow[] {
  return [
    ...classifyFlows(facts),
    ...overlayGuardFlows(facts),
    ...forgeryFlows(),
    ...responderFlows(facts),
    ...trackingFlows(),
    missFlow("ingress", facts.ports.tunnel, facts.metered, encodeCookie("base", 1)),
    missFlow("egress", facts.ports.host, facts.metered, encodeCookie("base", 1)),
    ...wireFlows(facts.wires ?? [], facts.metered),
    ...fitFlows(facts.overlayMtu, facts.metered),
    ...forwardFlows(facts),
    ...uplinkForwardFlows(),
  ];
}

function base(definition: Omit<FlowDefinition, "cookie">): Flow {
  return defineFlow({ ...definition, cookie: encodeCookie("base", 1) });
}

function classifyFlows({ ports, vnis }: BaseFacts): Flow[] {
  const flows = vnis.map((vni) =>
    base({
      table: "classify",
      priority: 100,
      match: [inPort(ports.tunnel), { field: "tunnel_id", value: BigInt(vni) }],
      actions: [load("reg0", sourceClass.tunnel, 0, 4)],
      goto: "track",
    }),
  );
  flows.push(
    base({ table: "classify", priority: 90, match: [inPort(ports.tunnel)], actions: [] }),
    base({
      table: "classify",
      priority: 100,
      match: [inPort(ports.host), ethType(etherType.arp)],
      actions: [],
      goto: "arp-nd",
    }),
    base({
      table: "classify",
      priority: 90,
      match: [inPort(ports.host)],
      actions: [load("reg0", sourceClass.host, 0, 4)],
      goto: "track",
    }),
    base({
      table: "classify",
      priority: 0,
      match: [],
      actions: [load("reg0", sourceClass.pod, 0, 4)],
      goto: "spoof-guard",
    }),
  );
  return flows;
}

/** Multicast and broadcast have no members here: an overlay subnet is routed, and nothing in it is flooded. */
function overlayGuardFlows({ ports }: BaseFacts): Flow[] {
  return ["224.0.0.0/4", "255.255.255.255/32", "ff00::/8"].flatMap((text) => {
    const prefix = parseCidr(text);
    const to: Match = [ethType(prefix.family === 4 ? etherType.ipv4 : etherType.ipv6), ...destinationIn(prefix)];
    return [
      base({ table: "spoof-guard", priority: 150, match: to, actions: [] }),
      base({ table: "classify", priority: 105, match: [inPort(ports.host), ...to], actions: [] }),
    ];
  });
}

function responderFlows({ gateways, wires = [], ports }: BaseFacts): Flow[] {
  const flows: Flow[] = [];
  // Pods of wires ask for the router by addresses of its own: their gateway is a machine.
  const routers = wires.length === 0 ? [] : [routerAddress, linkLocal(routerMac)];
  const answered = [...gateways, ...routers, ...wires.flatMap(({ nodeAddresses }) => nodeAddresses)];
  const mac = macToBigInt(routerMac);
  for (const gateway of answered) {
    const address = ipToBigInt(gateway);
    if (ipFamily(gateway) === 4) {
      flows.push(
        base({
          table: "arp-nd",
          priority: 100,
          match: [ethType(etherType.arp), { field: "arp_op", value: 1n }, { field: "arp_tpa", value: address }],
          actions: [
            move("eth_src", "eth_dst", 48),
            { type: "set_field", field: "eth_src", value: mac },
            { type: "set_field", field: "arp_op", value: 2n },
            move("arp_sha", "arp_tha", 48),
            move("arp_spa", "arp_tpa", 32),
            { type: "set_field", field: "arp_sha", value: mac },
            { type: "set_field", field: "arp_spa", value: address },
            { type: "output", port: ofppInPort },
          ],
        }),
      );
    } else {
      const solicitation: Match = [
        ethType(etherType.ipv6),
        { field: "ip_proto", value: BigInt(protocol.icmpv6) },
        { field: "icmpv6_type", value: BigInt(neighbourSolicitation) },
        { field: "icmpv6_code", value: 0n },
        { field: "nd_target", value: address },
      ];
      flows.push(
        base({
          table: "arp-nd",
          priority: 100,
          match: solicitation,
          actions: [
            move("eth_src", "eth_dst", 48),
            { type: "set_field", field: "eth_src", value: mac },
            move("ipv6_src", "ipv6_dst", 128),
            { type: "set_field", field: "ipv6_src", value: address },
            { type: "set_field", field: "icmpv6_type", value: BigInt(neighbourAdvertisement) },
            { type: "resubmit", table: tables["nd-reply"].id },
          ],
        }),
      );
    }
  }
  flows.push(
    base({
      table: "nd-reply",
      priority: 100,
      match: [
        ethType(etherType.ipv6),
        { field: "ip_proto", value: BigInt(protocol.icmpv6) },
        { field: "icmpv6_type", value: BigInt(neighbourAdvertisement) },
        { field: "icmpv6_code", value: 0n },
      ],
      actions: [
        // Router, solicited and override flags (RFC 4861, section 4.4).
        { type: "set_field", field: "nd_reserved", value: 0xe000_0000n },
        { type: "set_field", field: "nd_options_type", value: 2n },
        { type: "set_field", field: "nd_tll", value: mac },
        { type: "output", port: ofppInPort },
      ],
    }),
  );
  for (const gateway of gateways.filter((address) => ipFamily(address) === 6)) {
    flows.push(
      base({
        table: "classify",
        priority: 110,
        match: [
          inPort(ports.host),
          ethType(etherType.ipv6),
          { field: "ip_proto", value: BigInt(protocol.icmpv6) },
          { field: "icmpv6_type", value: BigInt(neighbourSolicitation) },
          { field: "icmpv6_code", value: 0n },
          { field: "nd_target", value: ipToBigInt(gateway) },
        ],
        actions: [],
        goto: "arp-nd",
      }),
    );
  }
  return flows;
}

function forwardFlows({ ports }: BaseFacts): Flow[] {
  const verdict = (code: number): Match => [{ field: "reg5", value: BigInt(code) }];
  return [
    base({ table: "forward", priority: 100, match: verdict(verdictCode.local), actions: [], goto: "deliver" }),
    base({
      table: "forward",
      priority: 100,
      match: verdict(verdictCode.tunnel),
      actions: [
        { type: "move", src: slice("reg3", 0, 32), dst: slice("tun_dst", 0, 32) },
        { type: "move", src: slice("reg2", 0, 32), dst: slice("tunnel_id", 0, 32) },
        { type: "output", port: ports.tunnel },
      ],
    }),
    base({
      table: "forward",
      priority: 100,
      match: verdict(verdictCode.host),
      actions: [
        { type: "set_field", field: "eth_src", value: macToBigInt(routerMac) },
        { type: "set_field", field: "eth_dst", value: macToBigInt(ports.hostMac) },
        { type: "output", port: ports.host },
      ],
    }),
    base({ table: "forward", priority: 90, match: verdict(verdictCode.deny), actions: [] }),
  ];
}

function move(
  src: "eth_src" | "arp_sha" | "arp_spa" | "ipv6_src",
  dst: "eth_dst" | "arp_tha" | "arp_tpa" | "ipv6_dst",
  bits: number,
): Action {
  return { type: "move", src: slice(src, 0, bits), dst: slice(dst, 0, bits) };
}

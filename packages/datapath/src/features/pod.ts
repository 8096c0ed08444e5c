/** The few entries that one local pod adds: what it may say, what happens when nothing is known, and how it is reached. */
import type { Flow } from "@beyondfabric/openflow";
import { ipFamily, ipToBigInt, macToBigInt, type Ip } from "@beyondfabric/packet";
import { encodeCookie } from "../cookie.ts";
import type { LocalPort } from "../facts.ts";
import {
  destinationIn,
  ethSource,
  ethType,
  etherType,
  icmpv6,
  inPort,
  ipType,
  neighbourAdvertisement,
  neighbourSolicitation,
  protocol,
  sourceIn,
} from "../match.ts";
import { defineFlow } from "../pipeline.ts";
import { load, type Segment } from "../registers.ts";
import { routerMac } from "./base.ts";
import { linkLocal } from "./link-local.ts";
import { missFlow } from "./miss.ts";
import { trackPod } from "./tracking.ts";
import { bridgeFlows } from "./wire.ts";

/**
 * Entries of a pod. The cookie's id is the port number: the counters of one pod are found by its cookie.
 * @param gateways the gateways that the pod may ask for
 */
export function podFlows(port: LocalPort, gateways: readonly Ip[], metered: boolean): Flow[] {
  const cookie = encodeCookie("pod", port.ofport);
  const flows: Flow[] = [];
  const from = [inPort(port.ofport), ethSource(port.mac)];
  for (const address of port.addresses) {
    flows.push(
      defineFlow({
        table: "spoof-guard",
        priority: 100,
        cookie,
        match: [...from, ipType(address), ...sourceIn(address)],
        actions: [],
        goto: "track",
      }),
      defineFlow({
        table: "deliver",
        priority: 100,
        cookie,
        match: [ipType(address), ...destinationIn(address)],
        actions: [
          // On a wire frames reach a pod as their senders wrote them; an overlay has one router, and no other MACs.
          ...(port.segment === undefined
            ? [{ type: "set_field", field: "eth_src", value: macToBigInt(routerMac) } as const]
            : []),
          { type: "set_field", field: "eth_dst", value: macToBigInt(port.mac) },
          { type: "output", port: port.ofport },
        ],
      }),
    );
    if (ipFamily(address) === 4) {
      flows.push(
        defineFlow({
          table: "spoof-guard",
          priority: 100,
          cookie,
          match: [
            ...from,
            ethType(etherType.arp),
            { field: "arp_spa", value: ipToBigInt(address) },
            { field: "arp_sha", value: macToBigInt(port.mac) },
          ],
          actions: port.segment === undefined ? [] : [load("reg1", port.segment)],
          goto: "arp-nd",
        }),
      );
    } else if (port.segment === undefined) {
      flows.push(...solicitationFlows(port, address, gateways, cookie));
    }
  }
  if (port.segment !== undefined) {
    flows.push(...neighbourGuardFlows(port, port.segment, cookie), ...bridgeFlows(port, port.segment, cookie));
  }
  for (const prefix of port.allowedSources ?? []) {
    flows.push(
      defineFlow({
        table: "spoof-guard",
        priority: 90,
        cookie,
        match: [...from, ipType(prefix.address), ...sourceIn(prefix)],
        actions: [],
        goto: "track",
      }),
    );
  }
  if (port.tracked) flows.push(...trackPod(port, cookie));
  flows.push(
    defineFlow({ table: "spoof-guard", priority: 1, cookie, match: [inPort(port.ofport)], actions: [] }),
    missFlow("egress", port.ofport, metered, cookie),
  );
  return flows;
}

/**
 * A pod may ask who the gateway is, from its address or from the link-local address that its kernel made of the MAC:
 * neighbour unreachability probes come from the latter.
 */
function solicitationFlows(port: LocalPort, address: Ip, gateways: readonly Ip[], cookie: bigint): Flow[] {
  const flows: Flow[] = [];
  for (const gateway of gateways.filter((candidate) => ipFamily(candidate) === 6)) {
    for (const source of [address, linkLocal(port.mac)]) {
      flows.push(
        defineFlow({
          table: "spoof-guard",
          priority: 160,
          cookie,
          match: [
            inPort(port.ofport),
            ethSource(port.mac),
            ethType(etherType.ipv6),
            { field: "ip_proto", value: BigInt(protocol.icmpv6) },
            ...sourceIn(source),
            { field: "icmpv6_type", value: BigInt(neighbourSolicitation) },
            { field: "icmpv6_code", value: 0n },
            { field: "nd_target", value: ipToBigInt(gateway) },
          ],
          actions: [],
          goto: "arp-nd",
        }),
      );
    }
  }
  return flows;
}

/**
 * What a pod on a wire may say in ARP and neighbour discovery beside its ordinary questions: probes for its own addresses
 * (RFC 5227, section 2.1.1; RFC 4862, section 5.4.2), questions for neighbours' MACs, and advertisements of its own.
 */
function neighbourGuardFlows(port: LocalPort, segment: Segment, cookie: bigint): Flow[] {
  const from = [inPort(port.ofport), ethSource(port.mac)];
  const mac = macToBigInt(port.mac);
  const pass = { actions: [load("reg1", segment)], cookie, table: "spoof-guard" } as const;
  const flows: Flow[] = [];
  for (const address of port.addresses.filter((each) => ipFamily(each) === 4)) {
    flows.push(
      defineFlow({
        ...pass,
        priority: 100,
        match: [
          ...from,
          ethType(etherType.arp),
          { field: "arp_op", value: 1n },
          { field: "arp_spa", value: 0n },
          { field: "arp_tpa", value: ipToBigInt(address) },
          { field: "arp_sha", value: mac },
        ],
        goto: "bridge",
      }),
    );
  }
  const ipv6 = port.addresses.filter((each) => ipFamily(each) === 6);
  if (ipv6.length === 0) return flows;
  for (const own of [...ipv6, linkLocal(port.mac)]) {
    flows.push(
      defineFlow({
        ...pass,
        priority: 160,
        match: [...from, ...icmpv6(neighbourSolicitation), ...sourceIn(own), { field: "nd_sll", value: mac }],
        goto: "arp-nd",
      }),
      defineFlow({
        ...pass,
        priority: 160,
        match: [
          ...from,
          ...icmpv6(neighbourSolicitation),
          ...sourceIn("::"),
          { field: "nd_target", value: ipToBigInt(own) },
        ],
        goto: "bridge",
      }),
      // The option may be left out where the other side has the MAC already (RFC 4861, section 4.4).
      ...[mac, 0n].map((option) =>
        defineFlow({
          ...pass,
          priority: 160,
          match: [
            ...from,
            ...icmpv6(neighbourAdvertisement),
            { field: "nd_target", value: ipToBigInt(own) },
            { field: "nd_tll", value: option },
          ],
          goto: "bridge",
        }),
      ),
    );
  }
  return flows;
}

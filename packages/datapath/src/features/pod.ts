/** The few entries that one local pod adds: what it may say, what happens when nothing is known, and how it is reached. */
import type { Flow, Match } from "@beyondfabric/openflow";
import { ipFamily, ipToBigInt, macToBigInt } from "@beyondfabric/packet";
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
  sourceIn,
  within,
} from "../match.ts";
import { defineFlow } from "../pipeline.ts";
import { load, type Segment } from "../registers.ts";
import { routerMac } from "./base.ts";
import { showAnnouncement } from "./announcement.ts";
import { forgeryCounter } from "./forgery.ts";
import { linkLocal } from "./link-local.ts";
import { missFlow } from "./miss.ts";
import { trackPod } from "./tracking.ts";
import { bridgeFlows } from "./wire.ts";

/** Entries of a pod. The cookie's id is the port number: the counters of one pod are found by its cookie. */
export function podFlows(port: LocalPort, metered: boolean): Flow[] {
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
    }
  }
  if (port.segment === undefined) flows.push(...solicitationFlows(port, cookie));
  else {
    flows.push(...neighbourGuardFlows(port, port.segment, cookie), ...bridgeFlows(port, port.segment, cookie));
  }
  flows.push(...consentFlows(port, metered, cookie));
  for (const prefix of port.routedPrefixes ?? []) {
    const match = [...from, ipType(prefix.address), ...sourceIn(prefix)];
    flows.push(defineFlow({ table: "spoof-guard", priority: 90, cookie, match, actions: [], goto: "track" }));
  }
  if (port.tracked) flows.push(...trackPod(port, cookie));
  flows.push(forgeryCounter(port.ofport, metered, cookie), missFlow("egress", port.ofport, metered, cookie));
  return flows;
}

/**
 * A pod of an overlay may ask from its addresses or from the link-local one that its kernel made of the MAC: neighbour
 * unreachability probes come from the latter. Only gateways are answered for. Its probes for duplicates (RFC 4862, section
 * 5.4.2) concern nobody and are no forgery.
 */
function solicitationFlows(port: LocalPort, cookie: bigint): Flow[] {
  const ipv6 = port.addresses.filter((address) => ipFamily(address) === 6);
  if (ipv6.length === 0) return [];
  const asks = [inPort(port.ofport), ethSource(port.mac), ...icmpv6(neighbourSolicitation)];
  const own = { table: "spoof-guard", priority: 160, cookie, actions: [] } as const;
  return [
    ...[...ipv6, linkLocal(port.mac)].map((source) =>
      defineFlow({ ...own, match: [...asks, ...sourceIn(source)], goto: "arp-nd" }),
    ),
    defineFlow({ ...own, match: [...asks, ...sourceIn("::")] }),
  ];
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

/**
 * What a pod may say about addresses that it does not hold and may take. The agent sees who claims one, and makes it the
 * pod's; until then nothing is sent from it.
 */
function consentFlows(port: LocalPort, metered: boolean, cookie: bigint): Flow[] {
  const from = [inPort(port.ofport), ethSource(port.mac)];
  const mac = macToBigInt(port.mac);
  const { segment } = port;
  const show = showAnnouncement(metered);
  const shown = (priority: number, match: Match, goto?: "arp-nd" | "bridge"): Flow =>
    defineFlow({
      table: "spoof-guard",
      priority,
      cookie,
      match: [...from, ...match],
      actions: segment === undefined ? show : [load("reg1", segment), ...show],
      ...(goto === undefined ? {} : { goto }),
    });
  const asks = (priority: number, match: Match): Flow[] =>
    segment === undefined
      ? []
      : [
          defineFlow({
            table: "spoof-guard",
            priority,
            cookie,
            match: [...from, ...match],
            actions: [load("reg1", segment)],
            goto: "bridge",
          }),
        ];
  return (port.allowedAddresses ?? []).flatMap((prefix) => {
    const uses = shown(90, [ipType(prefix.address), ...sourceIn(prefix)]);
    if (prefix.family === 4) {
      const arp = [ethType(etherType.arp), { field: "arp_sha", value: mac }] as const;
      return [
        uses,
        shown(95, [...arp, within("arp_spa", prefix)], "arp-nd"),
        ...asks(95, [
          ...arp,
          { field: "arp_op", value: 1n },
          { field: "arp_spa", value: 0n },
          within("arp_tpa", prefix),
        ]),
      ];
    }
    const advertises = [...icmpv6(neighbourAdvertisement), within("nd_target", prefix)];
    const hears = segment === undefined ? undefined : "bridge";
    return [
      uses,
      shown(158, [...icmpv6(neighbourSolicitation), ...sourceIn(prefix)]),
      ...[mac, 0n].map((value) => shown(158, [...advertises, { field: "nd_tll", value }], hears)),
      ...asks(158, [...icmpv6(neighbourSolicitation), ...sourceIn("::"), within("nd_target", prefix)]),
    ];
  });
}

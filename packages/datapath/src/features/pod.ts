/** The few entries that one local pod adds: what it may say, what happens when nothing is known, and how it is reached. */
import type { Flow } from "@beyondfabric/openflow";
import { ipFamily, ipFromBytes, ipToBigInt, macToBigInt, macToBytes, type Ip, type Mac } from "@beyondfabric/packet";
import { encodeCookie } from "../cookie.ts";
import type { LocalPort } from "../facts.ts";
import {
  destinationIn,
  ethSource,
  ethType,
  etherType,
  inPort,
  ipType,
  neighbourSolicitation,
  protocol,
  sourceIn,
} from "../match.ts";
import { defineFlow } from "../pipeline.ts";
import { missFlow, routerMac } from "./base.ts";

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
        goto: "egress",
      }),
      defineFlow({
        table: "deliver",
        priority: 100,
        cookie,
        match: [ipType(address), ...destinationIn(address)],
        actions: [
          { type: "set_field", field: "eth_src", value: macToBigInt(routerMac) },
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
          actions: [],
          goto: "arp-nd",
        }),
      );
    } else {
      flows.push(...solicitationFlows(port, address, gateways, cookie));
    }
  }
  for (const prefix of port.allowedSources ?? []) {
    flows.push(
      defineFlow({
        table: "spoof-guard",
        priority: 90,
        cookie,
        match: [...from, ipType(prefix.address), ...sourceIn(prefix)],
        actions: [],
        goto: "egress",
      }),
    );
  }
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

/** The modified EUI-64 link-local address of a MAC (RFC 4291, appendix A). */
export function linkLocal(mac: Mac): Ip {
  const bytes = macToBytes(mac);
  const address = new Uint8Array(16);
  address.set([0xfe, 0x80], 0);
  address.set([bytes[0]! ^ 0x02, bytes[1]!, bytes[2]!, 0xff, 0xfe, bytes[3]!, bytes[4]!, bytes[5]!], 8);
  return ipFromBytes(address, 0, 6);
}

/**
 * The entries of `br-<nic>` by which a VLAN is examined: what answers the agent's questions is reported to it. They stand
 * for the few seconds of an examination and take nothing from those for whom the frames are.
 */
import { reservedPorts, type Action, type Flow, type Match } from "@beyondfabric/openflow";
import { icmpv6Type, ipFamily, macToBigInt, type Ip, type Mac } from "@beyondfabric/packet";
import { encodeCookie } from "../cookie.ts";
import { destinationIn, ethType, etherType, icmpv6, inPort, ipType, neighbourAdvertisement } from "../match.ts";
import { taggedWith } from "./wire.ts";

/** A VLAN that is being examined. */
export interface UplinkExamination {
  /** 0: untagged */
  readonly vlan: number;
  /** MACs that questions are asked from. */
  readonly macs: readonly Mac[];
  /** Addresses of pods of this node in whose name echoes are asked for. */
  readonly echoed: readonly Ip[];
}

/** `userdata` of an answer: one byte kind (4), one byte format (1). */
const answerUserdata = Uint8Array.of(4, 1);

/** Whether a packet-in of `br-<nic>` brings an answer to an examination. */
export function isAnswer(userdata: Uint8Array): boolean {
  return userdata.length === 2 && userdata[0] === 4 && userdata[1] === 1;
}

const udp = 17n;

/**
 * @param meter taken by every report
 * @param nic port of the NIC
 * @param pods port of the way to the pods
 * @param carriesNode whether the bridge carries addresses of the node, which hears untagged frames too
 */
export function examinationFlows(
  { vlan, macs, echoed }: UplinkExamination,
  { meter, nic, pods, carriesNode }: { meter: readonly Action[]; nic: number; pods: number; carriesNode: boolean },
): Flow[] {
  const from: Match = [inPort(nic), taggedWith(vlan)];
  const report: Action = { type: "controller", userdata: answerUserdata };
  const node: Action[] = carriesNode && vlan === 0 ? [{ type: "output", port: reservedPorts.LOCAL }] : [];
  // What is for somebody goes first: a meter drops the packet for all that follows.
  const entry = (match: Match, whose: readonly Action[]): Flow => ({
    table: 0,
    priority: 400,
    cookie: encodeCookie("base", 2),
    match: [...from, ...match],
    instructions: [{ type: "apply_actions", actions: [...whose, ...meter, report] }],
  });
  return [
    ...macs.flatMap((mac) => {
      const to: Match = [{ field: "eth_dst", value: macToBigInt(mac) }];
      return [
        entry([...to, ethType(etherType.arp), { field: "arp_op", value: 2n }], node),
        entry([...to, ...icmpv6(neighbourAdvertisement)], node),
      ];
    }),
    entry(
      [
        ethType(etherType.ipv4),
        { field: "ip_proto", value: udp },
        { field: "udp_src", value: 67n },
        { field: "udp_dst", value: 68n },
      ],
      node,
    ),
    entry(icmpv6(icmpv6Type.routerAdvertisement), node),
    ...echoed.map((address) => entry([...echoReplyTo(address)], [{ type: "output", port: pods }])),
  ];
}

function echoReplyTo(address: Ip): Match {
  const isIpv4 = ipFamily(address) === 4;
  return [
    ipType(address),
    { field: "ip_proto", value: isIpv4 ? 1n : 58n },
    { field: isIpv4 ? "icmpv4_type" : "icmpv6_type", value: isIpv4 ? 0n : 129n },
    ...destinationIn(address),
  ];
}

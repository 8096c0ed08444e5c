/** `fabricctl doctor ...`: looks at what the node's network rests on, and says what is wrong with it and what to do. */
import type { NetworkObservation, UnderlayFinding, UnderlayReply } from "@beyondfabric/agent/api";
import { findingsLeft, json, type Commands } from "./commands.ts";
import { formatTable, type Column } from "./table.ts";
import { visible, type Paint } from "./terminal.ts";
import { underlayReply } from "./underlay-reply.ts";

/** Answers of the wire are waited for (ms). */
const patience = { timeout: 120_000 };

export function addDoctorCommands(commands: Commands): void {
  const { ask, surroundings } = commands;
  const doctor = commands.group("doctor", "what is wrong with what the node's network rests on");
  doctor.command(
    "underlay",
    "asks the wires of the node's physical networks; takes some seconds, ends with 3 while something is wrong",
    async (asked) => {
      const reply = await ask("/v1/underlay/examination", underlayReply, asked, patience);
      const text = asked.output === "json" ? json(reply) : formatUnderlay(reply, surroundings.paint);
      return { text, code: reply.findings.length === 0 ? 0 : findingsLeft };
    },
  );
}

interface GatewayRow {
  readonly network: string;
  readonly vlan: string;
  readonly subnet: string;
  readonly address: string;
  readonly mac: string;
  readonly roundTrip: string;
}

/** The NICs, what answered on their VLANs, and what is wrong. */
export function formatUnderlay({ node, networks, findings }: UnderlayReply, paint: Paint): string {
  const nothing = networks.length === 0 && findings.length === 0;
  if (nothing) return `no physical network names an interface of node ${visible(node)}`;
  const nics: Column<NetworkObservation>[] = [
    { heading: "NETWORK", cell: ({ network }) => network },
    { heading: "NIC", cell: ({ nic }) => nic },
    { heading: "LINK", cell: ({ present, linkUp }) => (present ? (linkUp ? "up" : "down") : "missing") },
    { heading: "MTU", cell: ({ present, mtu }) => (present ? mtu : "-"), right: true },
    { heading: "PODS", cell: ({ pods }) => pods.length, right: true },
  ];
  const gateways: Column<GatewayRow>[] = [
    { heading: "NETWORK", cell: ({ network }) => network },
    { heading: "VLAN", cell: ({ vlan }) => vlan },
    { heading: "SUBNET", cell: ({ subnet }) => subnet },
    { heading: "GATEWAY", cell: ({ address }) => address },
    { heading: "MAC", cell: ({ mac }) => mac },
    { heading: "RTT", cell: ({ roundTrip }) => roundTrip, right: true },
  ];
  const rows = networks.flatMap(gatewayRows);
  return [
    ...(networks.length === 0 ? [] : [...formatTable(nics, networks), ""]),
    ...(rows.length === 0 ? [] : [...formatTable(gateways, rows), ""]),
    ...findings.flatMap((finding) => [
      `${paint("bad", finding.rule)}   ${visible(placeOf(finding))}`,
      `  ${visible(finding.message)}`,
      `  advice: ${visible(finding.advice)}`,
    ]),
    ...(findings.length === 0 ? [] : [""]),
    verdict(findings.length, paint),
  ].join("\n");
}

function verdict(findings: number, paint: Paint): string {
  if (findings === 0) return paint("good", "nothing is wrong");
  return `${findings} ${findings === 1 ? "finding" : "findings"}`;
}

function gatewayRows({ network, wires }: NetworkObservation): GatewayRow[] {
  return wires.flatMap(({ vlan, gateways }) =>
    gateways.map(({ subnet, address, mac, roundTrip }) => ({
      network,
      vlan: vlanText(vlan),
      subnet,
      address,
      mac: mac ?? "no answer",
      roundTrip: roundTrip === undefined ? "-" : `${roundTrip.toFixed(1)} ms`,
    })),
  );
}

function placeOf({ network, vlan }: UnderlayFinding): string {
  return vlan === undefined ? `Network/${network}` : `Network/${network}, VLAN ${vlanText(vlan)}`;
}

function vlanText(vlan: number): string {
  return vlan === 0 ? "untagged" : String(vlan);
}

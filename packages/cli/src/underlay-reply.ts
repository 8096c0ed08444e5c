/** The shape of the agent's reply about physical networks; see `reply.ts`. */
import type { NetworkObservation, UnderlayFinding, UnderlayReply, WireObservation } from "@beyondfabric/agent/api";
import { boolean, list, number, object, oneOf, optional, string, type Shape } from "./shape.ts";

type Gateway = WireObservation["gateways"][number];
type Duplicate = WireObservation["duplicates"][number];
type Offer = WireObservation["offers"][number];
type Router = WireObservation["routers"][number];
type Stale = WireObservation["stale"][number];

const wire = object<WireObservation>({
  vlan: number,
  subnets: list(string),
  gateways: list(
    object<Gateway>({
      subnet: string,
      address: string,
      mac: optional(string),
      roundTrip: optional(number),
      answersStrangers: boolean,
    }),
  ),
  duplicates: list(object<Duplicate>({ pod: string, address: string, mac: string })),
  offers: list(object<Offer>({ server: string, mac: string, address: string })),
  routers: list(object<Router>({ address: string, mac: string })),
  stale: list(object<Stale>({ holder: string, address: string, mac: string, owner: string })),
});

export const underlayReply: Shape<UnderlayReply> = object<UnderlayReply>({
  node: string,
  networks: list(
    object<NetworkObservation>({
      network: string,
      nic: string,
      bridge: string,
      present: boolean,
      linkUp: boolean,
      mtu: number,
      wantedMtu: optional(number),
      nodeAddresses: list(string),
      allowNodeInterface: boolean,
      answering: boolean,
      pods: list(object<NetworkObservation["pods"][number]>({ pod: string, mtu: optional(number) })),
      wires: list(wire),
    }),
  ),
  violations: list(
    object<UnderlayReply["violations"][number]>({ object: string, field: string, rule: string, remedy: string }),
  ),
  findings: list(
    object<UnderlayFinding>({
      rule: oneOf(
        "InterfaceTaken",
        "InterfaceMissing",
        "InterfaceRefused",
        "LinkDown",
        "MtuTooSmall",
        "BridgeSilent",
        "GatewaySilent",
        "UnknownMacDropped",
        "AddressDuplicate",
        "DhcpServer",
        "ForeignRouter",
        "NeighbourStale",
      ),
      network: string,
      vlan: optional(number),
      message: string,
      advice: string,
    }),
  ),
});

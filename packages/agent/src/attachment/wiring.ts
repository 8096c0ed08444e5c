/** A pod's interface in the kernel: a veth whose one end is the pod's, with its addresses and its one way out. */
import { LinkError, netnsExists, RouteSocket, setSysctls } from "@beyondfabric/link";
import { linkLocal, routerAddress, routerMac } from "@beyondfabric/datapath";
import { formatCidr, ipFamily, type Cidr, type Ip, type Mac } from "@beyondfabric/packet";

export interface PodInterface {
  readonly hostInterface: string;
  /** Path of the pod's network namespace. */
  readonly netns: string;
  readonly ifname: string;
  readonly mac: Mac;
  /** bytes */
  readonly mtu: number;
  readonly addresses: readonly Ip[];
  /** Of each address, how much of it is the link's prefix. */
  readonly prefixLengths: readonly number[];
  readonly gateways: readonly Ip[];
}

export interface Kernel {
  /** The node's own namespace. */
  readonly node: RouteSocket;
}

/** A veth pair whose one end is in the pod's namespace. */
export interface PodPair {
  readonly netns: string;
  /** Index of the pod's end in its namespace. */
  readonly index: number;
}

/** Makes the pair: the host's end is ready for the switch, the pod's end is bare. */
export async function makePodPair(
  { node }: Kernel,
  wanted: Pick<PodInterface, "hostInterface" | "netns" | "ifname" | "mac" | "mtu">,
): Promise<PodPair> {
  // The host's end is a cable: the node must not speak on it, least of all neighbour discovery.
  const { peerIndex } = await node.createVeth({
    host: wanted.hostInterface,
    hostLinkLocal: false,
    hostUp: true,
    peer: wanted.ifname,
    peerNetns: wanted.netns,
    peerMac: wanted.mac,
    mtu: wanted.mtu,
  });
  return { netns: wanted.netns, index: peerIndex };
}

/**
 * Sets up the pod's end: addresses, one way out. The userspace datapath takes frames as they leave the pod, so they must
 * leave with their checksums: `checksumInSoftware` switches the offload off.
 */
export async function setUpPodEnd(
  { netns, index }: PodPair,
  wanted: Pick<PodInterface, "ifname" | "addresses" | "prefixLengths" | "gateways"> & {
    /** What is reached by the switch's router, beside the gateways. */
    readonly overlays: readonly Cidr[];
    readonly checksumInSoftware: boolean;
  },
): Promise<void> {
  const hasIpv6 = wanted.addresses.some((address) => ipFamily(address) === 6);
  setSysctls(
    {
      [`ipv6/conf/${wanted.ifname}/disable_ipv6`]: hasIpv6 ? 0 : 1,
      ...(hasIpv6
        ? {
            // Addresses are unique by allocation, and nobody else is on this link.
            [`ipv6/conf/${wanted.ifname}/accept_dad`]: 0,
            [`ipv6/conf/${wanted.ifname}/accept_ra`]: 0,
          }
        : {}),
    },
    netns,
  );
  await using pod = RouteSocket.open(netns);
  // Requests of one turn travel together and are answered in order.
  await Promise.all([
    wanted.checksumInSoftware ? pod.disableTransmitChecksum(wanted.ifname) : undefined,
    pod.setLink(index, { up: true }),
    pod.findLink("lo").then((loopback) => {
      return loopback?.up === false ? pod.setLink(loopback.index, { up: true }) : undefined;
    }),
    ...interfaceAddresses(wanted).map((cidr) => pod.addAddress({ dev: index, cidr, nodad: true })),
    ...wanted.gateways.flatMap((gateway) => [
      // Where the address is alone on its link, the gateway needs a route of its own.
      ...(isAlone(wanted, gateway)
        ? [
            pod.addRoute({
              dst: hostPrefix(gateway),
              dev: index,
              ...(ipFamily(gateway) === 4 ? { scope: "link" as const } : {}),
            }),
          ]
        : []),
      pod.addRoute({ dst: anywhere(gateway), gateway, dev: index }),
    ]),
    ...wanted.overlays
      .filter(({ family }) => wanted.addresses.some((address) => ipFamily(address) === family))
      .map((cidr) =>
        pod.addRoute({
          dst: formatCidr(cidr),
          gateway: cidr.family === 4 ? routerAddress : linkLocal(routerMac),
          dev: index,
          onlink: true,
        }),
      ),
  ]);
}

/** Removes the host's end, and the pod's with it. Nothing happens when it is gone. */
export async function removeHostInterface({ node }: Kernel, hostInterface: string): Promise<void> {
  await node.deleteLink(hostInterface);
}

/** What is not as it was made, one sentence each. */
export async function checkPodInterface({ node }: Kernel, expected: PodInterface): Promise<string[]> {
  const problems: string[] = [];
  if ((await node.findLink(expected.hostInterface)) === undefined) {
    problems.push(`the node's end ${expected.hostInterface} is missing`);
  }
  if (!netnsExists(expected.netns)) return [...problems, `network namespace ${expected.netns} is missing`];
  await using pod = RouteSocket.open(expected.netns);
  const link = await pod.findLink(expected.ifname);
  if (link === undefined) return [...problems, `interface ${expected.ifname} is missing in the pod`];
  if (!link.up) problems.push(`interface ${expected.ifname} is down`);
  if (link.mac !== expected.mac) problems.push(`interface ${expected.ifname} has MAC ${link.mac}, not ${expected.mac}`);
  if (link.mtu !== expected.mtu) problems.push(`interface ${expected.ifname} has MTU ${link.mtu}, not ${expected.mtu}`);
  const present = new Set((await pod.listAddresses(link.index)).map(({ cidr }) => cidr));
  for (const cidr of interfaceAddresses(expected)) {
    if (!present.has(cidr)) problems.push(`address ${cidr} is missing on ${expected.ifname}`);
  }
  const routes = await pod.listRoutes({ dev: link.index });
  for (const gateway of expected.gateways) {
    const found = routes.some((route) => route.gateway === gateway && isAnywhere(route.dst));
    if (!found) problems.push(`the default route through ${gateway} is missing`);
  }
  return problems;
}

/** Whether a refusal of the kernel means that the pod's namespace is not there (any more). */
export function namespaceIsMissing(error: unknown): boolean {
  return error instanceof LinkError && error.code === "LINK_NO_NAMESPACE";
}

function interfaceAddresses({ addresses, prefixLengths }: Pick<PodInterface, "addresses" | "prefixLengths">): string[] {
  return addresses.map((address, index) => `${address}/${prefixLengths[index]}`);
}

function isAlone(
  { addresses, prefixLengths }: Pick<PodInterface, "addresses" | "prefixLengths">,
  gateway: Ip,
): boolean {
  const family = ipFamily(gateway);
  const index = addresses.findIndex((address) => ipFamily(address) === family);
  return index < 0 || prefixLengths[index] === (family === 4 ? 32 : 128);
}

function hostPrefix(address: Ip): string {
  return `${address}/${ipFamily(address) === 4 ? 32 : 128}`;
}

function anywhere(gateway: Ip): string {
  return ipFamily(gateway) === 4 ? "0.0.0.0/0" : "::/0";
}

function isAnywhere(destination: string): boolean {
  return destination === "0.0.0.0/0" || destination === "::/0";
}

import { readdir, readFile } from "node:fs/promises";
import {
  isNamespaceOf,
  isRootLinkOf,
  type LabNames,
  machineNamespace,
  NETNS_DIRECTORY,
  nodeNumber,
  hostNumber,
  ROUTER,
} from "../names.ts";
import { forEachBounded, run, runChecked } from "../process/run.ts";
import {
  businessAddress,
  gatewayAddress,
  type HostPlan,
  managementAddress,
  type NicAddresses,
  nicMac,
  ROUTER_ADDRESS,
  type Vlan,
  vlanAddress,
} from "./address-plan.ts";

/** Runs lines of iproute2 in one process; the first that fails is thrown with its text. */
export async function ipBatch(lines: readonly string[], namespace?: string): Promise<void> {
  const enter = namespace === undefined ? [] : ["-n", namespace];
  await runChecked(["ip", ...enter, "-batch", "-"], { input: `${lines.join("\n")}\n` });
}

/** Runs a shell script inside a namespace, stopping at its first error. */
async function scriptIn(namespace: string, lines: readonly string[]): Promise<void> {
  await runChecked(["ip", "netns", "exec", namespace, "sh", "-ec", lines.join("\n")]);
}

/** Names of all network namespaces of the machine. */
export async function listNamespaces(): Promise<string[]> {
  try {
    return await readdir(NETNS_DIRECTORY);
  } catch {
    return []; // the folder appears with the first namespace
  }
}

/** Names of the links in the root namespace. */
export async function listRootLinks(): Promise<string[]> {
  const links: unknown = JSON.parse(await runChecked(["ip", "-j", "link", "show"]));
  return (links as { ifname: string }[]).map((link) => link.ifname);
}

// A machine in a lab gets its addresses from the lab alone, and has them at once.
const QUIET_IPV6 = [
  "for f in all default; do",
  "  echo 0 > /proc/sys/net/ipv6/conf/$f/accept_dad",
  "  echo 0 > /proc/sys/net/ipv6/conf/$f/accept_ra",
  "  echo 0 > /proc/sys/net/ipv6/conf/$f/disable_ipv6",
  "done",
];

// A real NIC computes checksums before a frame reaches the wire; a veth leaves them out, and a userspace switch passes them on as they are.
const NIC_CHECKSUMS = (link: string) => [`ethtool -K ${link} tx off >/dev/null`];

function addressLines(link: string, { cidrs }: NicAddresses, gateway?: NicAddresses): string[] {
  return [
    `ip address add ${cidrs[0]} dev ${link}`,
    `ip address add ${cidrs[1]} dev ${link} nodad`,
    `ip link set ${link} up`,
    ...(gateway === undefined
      ? []
      : [`ip route add default via ${gateway.ipv4}`, `ip -6 route add default via ${gateway.ipv6}`]),
  ];
}

/** The management network: a bridge on the machine itself, where the API server listens. */
export async function createManagementNetwork(names: LabNames, index: number): Promise<void> {
  const bridge = names.managementBridge;
  await ipBatch([
    `link add name ${bridge} type bridge`,
    `address add ${gatewayAddress(index)}/24 dev ${bridge}`,
    `link set ${bridge} up`,
  ]);
}

/** The namespace in which the wire's switch runs. */
export async function createWireNamespace(names: LabNames): Promise<void> {
  await runChecked(["ip", "netns", "add", names.wireNamespace]);
  await scriptIn(names.wireNamespace, [...QUIET_IPV6, "ip link set lo up"]);
}

/** Name of the wire's end of a machine's business NIC. */
export function wirePort(machine: string): string {
  return machine.startsWith("node-") ? `n${nodeNumber(machine)}` : `h${hostNumber(machine)}`;
}

/** Name of the wire's end of a node's third NIC, which carries the VLANs. */
export function trunkPort(node: string): string {
  return `t${nodeNumber(node)}`;
}

/** Name of the wire's end of the router's NIC in a VLAN; without one, of its untagged NIC. */
export function routerPort(vlan?: number): string {
  return `r${vlan ?? 0}`;
}

/**
 * A node: eth0 on the management bridge, eth1 on the wire, and with VLANs eth2 on the wire, without an address. The wire's
 * ends are named by {@link wirePort} and {@link trunkPort} and still have to be added to the switch.
 */
export async function createNodeNamespace(
  names: LabNames,
  index: number,
  node: string,
  withVlans: boolean,
): Promise<void> {
  const namespace = machineNamespace(names.lab, node);
  const number = nodeNumber(node);
  const management = `${names.lab}-m${number}`;
  await ipBatch([
    `netns add ${namespace}`,
    `link add name ${management} type veth peer name eth0 address ${nicMac(index, 1, number)} netns ${namespace}`,
    `link set ${management} master ${names.managementBridge} up`,
  ]);
  await ipBatch(
    [
      `link add name eth1 address ${nicMac(index, 2, number)} type veth peer name ${wirePort(node)} netns ${names.wireNamespace}`,
      ...(withVlans
        ? [
            `link add name eth2 address ${nicMac(index, 4, number)} type veth peer name ${trunkPort(node)} netns ${names.wireNamespace}`,
          ]
        : []),
    ],
    namespace,
  );
  const ends = [wirePort(node), ...(withVlans ? [trunkPort(node)] : [])];
  await Promise.all([
    scriptIn(namespace, [
      ...QUIET_IPV6,
      "ip link set lo up",
      ...NIC_CHECKSUMS("eth0"),
      ...NIC_CHECKSUMS("eth1"),
      ...addressLines("eth0", managementAddress(index, node)),
      ...addressLines("eth1", businessAddress(node), withVlans ? ROUTER_ADDRESS : undefined),
      ...(withVlans ? [...NIC_CHECKSUMS("eth2"), "ip link set eth2 up"] : []),
    ]),
    scriptIn(
      names.wireNamespace,
      ends.flatMap((end) => [...NIC_CHECKSUMS(end), `ip link set ${end} up`]),
    ),
  ]);
}

/** A machine outside the cluster: one NIC on the wire. */
export async function createHostNamespace(names: LabNames, index: number, plan: HostPlan): Promise<void> {
  const host = plan.name;
  const namespace = machineNamespace(names.lab, host);
  await ipBatch([`netns add ${namespace}`]);
  await ipBatch(
    [
      `link add name eth0 address ${nicMac(index, 3, hostNumber(host))} type veth peer name ${wirePort(host)} netns ${names.wireNamespace}`,
    ],
    namespace,
  );
  await Promise.all([
    scriptIn(namespace, [
      ...QUIET_IPV6,
      "ip link set lo up",
      ...NIC_CHECKSUMS("eth0"),
      ...addressLines("eth0", plan.addresses, plan.gateway),
    ]),
    scriptIn(names.wireNamespace, [...NIC_CHECKSUMS(wirePort(host)), `ip link set ${wirePort(host)} up`]),
  ]);
}

/**
 * The physical router: one NIC in each VLAN with the gateway's addresses, one untagged, forwarding between them, and a
 * packet filter (`table inet firewall`, chain `forward`) that lets everything pass until a test says otherwise.
 */
export async function createRouterNamespace(names: LabNames, index: number, vlans: readonly Vlan[]): Promise<void> {
  const namespace = machineNamespace(names.lab, ROUTER);
  const nics = [
    { nic: "eth0", port: routerPort(), addresses: ROUTER_ADDRESS },
    ...vlans.map((vlan) => ({ nic: `vlan${vlan.id}`, port: routerPort(vlan.id), addresses: vlanAddress(vlan, 1) })),
  ];
  await ipBatch([`netns add ${namespace}`]);
  await ipBatch(
    nics.map(
      ({ nic, port }, position) =>
        `link add name ${nic} address ${nicMac(index, 5, position)} type veth peer name ${port} netns ${names.wireNamespace}`,
    ),
    namespace,
  );
  await Promise.all([
    scriptIn(namespace, [
      ...QUIET_IPV6,
      "echo 1 > /proc/sys/net/ipv4/ip_forward",
      "echo 1 > /proc/sys/net/ipv6/conf/all/forwarding",
      "ip link set lo up",
      ...nics.flatMap(({ nic, addresses }) => [...NIC_CHECKSUMS(nic), ...addressLines(nic, addresses)]),
      "nft add table inet firewall",
      "nft 'add chain inet firewall forward { type filter hook forward priority filter; policy accept; }'",
    ]),
    scriptIn(
      names.wireNamespace,
      nics.flatMap(({ port }) => [...NIC_CHECKSUMS(port), `ip link set ${port} up`]),
    ),
  ]);
}

/** Pids of the processes whose network namespace is one of the named ones. */
export async function processesIn(namespaces: readonly string[]): Promise<number[]> {
  const pids = new Set<number>();
  await forEachBounded(namespaces, 4, async (namespace) => {
    const result = await run(["ip", "netns", "pids", namespace]);
    for (const word of result.stdout.split(/\s+/)) if (word !== "") pids.add(Number(word));
  });
  return [...pids];
}

/** Deletes a namespace; its end of a veth takes the other with it. A missing one is fine. */
export async function deleteNamespace(namespace: string): Promise<void> {
  const result = await run(["ip", "netns", "delete", namespace]);
  if (result.code !== 0 && (await listNamespaces()).includes(namespace)) {
    await runChecked(["ip", "netns", "delete", namespace]);
  }
}

/** Everything of a lab that the kernel still holds, whoever created it. */
export async function leftoversOf(lab: string): Promise<{ namespaces: string[]; links: string[] }> {
  const [namespaces, links] = await Promise.all([listNamespaces(), listRootLinks()]);
  return {
    namespaces: namespaces.filter((name) => isNamespaceOf(lab, name)),
    links: links.filter((name) => isRootLinkOf(lab, name)),
  };
}

/** Third bytes of all 172.31.x.0/24 networks the machine already has an address in. */
export async function usedManagementIndexes(): Promise<Set<number>> {
  const used = new Set<number>();
  const links = JSON.parse(await runChecked(["ip", "-j", "-4", "address", "show"])) as {
    addr_info?: { local?: string }[];
  }[];
  for (const link of links) {
    for (const { local } of link.addr_info ?? []) {
      const bytes = (local ?? "").split(".").map(Number);
      if (bytes[0] === 172 && bytes[1] === 31) used.add(bytes[2]!);
    }
  }
  return used;
}

/** Pids of the processes that carry the lab's mark in their environment. */
export async function markedProcesses(mark: string): Promise<number[]> {
  const entries = await readdir("/proc");
  const pids: number[] = [];
  await forEachBounded(
    entries.filter((entry) => /^\d+$/.test(entry)),
    16,
    async (entry) => {
      try {
        const environment = await readFile(`/proc/${entry}/environ`, "latin1");
        if (environment.split("\0").includes(mark)) pids.push(Number(entry));
      } catch {
        // The process ended while we looked.
      }
    },
  );
  return pids;
}

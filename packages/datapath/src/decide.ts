/**
 * What happens to a packet: the one place where that is decided. Pure: no clock, no socket, no memory. The reactive
 * controller, the revalidation of entries, the tests and every explaining tool ask here.
 */
import { formatCidr, ipFamily, type Cidr, type Ip } from "@beyondfabric/packet";
import type { Endpoint, FactKey, Facts, SubnetFact } from "./facts.ts";
import type { SourceClass } from "./registers.ts";

export interface Question {
  /** Where the packet entered the bridge. */
  readonly from: SourceClass;
  readonly source: Ip;
  readonly destination: Ip;
  /** The outer source address of a tunnel packet. */
  readonly tunnelSource?: Ip;
}

/**
 * The packets for which a decision holds: every packet whose source and destination lie in these prefixes (and which
 * came in the same way). As wide as what was looked at allows.
 */
export interface Cube {
  readonly source: Cidr;
  readonly destination: Cidr;
}

export type Reason =
  | "to-local-pod"
  | "to-remote-pod"
  | "to-node"
  | "to-outside"
  | "from-outside"
  | "source-not-local"
  | "source-forwarded"
  | "stranger-to-remote"
  | "no-way-back-out"
  | "destination-unowned"
  | "destination-absent"
  | "destination-unknown"
  | "destination-not-here"
  | "node-without-tunnel"
  | "tunnel-source-outside"
  | "tunnel-source-unknown"
  | "tunnel-source-forged"
  | "facts-incomplete";

interface Common {
  readonly reason: Reason;
  /** One sentence for a person, naming the objects. */
  readonly explanation: string;
  readonly dependsOn: readonly FactKey[];
}

export type Decision =
  | (Common & {
      readonly verdict: "allow";
      readonly cube: Cube;
      readonly way:
        | { readonly kind: "local" }
        | { readonly kind: "host" }
        | { readonly kind: "tunnel"; readonly destination: Ip; readonly vni: number };
    })
  | (Common & { readonly verdict: "deny"; readonly cube: Cube })
  /** Not decidable yet: the packet waits for `waitingFor`. */
  | (Common & { readonly verdict: "hold"; readonly waitingFor: Ip });

export function decide(question: Question, facts: Facts): Decision {
  return question.from === "tunnel" ? decideIngress(question, facts) : decideEgress(question, facts);
}

type Location =
  | { readonly at: "local"; readonly endpoint: Endpoint }
  | { readonly at: "this-node" }
  | { readonly at: "remote"; readonly endpoint: Endpoint; readonly subnet: SubnetFact }
  | { readonly at: "outside" }
  | { readonly at: "unowned"; readonly subnet: SubnetFact }
  | { readonly at: "absent"; readonly why: string }
  | { readonly at: "unknown"; readonly why: Reason };

function locate(address: Ip, facts: Facts): Location {
  const subnet = facts.subnetOf(address);
  if (subnet === undefined) return facts.complete ? { at: "outside" } : { at: "unknown", why: "facts-incomplete" };
  const endpoint = facts.endpointAt(address);
  if (endpoint !== undefined) {
    if (endpoint.node !== facts.node) return { at: "remote", endpoint, subnet };
    return endpoint.kind === "node" ? { at: "this-node" } : { at: "local", endpoint };
  }
  const claim = facts.claimAt(address);
  // The claim tells of a holder before the holder's node, or the pod's status, does: its pod is on its way.
  if (claim?.holder !== undefined) return { at: "unknown", why: "destination-unknown" };
  if (claim !== undefined) {
    return { at: "absent", why: `${address} is kept for ${claim.keptFor ?? "its owner"} and no pod holds it` };
  }
  // Even an address of an own block may have been claimed for a pod elsewhere.
  if (!facts.complete) return { at: "unknown", why: "facts-incomplete" };
  const block = facts.blockOf(address);
  if (block?.node === facts.node) {
    return { at: "absent", why: `${address} lies in block ${formatCidr(block.cidr)} of this node and no pod holds it` };
  }
  if (block === undefined) return { at: "unowned", subnet };
  return { at: "unknown", why: "destination-unknown" };
}

function decideEgress(question: Question, facts: Facts): Decision {
  const { source, destination } = question;
  const dependsOn: FactKey[] = [`address:${source}`, `address:${destination}`];
  const cube: Cube = { source: exact(source), destination: exact(destination) };
  const from = locate(source, facts);
  const deny = (reason: Reason, explanation: string, wider: Partial<Cube> = {}): Decision => ({
    verdict: "deny",
    reason,
    explanation,
    cube: { ...cube, ...wider },
    dependsOn,
  });
  const hold = (reason: Reason, waitingFor: Ip, explanation: string): Decision => ({
    verdict: "hold",
    reason,
    explanation,
    waitingFor,
    dependsOn,
  });

  let sourceCube = cube.source;
  if (question.from === "pod") {
    if (from.at !== "local") {
      return deny("source-not-local", `no pod of node ${facts.node} holds the source address ${source}`);
    }
  } else if (from.at === "unknown") {
    dependsOn.push("complete", "subnets");
    return hold(from.why, source, `whether ${source} is inside the cluster is not known yet`);
  } else if (from.at === "outside") {
    dependsOn.push("subnets");
    sourceCube = facts.outsidePrefix(source);
  } else if (from.at !== "this-node") {
    if (from.at === "unowned" || from.at === "absent") dependsOn.push("blocks");
    return deny(
      "source-forwarded",
      `node ${facts.node} forwards a packet whose source ${source} lies in a cluster subnet and is not the node's own`,
    );
  }
  const stranger = from.at === "outside";
  const allow = (
    reason: Reason,
    explanation: string,
    way: Extract<Decision, { verdict: "allow" }>["way"],
    wider: Partial<Cube> = {},
  ): Decision => ({
    verdict: "allow",
    reason,
    explanation,
    cube: { ...cube, source: sourceCube, ...wider },
    way,
    dependsOn,
  });

  const to = locate(destination, facts);
  switch (to.at) {
    case "local":
      return allow(
        stranger ? "from-outside" : "to-local-pod",
        `${to.endpoint.name} holds ${destination} on this node`,
        { kind: "local" },
      );
    case "this-node":
      if (question.from === "host")
        return deny("no-way-back-out", `${destination} is node ${facts.node}'s own address`);
      return allow("to-node", `${destination} is the address of node ${facts.node}`, { kind: "host" });
    case "outside": {
      dependsOn.push("subnets");
      const wide = facts.outsidePrefix(destination);
      if (question.from === "host") {
        return deny(
          "no-way-back-out",
          `${destination} is outside every cluster subnet and the packet comes from the node, which is the way out`,
          { destination: wide },
        );
      }
      return allow(
        "to-outside",
        `${formatCidr(wide)} is outside every cluster subnet: out through node ${facts.node}`,
        { kind: "host" },
        { destination: wide },
      );
    }
    case "remote": {
      dependsOn.push(`node:${to.endpoint.node}`);
      if (stranger) {
        return deny(
          "stranger-to-remote",
          `${source} is outside the cluster and enters through a node that ${to.endpoint.name} does not run on`,
        );
      }
      const tunnelAddress = facts.nodeNamed(to.endpoint.node)?.tunnelAddress;
      if (tunnelAddress === undefined) {
        return hold(
          "node-without-tunnel",
          destination,
          `${to.endpoint.name} runs on node ${to.endpoint.node}, which has published no tunnel address`,
        );
      }
      return allow("to-remote-pod", `${to.endpoint.name} holds ${destination} on node ${to.endpoint.node}`, {
        kind: "tunnel",
        destination: tunnelAddress,
        vni: to.subnet.vni,
      });
    }
    case "unowned": {
      dependsOn.push("blocks", "subnets");
      const wide = facts.unownedPrefix(destination, to.subnet);
      return deny("destination-unowned", `no node owns ${formatCidr(wide)} of subnet ${to.subnet.name}`, {
        destination: wide,
      });
    }
    case "absent":
      dependsOn.push("blocks");
      return deny("destination-absent", to.why);
    case "unknown":
      dependsOn.push("complete", "blocks", "subnets");
      return hold(to.why, destination, `who holds ${destination} is not known yet`);
  }
}

function decideIngress(question: Question, facts: Facts): Decision {
  const { source, destination, tunnelSource } = question;
  const dependsOn: FactKey[] = [`address:${source}`, `address:${destination}`, "blocks", "subnets"];
  const cube: Cube = { source: exact(source), destination: exact(destination) };
  const deny = (reason: Reason, explanation: string): Decision => ({
    verdict: "deny",
    reason,
    explanation,
    cube,
    dependsOn,
  });
  const hold = (reason: Reason, waitingFor: Ip, explanation: string): Decision => ({
    verdict: "hold",
    reason,
    explanation,
    waitingFor,
    dependsOn,
  });

  if (facts.subnetOf(source) === undefined) {
    if (!facts.complete) {
      dependsOn.push("complete");
      return hold("facts-incomplete", source, `whether ${source} is inside the cluster is not known yet`);
    }
    return deny("tunnel-source-outside", `${source} arrived through a tunnel and is outside every cluster subnet`);
  }
  // An endpoint that is known says where it lives. A claimed address is its holder's, wherever its block is; any other
  // that nobody has published yet belongs to its block.
  const claim = facts.claimAt(source);
  const presumed = claim === undefined ? facts.blockOf(source)?.node : claim.bound ? claim.holder?.node : undefined;
  const holder = facts.endpointAt(source);
  const owner = holder?.node ?? presumed;
  if (owner === undefined) {
    if (!facts.complete) {
      dependsOn.push("complete");
      return hold("facts-incomplete", source, `which node owns ${source} is not known yet`);
    }
    return hold("tunnel-source-unknown", source, `no node is known to own ${source}`);
  }
  dependsOn.push(`node:${owner}`);
  const ownerAddress = facts.nodeNamed(owner)?.tunnelAddress;
  if (owner !== facts.node && ownerAddress === undefined) {
    return hold(
      "node-without-tunnel",
      source,
      `${source} belongs to node ${owner}, which has published no tunnel address`,
    );
  }
  if (owner === facts.node || ownerAddress !== tunnelSource) {
    if (!facts.complete && holder === undefined && claim === undefined) {
      dependsOn.push("complete");
      return hold("facts-incomplete", source, `whether ${source} was claimed for a pod elsewhere is not known yet`);
    }
    return deny(
      "tunnel-source-forged",
      `${source} belongs to node ${owner}${ownerAddress === undefined ? "" : ` at ${ownerAddress}`} but the tunnel packet came from ${tunnelSource}`,
    );
  }

  const to = locate(destination, facts);
  switch (to.at) {
    case "local":
      return {
        verdict: "allow",
        reason: "to-local-pod",
        explanation: `${to.endpoint.name} holds ${destination} on this node`,
        cube,
        way: { kind: "local" },
        dependsOn,
      };
    case "this-node":
      return {
        verdict: "allow",
        reason: "to-node",
        explanation: `${destination} is the address of node ${facts.node}`,
        cube,
        way: { kind: "host" },
        dependsOn,
      };
    case "absent":
      return deny("destination-absent", to.why);
    default:
      if (!facts.complete) {
        dependsOn.push("complete");
        return hold("facts-incomplete", destination, `who holds ${destination} is not known yet`);
      }
      return deny("destination-not-here", `${destination} is not on node ${facts.node}, and tunnels are no transit`);
  }
}

/** Whether two decisions tell the switch the same. Explanations may differ. */
export function sameVerdict(a: Decision, b: Decision): boolean {
  if (a.verdict === "hold" || b.verdict === "hold") return false;
  if (formatCidr(a.cube.source) !== formatCidr(b.cube.source)) return false;
  if (formatCidr(a.cube.destination) !== formatCidr(b.cube.destination)) return false;
  if (a.verdict === "deny" || b.verdict === "deny") return a.verdict === b.verdict;
  if (a.way.kind === "tunnel" && b.way.kind === "tunnel") {
    return a.way.destination === b.way.destination && a.way.vni === b.way.vni;
  }
  return a.way.kind === b.way.kind;
}

function exact(address: Ip): Cidr {
  const family = ipFamily(address);
  return { family, address, length: family === 4 ? 32 : 128 };
}

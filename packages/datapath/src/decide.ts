/**
 * What happens to a packet: the one place where that is decided. Pure: no clock, no socket, no memory. The reactive
 * controller, the revalidation of entries, the tests and every explaining tool ask here.
 */
import { formatCidr, type Ip } from "@beyondfabric/packet";
import { decideFromUnderlayPod, decideFromWire } from "./decide-wire.ts";
import { exact, type Cube, type Decision, type Question, type Reason, type Way } from "./decision.ts";
import type { FactKey, Facts } from "./facts.ts";
import { guardVerdict } from "./guard.ts";
import { locate } from "./locate.ts";

export function decide(question: Question, facts: Facts): Decision {
  const routed = route(question, facts);
  return routed.verdict === "allow" ? guardVerdict(question, routed, facts) : routed;
}

/** What the addresses alone say. */
function route(question: Question, facts: Facts): Decision {
  if (question.from === "tunnel") return decideIngress(question, facts);
  return question.from === "uplink" ? decideFromWire(question, facts) : decideEgress(question, facts);
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
    if (from.subnet.wire !== undefined) return decideFromUnderlayPod(question, from.subnet, facts);
  } else if (from.at === "unknown") {
    dependsOn.push("complete", "subnets");
    return hold(from.why, source, `whether ${source} is inside the cluster is not known yet`);
  } else if (from.at === "outside") {
    dependsOn.push("subnets");
    sourceCube = facts.outsidePrefix(source);
  } else if (from.at === "wire") {
    // The answer of a machine there: the pod left through the node, and comes back so.
    dependsOn.push("subnets");
  } else if (from.at !== "this-node") {
    if (from.at === "unowned" || from.at === "absent") dependsOn.push("blocks");
    return deny(
      "source-forwarded",
      `node ${facts.node} forwards a packet whose source ${source} lies in a cluster subnet and is not the node's own`,
    );
  }
  const stranger = from.at === "outside" || from.at === "wire";
  const allow = (reason: Reason, explanation: string, way: Way, wider: Partial<Cube> = {}): Decision => ({
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
    case "wire":
    case "outside": {
      dependsOn.push("subnets");
      // Between the pods of a physical network its machines lie one by one.
      const wide = to.at === "wire" ? cube.destination : facts.outsidePrefix(destination);
      if (question.from === "host") {
        return deny(
          "no-way-back-out",
          `${destination} is no pod's and the packet comes from the node, which is the way out`,
          { destination: wide },
        );
      }
      return allow(
        "to-outside",
        `no pod holds ${formatCidr(wide)}: out through node ${facts.node}`,
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

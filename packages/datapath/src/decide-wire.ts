/**
 * What happens to packets of pods that are hosts on a physical network, and to those that come in from it. Between two
 * machines of one VLAN the switch is a bridge: frames go as their senders wrote them, and the pod's own neighbour table
 * finds the other side. What crosses VLANs goes by the physical gateway, because the packet filter there is the network's
 * owner's; what is said between such a pod and an overlay pod never does.
 */
import { formatCidr } from "@beyondfabric/packet";
import { exact, type Cube, type Decision, type Question, type Reason, type Way } from "./decision.ts";
import type { FactKey, Facts, SubnetFact } from "./facts.ts";
import { locate } from "./locate.ts";

/** A packet of a pod of this node that lives in `home`, a subnet on a wire. */
export function decideFromUnderlayPod(question: Question, home: SubnetFact, facts: Facts): Decision {
  const { source, destination } = question;
  const dependsOn: FactKey[] = [`address:${source}`, `address:${destination}`, "subnets"];
  const cube: Cube = { source: exact(source), destination: exact(destination) };
  const allow = (reason: Reason, explanation: string, way: Way, wider: Partial<Cube> = {}): Decision => ({
    verdict: "allow",
    reason,
    explanation,
    cube: { ...cube, ...wider },
    way,
    dependsOn,
  });
  const deny = (reason: Reason, explanation: string, wider: Partial<Cube> = {}): Decision => ({
    verdict: "deny",
    reason,
    explanation,
    cube: { ...cube, ...wider },
    dependsOn,
  });
  const hold = (reason: Reason, explanation: string): Decision => ({
    verdict: "hold",
    reason,
    explanation,
    waitingFor: destination,
    dependsOn,
  });

  if (facts.isOwnAddress(destination)) {
    return allow("to-node", `${destination} is an address of node ${facts.node}`, { kind: "host" });
  }
  const segment = home.wire?.segment;
  const ontoWire = (explanation: string, wider: Partial<Cube> = {}): Decision => {
    if (segment !== undefined) return allow("to-wire", explanation, { kind: "uplink", segment }, wider);
    return deny("network-absent", `node ${facts.node} has no way onto the network of subnet ${home.name}`, wider);
  };

  const there = facts.subnetOf(destination);
  if (there === undefined) {
    if (!facts.complete) {
      dependsOn.push("complete");
      return hold("facts-incomplete", `whether ${destination} is inside the cluster is not known yet`);
    }
    const wide = facts.outsidePrefix(destination);
    return ontoWire(`${formatCidr(wide)} is no pod's: out by the gateway of subnet ${home.name}`, {
      destination: wide,
    });
  }
  const to = locate(destination, facts);
  const isDirect = there.wire?.direct === true && home.wire?.direct === true;
  const isOneSegment = there.wire !== undefined && there.name === home.name;
  if (there.wire !== undefined && !isOneSegment && !isDirect) {
    return ontoWire(`subnet ${there.name} is reached by the gateway of subnet ${home.name}`);
  }
  switch (to.at) {
    case "local":
      return allow("to-local-pod", `${to.endpoint.name} holds ${destination} on this node`, {
        kind: "local",
        ...narrowFor(there),
      });
    case "this-node":
      return allow("to-node", `${destination} is the address of node ${facts.node}`, { kind: "host" });
    case "remote": {
      const { endpoint } = to;
      if (isOneSegment)
        return ontoWire(`${endpoint.name} holds ${destination} on node ${endpoint.node}, on the same wire`);
      if (there.wire !== undefined) {
        const across = there.wire.segment;
        if (across === undefined || endpoint.mac === undefined) {
          return ontoWire(`${endpoint.name} holds ${destination}; node ${facts.node} is not on its wire`);
        }
        return allow(
          "to-wire",
          `${endpoint.name} holds ${destination} on node ${endpoint.node}, straight over its wire`,
          {
            kind: "uplink",
            segment: across,
            mac: endpoint.mac,
          },
        );
      }
      dependsOn.push(`node:${endpoint.node}`);
      const tunnelAddress = facts.nodeNamed(endpoint.node)?.tunnelAddress;
      if (tunnelAddress === undefined) {
        return hold(
          "node-without-tunnel",
          `${endpoint.name} runs on node ${endpoint.node}, which has published no tunnel address`,
        );
      }
      return allow("to-remote-pod", `${endpoint.name} holds ${destination} on node ${endpoint.node}`, {
        kind: "tunnel",
        destination: tunnelAddress,
        vni: there.vni,
        narrow: true,
      });
    }
    case "unowned": {
      dependsOn.push("blocks");
      const wide = facts.unownedPrefix(destination, to.subnet);
      return deny("destination-unowned", `no node owns ${formatCidr(wide)} of subnet ${to.subnet.name}`, {
        destination: wide,
      });
    }
    case "absent":
      if (isOneSegment) return ontoWire(to.why);
      dependsOn.push("blocks");
      return deny("destination-absent", to.why);
    case "wire":
    case "outside":
      return ontoWire(`no pod holds ${destination}: it is left to the wire of subnet ${home.name}`);
    case "unknown":
      // Whoever it is, it is asked for on the wire: the pod did so before it could send.
      if (isOneSegment) return ontoWire(`who holds ${destination} is left to the wire of subnet ${home.name}`);
      dependsOn.push("complete", "blocks");
      return hold(to.why, `who holds ${destination} is not known yet`);
  }
}

/** A packet that came in from a wire. */
export function decideFromWire(question: Question, facts: Facts): Decision {
  const { source, destination, segment } = question;
  const dependsOn: FactKey[] = [`address:${source}`, `address:${destination}`, "subnets"];
  const cube: Cube = { source: exact(source), destination: exact(destination) };
  const deny = (reason: Reason, explanation: string): Decision => ({
    verdict: "deny",
    reason,
    explanation,
    cube,
    dependsOn,
  });

  const home = facts.subnetOf(destination);
  if (home?.wire === undefined || home.wire.segment !== segment) {
    return deny("wire-other-segment", `${destination} came from a wire that it does not live on`);
  }
  const to = locate(destination, facts);
  if (to.at !== "local") {
    return deny("destination-not-here", `no pod of node ${facts.node} holds ${destination}`);
  }
  const origin = facts.subnetOf(source);
  if (origin === undefined) {
    return {
      verdict: "allow",
      reason: "from-wire",
      explanation: `from outside to ${to.endpoint.name}, which holds ${destination}`,
      cube: { ...cube, source: facts.outsidePrefix(source) },
      way: { kind: "local" },
      dependsOn,
    };
  }
  if (origin.wire === undefined) {
    return deny("wire-source-overlay", `${source} lies in the overlay subnet ${origin.name}, which no wire carries`);
  }
  if (origin.name === home.name && locate(source, facts).at === "local") {
    return deny("wire-source-local", `${source} is held by a pod of this node, and somebody on the wire uses it too`);
  }
  return {
    verdict: "allow",
    reason: "from-wire",
    explanation: `from ${source} of subnet ${origin.name} to ${to.endpoint.name}, which holds ${destination}`,
    cube,
    way: { kind: "local" },
    dependsOn,
  };
}

/** Pods on wires may send larger packets than pods of overlays take. */
function narrowFor(there: SubnetFact): { narrow?: true } {
  return there.wire === undefined ? { narrow: true } : {};
}

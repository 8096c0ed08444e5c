/**
 * The physical network between two nodes of the underlay scenario: an untagged cable, because not every kernel has 802.1Q
 * for the contender that needs it there.
 */
import { inNamespace, run } from "./site.ts";

export const underlayPrefix = 24;

/** Address of the pod on the first or the second node. */
export function underlayAddress(at: number): string {
  return `10.30.0.${50 + at}`;
}

/**
 * Joins two namespaces by a cable with an end of this name in each. What a NIC does before a frame reaches a real wire is
 * done before it reaches this one: segments are cut to the MTU and checksums are computed, for all contenders alike.
 */
export function layCable(name: string, left: string, right: string): void {
  const cable = `name ${name} netns ${left} type veth peer name ${name} netns ${right}`;
  run(["ip", "link", "add", ...cable.split(" ")]);
  for (const namespace of [left, right]) {
    run(inNamespace(namespace, ["ethtool", "-K", name, "tx", "off", "tso", "off", "gso", "off"]));
    run(["ip", "-n", namespace, "link", "set", name, "up"]);
  }
}

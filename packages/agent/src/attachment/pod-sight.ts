/** What the kernel of a pod knows: asked in the pod's own namespace. */
import { RouteSocket } from "@beyondfabric/link";
import type { PodSight } from "../underlay/examiner.ts";

/** NUD_INCOMPLETE and NUD_FAILED of linux/neighbour.h. */
const neighbourUnusable = 0x01 | 0x20;

/** Undefined when the namespace or the interface is gone. */
export async function podSight(netns: string, ifname: string): Promise<PodSight | undefined> {
  let socket: RouteSocket;
  try {
    socket = RouteSocket.open(netns);
  } catch {
    return undefined;
  }
  try {
    const link = await socket.findLink(ifname);
    if (link === undefined) return undefined;
    const neighbours = await socket.listNeighbours({ dev: link.index });
    return {
      mtu: link.mtu,
      neighbours: neighbours.flatMap(({ ip, mac, state }) =>
        mac === undefined || (state & neighbourUnusable) !== 0 ? [] : [{ address: ip, mac }],
      ),
    };
  } finally {
    await socket.close();
  }
}

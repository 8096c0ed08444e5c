/** Taking over an interface's addresses and routes, as when a NIC becomes a port of a switch. */
import { LinkError } from "./errors.ts";
import type { RouteSocket } from "./route-socket.ts";
import type { Address, Route, RouteSpec } from "./records.ts";

const KERNEL = 2;

/** What moved. */
export interface MovedAddresses {
  readonly addresses: readonly string[];
  readonly routes: readonly string[];
}

function spec(route: Route, dev: number): RouteSpec {
  return {
    dst: route.dst,
    dev,
    ...(route.gateway === undefined ? {} : { gateway: route.gateway }),
    ...(route.src === undefined ? {} : { src: route.src }),
    ...(route.metric === undefined ? {} : { metric: route.metric }),
    ...(route.mtu === undefined ? {} : { mtu: route.mtu }),
    scope: route.scope,
    type: route.type,
    protocol: route.protocol,
    table: route.table,
    onlink: route.onlink,
  };
}

/** Direct routes first: a gateway must be reachable when the route through it is set. */
function directFirst(a: Route, b: Route): number {
  return Number(a.gateway !== undefined) - Number(b.gateway !== undefined);
}

/**
 * Moves every address that is not link-local, and every route of the main table that was not made by the kernel, from one
 * interface to another of the same namespace. The address is on the new interface before it leaves the old one, so that
 * connections and listening sockets bound to it live on. Bring the target up first. Repeating it after a failure half-way
 * finishes the move. Throws LINK_UNSUPPORTED for a route with several next hops, before anything is changed.
 */
export async function moveAddresses(socket: RouteSocket, from: number, to: number): Promise<MovedAddresses> {
  const source = await socket.getLink(from);
  const target = await socket.getLink(to);
  if (!target.up) {
    throw new LinkError(
      "LINK_UNSUPPORTED",
      `cannot move the addresses of ${source.name} to ${target.name}, which is down`,
      {
        object: target.name,
        remedy: "bring it up first: routes need an interface that is up",
      },
    );
  }
  const addresses = (await socket.listAddresses(from)).filter(
    (address) => address.scope !== "link" && !address.duplicate,
  );
  const routes = (await socket.listRoutes())
    .filter((route) => route.dev === from || route.multipath)
    .filter((route) => route.protocol !== KERNEL)
    .sort(directFirst);
  const several = routes.find((route) => route.multipath);
  if (several !== undefined) {
    throw new LinkError("LINK_UNSUPPORTED", `route ${several.dst} has several next hops`, {
      object: several.dst,
      remedy: `replace it by one through a single next hop before ${source.name} is taken over`,
    });
  }
  for (const address of addresses) await socket.addAddress(copyOf(address, to));
  for (const route of routes) await moveRoute(socket, route, from, to);
  // Backwards: the kernel deletes the other addresses of a prefix together with the first.
  for (const address of addresses.toReversed()) await socket.deleteAddress(from, address.cidr);
  // What the kernel took away while the old address left (routes whose direct route went with it).
  const left = new Set((await socket.listRoutes({ dev: to })).map((route) => routeKey(route)));
  for (const route of routes) {
    if (!left.has(routeKey(route))) await socket.addRoute({ ...spec(route, to), replace: true });
  }
  return { addresses: addresses.map((address) => address.cidr), routes: routes.map((route) => route.dst) };
}

function routeKey(route: Route): string {
  return `${route.dst} ${route.gateway ?? ""} ${route.metric ?? ""}`;
}

function copyOf(address: Address, dev: number): Parameters<RouteSocket["addAddress"]>[0] {
  return {
    dev,
    cidr: address.cidr,
    nodad: true,
    noPrefixRoute: address.noPrefixRoute,
    replace: true,
    ...(address.broadcast === undefined ? {} : { broadcast: address.broadcast }),
    ...(address.validSeconds === undefined ? {} : { validSeconds: address.validSeconds }),
    ...(address.preferredSeconds === undefined ? {} : { preferredSeconds: address.preferredSeconds }),
  };
}

async function moveRoute(socket: RouteSocket, route: Route, from: number, to: number): Promise<void> {
  await socket.addRoute({ ...spec(route, to), replace: true });
  // IPv4 replaces in place; IPv6 keeps routes with the same destination through another interface beside the new one.
  if (route.family === 6) await socket.deleteRoute(spec(route, from));
}

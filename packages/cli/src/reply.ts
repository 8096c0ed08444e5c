/**
 * The shapes of the agent's replies, checked before anything is printed: an agent of another version, or another program
 * on the socket, gives a sentence and not a stack trace. Fields that are not known here are let through.
 */
import type { EndpointsReply, FlowsReply, StatusReply, VersionReply } from "@beyondfabric/agent/api";
import { FabricctlError } from "./errors.ts";

/** Gives the value back when it has the shape, and names `path` otherwise. */
export type Shape<T> = (value: unknown, path: string) => T;

type Fields<T> = {
  readonly [K in keyof T]-?: object extends Pick<T, K> ? Shape<T[K] | undefined> : Shape<T[K]>;
};

function wrong(path: string, expected: string, value: unknown): FabricctlError {
  const found = value === null ? "null" : Array.isArray(value) ? "a list" : typeof value;
  return new FabricctlError(
    "FABRICCTL_REPLY",
    `fabric-node's answer has ${found} where ${path} must be ${expected}; use the fabricctl of the agent's version`,
  );
}

const string: Shape<string> = (value, path) => {
  if (typeof value !== "string") throw wrong(path, "a string", value);
  return value;
};

const number: Shape<number> = (value, path) => {
  if (typeof value !== "number") throw wrong(path, "a number", value);
  return value;
};

const boolean: Shape<boolean> = (value, path) => {
  if (typeof value !== "boolean") throw wrong(path, "true or false", value);
  return value;
};

const optional =
  <T>(shape: Shape<T>): Shape<T | undefined> =>
  (value, path) =>
    value === undefined ? undefined : shape(value, path);

const oneOf =
  <const T extends string>(...values: readonly T[]): Shape<T> =>
  (value, path) => {
    if (!values.includes(value as T)) throw wrong(path, `one of ${values.join(", ")}`, value);
    return value as T;
  };

const list =
  <T>(shape: Shape<T>): Shape<readonly T[]> =>
  (value, path) => {
    if (!Array.isArray(value)) throw wrong(path, "a list", value);
    for (const [index, item] of value.entries()) shape(item, `${path}[${index}]`);
    return value as readonly T[];
  };

const object =
  <T>(fields: Fields<T>): Shape<T> =>
  (value, path) => {
    if (typeof value !== "object" || value === null || Array.isArray(value)) throw wrong(path, "an object", value);
    for (const [name, shape] of Object.entries<Shape<unknown>>(fields)) {
      shape(Object.hasOwn(value, name) ? (value as Record<string, unknown>)[name] : undefined, `${path}.${name}`);
    }
    return value as T;
  };

export const versionReply: Shape<VersionReply> = object<VersionReply>({
  version: string,
  node: string,
  ovs: optional(string),
  openflow: string,
  runtime: string,
});

export const statusReply: Shape<StatusReply> = object<StatusReply>({
  node: string,
  version: versionReply,
  startedAt: number,
  ready: boolean,
  notReady: list(string),
  switch: object<StatusReply["switch"]>({
    connected: boolean,
    datapathType: string,
    bridge: string,
    failMode: optional(string),
    baseEntries: number,
    podEntries: number,
    verdictEntries: number,
    entryBudget: number,
  }),
  api: object<StatusReply["api"]>({ connected: boolean, synced: boolean }),
  addresses: list(
    object<StatusReply["addresses"][number]>({ subnet: string, block: string, used: number, capacity: number }),
  ),
  tunnelAddress: optional(string),
  gatewayAddresses: list(string),
  peers: number,
  pods: number,
  misses: object<StatusReply["misses"]>({
    total: number,
    perSecond: number,
    held: number,
    holdExpired: number,
    withoutEntry: number,
    metered: number,
  }),
  noisy: list(
    object<StatusReply["noisy"][number]>({
      pod: string,
      ofport: number,
      missesPerSecond: number,
      droppedPerSecond: number,
      droppedTotal: number,
      lastSeen: number,
    }),
  ),
  memoryBytes: number,
});

export const endpointsReply: Shape<EndpointsReply> = object<EndpointsReply>({
  endpoints: list(
    object<EndpointsReply["endpoints"][number]>({
      pod: string,
      uid: string,
      addresses: list(string),
      mac: string,
      ofport: number,
      hostInterface: string,
      container: string,
      subnet: string,
      created: number,
      spoofedPackets: number,
      misses: number,
    }),
  ),
});

export const flowsReply: Shape<FlowsReply> = object<FlowsReply>({
  flows: list(
    object<FlowsReply["flows"][number]>({
      table: string,
      kind: oneOf("base", "pod", "verdict", "foreign"),
      text: string,
      packets: number,
      bytes: number,
      explanation: optional(string),
      source: optional(string),
      destination: optional(string),
    }),
  ),
});

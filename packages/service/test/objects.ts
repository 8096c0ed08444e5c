/** Sound objects in few words, parsed. */
import assert from "node:assert/strict";
import {
  parseEndpoints,
  parseEndpointSlice,
  parseService,
  type EndpointsRecord,
  type ServiceRecord,
  type SliceRecord,
} from "../src/index.ts";

export interface ServiceWords {
  readonly name: string;
  /** Day of January 2026. */
  readonly day?: number;
  readonly spec?: object;
  readonly ingress?: readonly object[];
}

/** A Service of the namespace `shop` that answers 10.96.0.1 port 80. */
export function service({ name, day = 1, spec = {}, ingress = [] }: ServiceWords): ServiceRecord {
  const { service: record, violations } = parseService({
    metadata: { namespace: "shop", name, uid: `uid-${name}`, creationTimestamp: `2026-01-0${day}T00:00:00Z` },
    spec: { clusterIPs: ["10.96.0.1"], ports: [{ port: 80 }], ...spec },
    status: { loadBalancer: { ingress } },
  });
  assert.deepEqual(violations, []);
  return record!;
}

/** `10.1.0.1`, or `10.1.0.1@n1 -ready +terminating` with its node and its conditions. */
export function endpoint(text: string): object {
  const [place = "", ...flags] = text.split(" ");
  const [address = "", nodeName] = place.split("@");
  const conditions = Object.fromEntries(flags.map((flag) => [flag.slice(1), flag.startsWith("+")]));
  return { addresses: [address], conditions, ...(nodeName === undefined ? {} : { nodeName }) };
}

/** A slice of the Service `web` of the namespace `shop`, unless it says otherwise; its endpoints answer on port 8080. */
export function slice(name: string, endpoints: readonly string[], more: { service?: string; ports?: object[] } = {}) {
  const { slice: record, violations } = parseEndpointSlice({
    metadata: { namespace: "shop", name, labels: { "kubernetes.io/service-name": more.service ?? "web" } },
    addressType: endpoints[0]?.includes(":") === true ? "IPv6" : "IPv4",
    ports: more.ports ?? [{ port: 8080 }],
    endpoints: endpoints.map(endpoint),
  });
  assert.deepEqual(violations, []);
  return record! satisfies SliceRecord;
}

/** The Endpoints object of the Service `web` of the namespace `shop`. */
export function endpointsObject(addresses: readonly string[]): EndpointsRecord {
  const subsets = [{ addresses: addresses.map((ip) => ({ ip })), ports: [{ port: 8080 }] }];
  const { endpoints, violations } = parseEndpoints({ metadata: { namespace: "shop", name: "web" }, subsets });
  assert.deepEqual(violations, []);
  return endpoints!;
}

import assert from "node:assert/strict";
import { describe, it } from "node:test";
import {
  conformanceCases,
  namespaces,
  podNames,
  pods,
  portName,
  services,
  TruthTable,
  withAddresses,
  type ConformanceStep,
} from "../../../test/conformance/network-policy.ts";
import type { World, WorldPacket, WorldPolicy } from "./oracle.ts";
import { oracleAllows } from "./oracle.ts";
import { Product } from "./product.ts";

function addressesOf(pod: string): Readonly<Record<4 | 6, string>> {
  const host = pods.indexOf(pod) + 1;
  return { 4: `10.1.0.${host}`, 6: `fd00:1::${host}` };
}

/** The cluster of a step, its pods spread over three nodes as the lab spreads them. */
function worldOf(step: ConformanceStep, family: 4 | 6): World {
  const cidrOf = (pod: string): string => `${addressesOf(pod)[family]}/${family === 4 ? 32 : 128}`;
  const policies = withAddresses(step.policies, cidrOf, family === 4 ? "0.0.0.0/0" : "::/0");
  return {
    namespaces: namespaces.map((name) => ({
      name,
      labels: { ns: name, "kubernetes.io/metadata.name": name, ...step.labels?.[`namespace ${name}`] },
    })),
    nodes: [],
    pods: pods.map((pod, index) => {
      const [namespace, name] = pod.split("/") as [string, string];
      return {
        name,
        namespace,
        node: `n${index % 3}`,
        labels: { pod: name, ...step.labels?.[`pod ${pod}`] },
        addresses: addressesOf(pod),
        ports: services.map((service) => {
          const [port, protocol] = service.split("/") as [string, string];
          return { name: portName(service), protocol, containerPort: Number(port) };
        }),
      };
    }),
    policies: policies.map(({ name, namespace, spec }) => ({ metadata: { name, namespace }, spec }) as WorldPolicy),
  };
}

describe("the public model of three namespaces and three pods each", () => {
  it("has the size that it says", () => {
    assert.equal(pods.length, namespaces.length * podNames.length);
    assert.ok(conformanceCases().length >= 50);
  });

  for (const { name, steps } of conformanceCases()) {
    it(name, () => {
      for (const [index, step] of steps.entries()) {
        const table = new TruthTable(step.expect);
        for (const family of [4, 6] as const) {
          const world = worldOf(step, family);
          const product = new Product(world);
          for (const source of pods) {
            for (const destination of pods) {
              for (const service of services) {
                const [port, protocol] = service.split("/") as [string, string];
                const packet: WorldPacket = {
                  from: { pod: pods.indexOf(source) },
                  to: { pod: pods.indexOf(destination) },
                  family,
                  protocol,
                  port: Number(port),
                };
                const expected = table.allows(source, destination, service);
                const where = `step ${index + 1}, IPv${family}: ${source} to ${destination} on ${service}`;
                assert.equal(product.allows(packet), expected, where);
                assert.equal(oracleAllows(world, packet), expected, `the test's own evaluator, ${where}`);
              }
            }
          }
        }
      }
    });
  }
});

import assert from "node:assert/strict";
import { describe, it } from "node:test";
import * as fc from "fast-check";
import { serviceEndpoints } from "../../src/directory/service-lookup.ts";

describe("endpoints of a service", () => {
  it("are the ready ones, with the port that answers each port of the service", () => {
    const service = {
      spec: {
        ports: [
          { name: "web", port: 80 },
          { name: "dns", port: 53, protocol: "UDP" },
        ],
      },
    };
    const endpoints = {
      subsets: [
        {
          addresses: [{ ip: "10.244.1.5" }, { ip: "fd00::5" }],
          notReadyAddresses: [{ ip: "10.244.1.6" }],
          ports: [
            { name: "web", port: 8080, protocol: "TCP" },
            { name: "other", port: 1 },
          ],
        },
        { addresses: [{ ip: "10.244.1.5" }], ports: [{ name: "dns", port: 5353, protocol: "UDP" }] },
      ],
    };
    const web = { protocol: "TCP", port: 80, targetPort: 8080 };
    assert.deepEqual(serviceEndpoints(service, endpoints), [
      { address: "10.244.1.5", ports: [web, { protocol: "UDP", port: 53, targetPort: 5353 }] },
      { address: "fd00::5", ports: [web] },
    ]);
  });

  it("are nothing of what is no service, whatever it is", () => {
    fc.assert(
      fc.property(fc.anything(), fc.anything(), fc.array(fc.anything()), (service, ip, anything) => {
        serviceEndpoints(service, { subsets: anything });
        for (const { address } of serviceEndpoints(service, { subsets: [{ addresses: [{ ip }], ports: anything }] })) {
          assert.equal(typeof address, "string");
        }
      }),
    );
  });
});

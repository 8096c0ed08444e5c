/** The CNI project's own plug-ins as Debian ships them: `bridge` with `host-local` addresses. */
import { existsSync } from "node:fs";
import { join } from "node:path";
import type { Contender } from "./contender.ts";

const DIRECTORY = "/usr/lib/cni";

export const referenceCni: Required<Pick<Contender, "name" | "startCni">> = {
  name: "bridge+host-local",
  async startCni(site) {
    const executable = join(DIRECTORY, "bridge");
    if (!existsSync(executable)) {
      throw new Error(`${executable} is missing; install Debian's containernetworking-plugins`);
    }
    return {
      name: referenceCni.name,
      namespace: site.addNamespace("cni"),
      executable,
      binDirectory: DIRECTORY,
      configuration: {
        cniVersion: "1.0.0",
        name: "bench",
        type: "bridge",
        bridge: "cni0",
        isGateway: true,
        ipam: {
          type: "host-local",
          ranges: [[{ subnet: "10.88.0.0/16" }]],
          routes: [{ dst: "0.0.0.0/0" }],
          dataDir: site.addDirectory("host-local"),
        },
      },
      argumentsOf: () => "",
      announce: async () => {},
      withdraw: async () => {},
    };
  },
};

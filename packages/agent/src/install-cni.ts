/** Puts the CNI executable and the network configuration where the container runtime looks, each in one step. */
import { chmodSync, copyFileSync, mkdirSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import type { AgentConfig } from "./config.ts";
import { AgentError } from "./errors.ts";

/** Sorted before whatever else may be there: runtimes take the first configuration. */
const configurationName = "10-beyondfabric.conflist";
const executableName = "fabric-cni";

/**
 * The executable first: a runtime that sees the configuration must find what it names.
 * @throws AgentError `AGENT_INSTALL`
 */
export function installCni({ cni }: Pick<AgentConfig, "cni">): { executable: string; configuration: string } {
  if (cni.executable === undefined) {
    throw new AgentError("AGENT_INSTALL", "cni.executable is not set; name the file that tools/build-cni.sh prints");
  }
  const executable = join(cni.binDirectory, executableName);
  const configuration = join(cni.confDirectory, configurationName);
  const source = cni.executable;
  inOneStep(executable, (temporary) => {
    copyFileSync(source, temporary);
    chmodSync(temporary, 0o755);
  });
  inOneStep(configuration, (temporary) => writeFileSync(temporary, networkConfiguration(cni.socket), { mode: 0o644 }));
  return { executable, configuration };
}

/** The network configuration list that runtimes read (CNI 1.0.0, section 1). */
export function networkConfiguration(socket: string): string {
  const list = {
    cniVersion: "1.0.0",
    name: "beyondfabric",
    plugins: [{ type: executableName, socket }],
  };
  return `${JSON.stringify(list, undefined, 2)}\n`;
}

function inOneStep(path: string, write: (temporary: string) => void): void {
  const temporary = `${path}.${process.pid}.new`;
  try {
    mkdirSync(dirname(path), { recursive: true });
    try {
      write(temporary);
      renameSync(temporary, path);
    } catch (cause) {
      rmSync(temporary, { force: true });
      throw cause;
    }
  } catch (cause) {
    throw new AgentError(
      "AGENT_INSTALL",
      `${path} cannot be written: ${(cause as Error).message}; see the rights of its folder`,
      {
        cause,
      },
    );
  }
}

/** `fabric-node`: reads its configuration and runs the node; composition only. */
import { parseArgs } from "node:util";
import { ConfigError, loadConfig, type AgentConfig } from "./config.ts";
import { installCni } from "./install-cni.ts";
import { createLogger } from "./log.ts";
import { releaseNics } from "./release-nics.ts";
import { FabricNode } from "./node.ts";
import { version } from "./version.ts";

const usage = `fabric-node ${version}

  fabric-node --config FILE              run the agent of this node
  fabric-node install-cni --config FILE  install the CNI executable and configuration, then end
  fabric-node release-nics --config FILE give NICs that bridges took back to the node, then end; the agent must be stopped
  fabric-node --version`;

async function main(): Promise<number> {
  let parsed;
  try {
    parsed = parseArgs({
      allowPositionals: true,
      options: { config: { type: "string" }, version: { type: "boolean" }, help: { type: "boolean" } },
    });
  } catch (error) {
    console.error(`fabric-node: ${(error as Error).message}\n\n${usage}`);
    return 2;
  }
  const { values, positionals } = parsed;
  if (values.version === true || values.help === true) {
    console.log(values.version === true ? version : usage);
    return 0;
  }
  const [command, ...rest] = positionals;
  if (rest.length > 0 || (command !== undefined && command !== "install-cni" && command !== "release-nics")) {
    console.error(`fabric-node: ${positionals.join(" ")} is no command\n\n${usage}`);
    return 2;
  }
  let config: AgentConfig;
  try {
    config = loadConfig(values.config ?? "/etc/beyondfabric/fabric-node.yaml");
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error;
    console.error(error.message);
    return 1;
  }
  if (command === "install-cni") {
    const { executable, configuration } = installCni(config);
    console.log(`installed ${executable} and ${configuration}`);
    return 0;
  }
  if (command === "release-nics") {
    const released = await releaseNics(config, createLogger("error", config.nodeName));
    for (const { nic, bridge, addresses } of released) {
      console.log(`${nic} is the node's again, ${bridge} is gone: ${addresses.join(", ") || "no addresses"}`);
    }
    if (released.length === 0) console.log("no bridge of fabric-node's has a NIC");
    return 0;
  }
  await run(config);
  return 0;
}

async function run(config: AgentConfig): Promise<void> {
  const logger = createLogger(config.log.level, config.nodeName);
  const node = new FabricNode(config, logger);
  // A mistake in one place must not leave half an agent running: the supervisor starts a whole one.
  const fatal = (error: unknown): void => {
    logger.fatal({ err: error }, "unexpected error; ending so that a fresh start repairs it");
    process.exit(70);
  };
  process.on("uncaughtException", fatal);
  process.on("unhandledRejection", fatal);
  await node.start();
  await new Promise<void>((resolve) => {
    process.once("SIGTERM", () => resolve());
    process.once("SIGINT", () => resolve());
  });
  logger.info("ending");
  const patience = setTimeout(() => process.exit(0), 5000);
  await node.stop();
  clearTimeout(patience);
}

process.exitCode = await main().catch((error: unknown) => {
  console.error(error instanceof Error ? `fabric-node: ${error.message}` : error);
  return 1;
});

/** `fabric-lab`: a cluster in network namespaces, with real Open vSwitch, real agents and the real CNI executable. */
import { join } from "node:path";
import { Command, InvalidArgumentError } from "commander";
import { type LabOverrides, readLabConfig } from "./config.ts";
import { callSupervisor } from "./control-client.ts";
import { down } from "./down.ts";
import { LabError, messageOf } from "./errors.ts";
import {
  hostNamespaceOf,
  inNamespace,
  nodeEnvironment,
  nodeNamespaceOf,
  podRecord,
  runAttached,
} from "./machine-command.ts";
import { labNames, type LabNames, nodePaths } from "./names.ts";
import { formatStatus, type LabStatus } from "./status-text.ts";
import { readSpec } from "./supervisor/lab-spec.ts";
import { up } from "./up.ts";

const program = new Command("fabric-lab")
  .description("A Kubernetes cluster in network namespaces: real Open vSwitch, real agents, the real CNI executable.")
  .option("--name <lab>", "name of the lab; several run side by side", "lab")
  .enablePositionalOptions()
  .showHelpAfterError();

const names = (): LabNames => labNames(program.opts<{ name: string }>().name);

/** A subcommand that takes --name too, wherever it is written. */
function subcommand(usage: string, description: string): Command {
  const command = program.command(usage).description(description);
  command
    .option("--name <lab>", "name of the lab")
    .on("option:name", (value: string) => program.setOptionValue("name", value));
  return command;
}

const wholeNumber = (text: string): number => {
  if (!/^\d+$/.test(text)) throw new InvalidArgumentError("must be a whole number.");
  return Number(text);
};

subcommand("up", "bring the lab up; returns when pods can run")
  .option("--nodes <count>", "number of nodes (default 3)", wholeNumber)
  .option("--control-plane <kind>", "embedded (default) or kubernetes: a real etcd and kube-apiserver")
  .option("--config <file>", "YAML: nodes, hosts, vlans, controlPlane, agent, manifests, cni")
  .action(async (options: LabOverrides & { config?: string }) => {
    const begun = performance.now();
    const config = readLabConfig(options.config, options);
    const seconds = (milliseconds: number) => `${(milliseconds / 1000).toFixed(2).padStart(7)} s`;
    const spec = await up(names().lab, config, (step) => console.log(`${seconds(step.milliseconds)}  ${step.name}`));
    console.log(
      `${seconds(performance.now() - begun)}  lab "${spec.name}" is up: ${spec.config.nodes} nodes, ${spec.config.controlPlane} control plane`,
    );
    console.log(`export KUBECONFIG=${names().kubeconfig}`);
  });

subcommand("down", "take the lab down; nothing is left, also after a crash").action(async () => {
  const { lab } = names();
  console.log((await down(lab)) ? `lab "${lab}" is down` : `there is no lab "${lab}"`);
});

subcommand("kubeconfig", "print the path of a kubeconfig for kubectl").action(() => {
  readSpec(names());
  console.log(names().kubeconfig);
});

subcommand("exec <pod> [command...]", "run a command in the network namespace of NAMESPACE/POD")
  .passThroughOptions()
  .action(async (pod: string, command: string[]) => {
    process.exitCode = await runAttached(inNamespace(podRecord(names(), pod).namespace, commandOf(command)));
  });

subcommand("node <node> [command...]", "run a command on a node; ovs-vsctl and the like speak to that node's switch")
  .passThroughOptions()
  .action(async (node: string, command: string[]) => {
    process.exitCode = await runAttached(
      inNamespace(nodeNamespaceOf(names(), node), commandOf(command)),
      nodeEnvironment(names(), node),
    );
  });

subcommand("host <host> [command...]", "run a command on a machine that stands outside the cluster, on the wire")
  .passThroughOptions()
  .action(async (host: string, command: string[]) => {
    process.exitCode = await runAttached(inNamespace(hostNamespaceOf(names(), host), commandOf(command)));
  });

subcommand("status", "what runs where")
  .option("--json", "as JSON")
  .action(async (options: { json?: boolean }) => {
    readSpec(names());
    const status = (await callSupervisor(names().controlSocket, "GET /status")) as LabStatus;
    console.log(options.json === true ? JSON.stringify(status, null, 2) : formatStatus(status));
  });

subcommand(
  "component <node> <component> <action>",
  "start, stop, kill (it is started again) or pid of agent, vswitchd, ovsdb, kubelet; node - for apiserver, etcd, wire-vswitchd, wire-ovsdb",
).action(async (machine: string, component: string, action: string) => {
  const answer = (await callSupervisor(names().controlSocket, "POST /component", { machine, component, action })) as {
    pid: number | null;
    state: string;
  };
  console.log(action === "pid" ? (answer.pid ?? "") : answer.state);
  if (action === "pid" && answer.pid === null) process.exitCode = 1;
});

subcommand("logs <node> <component>", "print the log of a component; node - for apiserver, etcd, supervisor").action(
  async (machine: string, component: string) => {
    process.exitCode = await runAttached(["cat", logFile(names(), machine, component)]);
  },
);

subcommand("add-node <node>", "add a node; returns when it is ready").action(async (node: string) => {
  await callSupervisor(names().controlSocket, "POST /add-node", { node });
});

subcommand("remove-node <node>", "stop everything on a node and delete its Node object").action(
  async (node: string) => {
    await callSupervisor(names().controlSocket, "POST /remove-node", { node });
  },
);

subcommand("check <pod>", "CNI CHECK of NAMESPACE/POD against the result of its ADD").action(async (pod: string) => {
  await callSupervisor(names().controlSocket, "POST /check", { pod });
});

/** The command after the first `--`, which commander leaves in place. */
function commandOf(words: readonly string[]): readonly string[] {
  return words[0] === "--" ? words.slice(1) : words;
}

/** File that a component logs to. */
function logFile(lab: LabNames, machine: string, component: string): string {
  if (!/^[a-z-]+$/.test(component))
    throw new LabError("LAB_BAD_ARGUMENT", `"${component}" is not the name of a component`);
  const files: Readonly<Record<string, string>> = {
    vswitchd: "ovs/ovs-vswitchd.log",
    ovsdb: "ovs/ovsdb-server.log",
    agent: "agent.log",
  };
  if (machine !== "-" && component !== "kubelet") {
    const file = files[component];
    if (file === undefined)
      throw new LabError(
        "LAB_NOT_FOUND",
        `no log of "${component}" on a node; there are ${Object.keys(files).join(", ")}`,
      );
    return join(nodePaths(lab, machine).directory, file);
  }
  // The kubelets and the scheduler are parts of the supervisor.
  if (component === "supervisor" || component === "kubelet" || component === "scheduler")
    return join(lab.directory, "supervisor.log");
  if (component.startsWith("wire-")) return join(lab.directory, "wire", files[component.slice(5)] ?? component);
  return join(lab.directory, "control-plane", `${component}.log`);
}

try {
  await program.parseAsync();
} catch (error) {
  console.error(`fabric-lab: ${messageOf(error)}`);
  process.exitCode = 1;
}

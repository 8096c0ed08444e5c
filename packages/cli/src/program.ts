/**
 * The commands of `fabricctl`, from arguments to an exit code: 0 done, 1 refused or failed, 2 not understood, 3 a check
 * found something wrong (`ip check`, `doctor`).
 */
import { Command, CommanderError, InvalidArgumentError } from "commander";
import { Commands, json, withCommonOptions, type Surroundings } from "./commands.ts";
import { addDoctorCommands } from "./doctor.ts";
import { formatEndpoints } from "./endpoints.ts";
import { FabricctlError } from "./errors.ts";
import { formatFlows } from "./flows.ts";
import { addIpCommands } from "./ip.ts";
import { addPolicyCommands } from "./policy-commands.ts";
import { endpointsReply, flowsReply, statusReply, versionReply } from "./reply.ts";
import { formatStatus } from "./status.ts";
import { visible } from "./terminal.ts";
import { formatVersion, ownVersion } from "./version.ts";

/** Runs one command line (without the program's own name). Never throws. */
export async function runFabricctl(args: readonly string[], surroundings: Surroundings): Promise<number> {
  const { err, name } = surroundings;
  try {
    const { program, commands } = fabricctl(surroundings);
    await program.parseAsync(args, { from: "user" });
    return commands.exitCode;
  } catch (error) {
    if (error instanceof CommanderError) return error.exitCode === 0 ? 0 : 2;
    const code = error instanceof FabricctlError ? ` (${error.code})` : "";
    err(`${name}: ${visible((error as Error).message)}${code}\n`);
    return 1;
  }
}

function fabricctl(surroundings: Surroundings): { program: Command; commands: Commands } {
  const { name, out, err, paint, now } = surroundings;
  const program = new Command(name)
    .description("What the fabric-node of this node knows and does. Reads only, but for `ip check --repair`.")
    .exitOverride()
    .configureOutput({ writeOut: out, writeErr: err })
    .showHelpAfterError(`see: ${name} --help`)
    .helpCommand(false);
  withCommonOptions(program);
  const commands = new Commands(surroundings, program);
  const { ask } = commands;

  commands.command("status", "ready or why not, the switch, entries, addresses, misses, who floods", async (asked) => {
    const reply = await ask("/v1/status", statusReply, asked);
    if (asked.output === "json") return json(reply);
    return formatStatus(reply, { wide: asked.output === "wide", now: now(), paint });
  });

  commands
    .command(
      "flows",
      "the switch's entries by table, with what they mean and how much they carried",
      async (asked, _, { pod }) => {
        const query = typeof pod === "string" ? `?${new URLSearchParams({ pod }).toString()}` : "";
        const reply = await ask(`/v1/flows${query}`, flowsReply, asked);
        if (asked.output === "json") return json(reply);
        if (reply.flows.length === 0 && typeof pod === "string") {
          return `no entries concern ${pod}; ${name} endpoints lists the pods of this node`;
        }
        return formatFlows(reply, asked.output === "wide", paint);
      },
    )
    .option("--pod <namespace/name>", "only the entries that concern this pod", podName);

  commands.command("endpoints", "the pods of this node: addresses, ports, misses, spoofed packets", async (asked) => {
    const reply = await ask("/v1/endpoints", endpointsReply, asked);
    return asked.output === "json" ? json(reply) : formatEndpoints(reply, asked.output === "wide", now());
  });

  commands.command("version", "versions of this program, the agent, the switch", async (asked) => {
    const own = ownVersion();
    // Said even when the agent is away: then it is most needed.
    if (asked.output !== "json") out(`${"fabricctl".padEnd(11)}   ${own}\n`);
    const reply = await ask("/v1/version", versionReply, asked);
    return asked.output === "json" ? json({ fabricctl: own, agent: reply }) : formatVersion(reply);
  });

  addIpCommands(commands);
  addPolicyCommands(commands);
  addDoctorCommands(commands);
  return { program, commands };
}

function podName(text: string): string {
  if (!/^[^/\s]+\/[^/\s]+$/.test(text))
    throw new InvalidArgumentError("write NAMESPACE/NAME, for example default/web-0.");
  return text;
}

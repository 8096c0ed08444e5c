/** The commands of `fabricctl`, from arguments to an exit code: 0 done, 1 refused or failed, 2 not understood. */
import { Command, CommanderError, InvalidArgumentError, Option } from "commander";
import { formatEndpoints } from "./endpoints.ts";
import { FabricctlError } from "./errors.ts";
import { formatFlows } from "./flows.ts";
import { getLocal } from "./local-api.ts";
import { endpointsReply, flowsReply, statusReply, versionReply, type Shape } from "./reply.ts";
import { formatStatus } from "./status.ts";
import { visible, type Paint } from "./terminal.ts";
import { formatVersion, ownVersion } from "./version.ts";

/** Where the agent listens unless its `api.socket` says otherwise. */
export const defaultSocket = "/run/beyondfabric/api.sock";

export interface Surroundings {
  /** As the user calls it: `fabricctl`, or `kubectl fabric`. */
  readonly name: string;
  readonly out: (text: string) => void;
  readonly err: (text: string) => void;
  readonly paint: Paint;
  /** ms since the epoch */
  readonly now: () => number;
  /** Time for one exchange with the agent (ms); default 5,000. */
  readonly timeout?: number;
}

type Output = "text" | "wide" | "json";

interface Asked {
  readonly socket: string;
  readonly output: Output;
}

/** Runs one command line (without the program's own name). Never throws. */
export async function runFabricctl(args: readonly string[], surroundings: Surroundings): Promise<number> {
  const { err, name } = surroundings;
  try {
    await fabricctl(surroundings).parseAsync(args, { from: "user" });
    return 0;
  } catch (error) {
    if (error instanceof CommanderError) return error.exitCode === 0 ? 0 : 2;
    const code = error instanceof FabricctlError ? ` (${error.code})` : "";
    err(`${name}: ${visible((error as Error).message)}${code}\n`);
    return 1;
  }
}

function fabricctl(surroundings: Surroundings): Command {
  const { name, out, err, paint, now, timeout } = surroundings;
  const program = new Command(name)
    .description("What the fabric-node of this node knows and does. Reads only.")
    .exitOverride()
    .configureOutput({ writeOut: out, writeErr: err })
    .showHelpAfterError(`see: ${name} --help`)
    .helpCommand(false);
  withCommonOptions(program);

  async function ask<T>(path: string, shape: Shape<T>, asked: Asked): Promise<T> {
    return shape(
      await getLocal(path, { socket: asked.socket, ...(timeout === undefined ? {} : { timeout }) }),
      "the reply",
    );
  }

  function subcommand(
    usage: string,
    description: string,
    action: (asked: Asked, own: Readonly<Record<string, unknown>>) => Promise<string>,
  ): Command {
    return withCommonOptions(program.command(usage).description(description)).action(async (_, command: Command) => {
      const options = command.optsWithGlobals<{ socket?: string; output?: Output; pod?: string }>();
      const asked = { socket: options.socket ?? defaultSocket, output: options.output ?? "text" };
      out(`${await action(asked, options)}\n`);
    });
  }

  subcommand("status", "ready or why not, the switch, entries, addresses, misses, who floods", async (asked) => {
    const reply = await ask("/v1/status", statusReply, asked);
    if (asked.output === "json") return json(reply);
    return formatStatus(reply, { wide: asked.output === "wide", now: now(), paint });
  });

  subcommand(
    "flows",
    "the switch's entries by table, with what they mean and how much they carried",
    async (asked, { pod }) => {
      const query = typeof pod === "string" ? `?${new URLSearchParams({ pod }).toString()}` : "";
      const reply = await ask(`/v1/flows${query}`, flowsReply, asked);
      if (asked.output === "json") return json(reply);
      if (reply.flows.length === 0 && typeof pod === "string") {
        return `no entries concern ${pod}; ${name} endpoints lists the pods of this node`;
      }
      return formatFlows(reply, asked.output === "wide", paint);
    },
  ).option("--pod <namespace/name>", "only the entries that concern this pod", podName);

  subcommand("endpoints", "the pods of this node: addresses, ports, misses, spoofed packets", async (asked) => {
    const reply = await ask("/v1/endpoints", endpointsReply, asked);
    return asked.output === "json" ? json(reply) : formatEndpoints(reply, asked.output === "wide", now());
  });

  subcommand("version", "versions of this program, the agent, the switch", async (asked) => {
    const own = ownVersion();
    // Said even when the agent is away: then it is most needed.
    if (asked.output !== "json") out(`${"fabricctl".padEnd(11)}   ${own}\n`);
    const reply = await ask("/v1/version", versionReply, asked);
    return asked.output === "json" ? json({ fabricctl: own, agent: reply }) : formatVersion(reply);
  });
  return program;
}

/** On the program and on every command, so that they may stand before or after its name. No defaults: the nearer wins. */
function withCommonOptions(command: Command): Command {
  return command
    .option("--socket <path>", `the agent's api.socket (default ${defaultSocket})`)
    .addOption(new Option("-o, --output <format>", "how to print (default text)").choices(["text", "wide", "json"]));
}

function podName(text: string): string {
  if (!/^[^/\s]+\/[^/\s]+$/.test(text))
    throw new InvalidArgumentError("write NAMESPACE/NAME, for example default/web-0.");
  return text;
}

function json(reply: unknown): string {
  return JSON.stringify(reply, undefined, 2);
}

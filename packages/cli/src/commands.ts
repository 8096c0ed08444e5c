/** What the commands of `fabricctl` have in common: their options, how they ask the agent, and what they end with. */
import { Option, type Command } from "commander";
import { askLocal } from "./local-api.ts";
import type { Shape } from "./shape.ts";
import type { Paint } from "./terminal.ts";

/** Where the agent listens unless its `api.socket` says otherwise. */
export const defaultSocket = "/run/beyondfabric/api.sock";

/** What a check ends with while something is wrong. */
export const findingsLeft = 3;

export interface Surroundings {
  /** As the user calls it: `fabricctl`, or `kubectl fabric`. */
  readonly name: string;
  readonly out: (text: string) => void;
  readonly err: (text: string) => void;
  readonly paint: Paint;
  /** ms since the epoch */
  readonly now: () => number;
  /** Asks a person; absent when there is none at the other end. */
  readonly confirm?: (question: string) => Promise<boolean>;
  /** Time for one exchange with the agent (ms); default 5,000, or what the command needs. */
  readonly timeout?: number;
}

export type Output = "text" | "wide" | "json";

/** What every command is told. */
export interface Asked {
  readonly socket: string;
  readonly output: Output;
}

/** What a command prints at its end, and the exit code when that is not 0. */
export type Outcome = string | { readonly text: string; readonly code: number };

export type Action = (
  asked: Asked,
  args: readonly (string | undefined)[],
  own: Readonly<Record<string, unknown>>,
) => Promise<Outcome>;

export class Commands {
  readonly surroundings: Surroundings;
  /** What the program ends with. */
  exitCode = 0;
  readonly #parent: Command;
  readonly #root: Commands;

  /** @param parent the command that these are the subcommands of */
  constructor(surroundings: Surroundings, parent: Command, root?: Commands) {
    this.surroundings = surroundings;
    this.#parent = parent;
    this.#root = root ?? this;
  }

  /** A command with subcommands of its own. */
  group(name: string, description: string): Commands {
    const parent = withCommonOptions(this.#parent.command(name).description(description)).helpCommand(false);
    return new Commands(this.surroundings, parent, this.#root);
  }

  command(name: string, description: string, action: Action): Command {
    const command = withCommonOptions(this.#parent.command(name).description(description));
    return command.action(async () => {
      const options = command.optsWithGlobals<{ socket?: string; output?: Output }>();
      const asked = { socket: options.socket ?? defaultSocket, output: options.output ?? "text" };
      const outcome = await action(asked, command.processedArgs as (string | undefined)[], options);
      const { text, code } = typeof outcome === "string" ? { text: outcome, code: 0 } : outcome;
      if (text !== "") this.surroundings.out(`${text}\n`);
      this.#root.exitCode = code;
    });
  }

  /** The agent's answer to a question. */
  readonly ask = async <T>(path: string, shape: Shape<T>, { socket }: Asked, patience = {}): Promise<T> =>
    shape(await askLocal(path, { socket, ...patience, ...this.#timeout }), "the reply");

  /** The agent's answer to an order. */
  readonly tell = async <T>(
    path: string,
    body: unknown,
    shape: Shape<T>,
    { socket }: Asked,
    patience = {},
  ): Promise<T> => shape(await askLocal(path, { socket, ...patience, ...this.#timeout, body }), "the reply");

  get #timeout(): { timeout?: number } {
    const { timeout } = this.surroundings;
    return timeout === undefined ? {} : { timeout };
  }
}

/** On the program and on every command, so that they may stand before or after its name. No defaults: the nearer wins. */
export function withCommonOptions(command: Command): Command {
  return command
    .option("--socket <path>", `the agent's api.socket (default ${defaultSocket})`)
    .addOption(new Option("-o, --output <format>", "how to print (default text)").choices(["text", "wide", "json"]));
}

export function json(reply: unknown): string {
  return JSON.stringify(reply, undefined, 2);
}

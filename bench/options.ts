/** The bench's command line. */
import { parseArgs } from "node:util";

/** What a run was asked to do. */
export interface Options {
  readonly quick: boolean;
  /** Names of scenarios; empty means all. */
  readonly only: readonly string[];
  readonly subject: string;
  readonly runs: number;
  /** No round is started after so many minutes. */
  readonly minutes: number;
  readonly output: string | undefined;
  readonly help: boolean;
}

/** A command line that cannot be obeyed. */
export class UsageError extends Error {
  readonly code = "BENCH_USAGE";
}

export const USAGE = `usage: node bench/main.ts [--quick] [--only SCENARIO[,SCENARIO]] [--subject NAME]
                          [--runs N] [--minutes N] [--output FILE]
  --quick          everything once and briefly, to see that it works; the figures mean nothing
  --only           run only these scenarios
  --subject        what is judged (default BeyondFabric)
  --runs           alternating runs per comparison (default 7, with --quick 1)
  --minutes        start no further round after so long (default 60)
  --output         where the results go (default bench/results.json, with --quick nowhere)
`;

/** Reads the command line. Throws a UsageError that names the option. */
export function parseOptions(arguments_: readonly string[]): Options {
  let values: Record<string, string | boolean | undefined>;
  try {
    ({ values } = parseArgs({
      args: [...arguments_],
      options: {
        quick: { type: "boolean", default: false },
        only: { type: "string" },
        subject: { type: "string" },
        runs: { type: "string" },
        minutes: { type: "string" },
        output: { type: "string" },
        help: { type: "boolean", short: "h", default: false },
      },
    }));
  } catch (error) {
    throw new UsageError((error as Error).message, { cause: error });
  }
  const quick = values["quick"] === true;
  const text = (name: string) => values[name] as string | undefined;
  return {
    quick,
    only: text("only")?.split(",").filter(Boolean) ?? [],
    subject: text("subject") ?? "BeyondFabric",
    runs: positive("runs", text("runs"), quick ? 1 : 7),
    minutes: positive("minutes", text("minutes"), 60),
    output: text("output"),
    help: values["help"] === true,
  };
}

function positive(name: string, text: string | undefined, otherwise: number): number {
  if (text === undefined) return otherwise;
  const value = Number(text);
  if (!Number.isInteger(value) || value < 1 || value > 1000) {
    throw new UsageError(`--${name} ${text}: must be a whole number from 1 to 1000`);
  }
  return value;
}

/**
 * `make bench`: measures BeyondFabric side by side with what users would otherwise run, and writes bench/results.json.
 * The table for the README goes to standard output, progress to standard error. Needs root.
 */
import { existsSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { Contender } from "./contenders/contender.ts";
import { beyondFabric } from "./contenders/beyond-fabric.ts";
import { normal } from "./contenders/normal.ts";
import { ovn } from "./contenders/ovn.ts";
import { testcontroller } from "./contenders/testcontroller.ts";
import { run, Site, sweepLeftovers } from "./environment/site.ts";
import type { Figure } from "./figures.ts";
import type { Bench, Scenario } from "./harness.ts";
import { parseOptions, USAGE, UsageError, type Options } from "./options.ts";
import { readResults, renderReport, type Results } from "./report.ts";
import { addressesScenario } from "./scenarios/addresses.ts";
import { cniScenario } from "./scenarios/cni.ts";
import { crowdedScenario } from "./scenarios/crowded.ts";
import { floodScenario } from "./scenarios/flood.ts";
import { newFlowScenario } from "./scenarios/new-flows.ts";
import { policiesScenario } from "./scenarios/policies.ts";
import { scaleScenario } from "./scenarios/scale.ts";
import { acrossScenario, tcpScenario } from "./scenarios/tcp.ts";
import { underlayScenario } from "./scenarios/underlay.ts";

const CONTENDERS: readonly Contender[] = [beyondFabric, testcontroller, normal, ovn];
const SCENARIOS: readonly Scenario[] = [
  newFlowScenario,
  crowdedScenario,
  floodScenario,
  tcpScenario,
  acrossScenario,
  underlayScenario,
  cniScenario,
  addressesScenario,
  policiesScenario,
  scaleScenario,
];

function chosenScenarios(options: Options): readonly Scenario[] {
  const known = SCENARIOS.map((scenario) => scenario.name);
  for (const name of options.only) {
    if (!known.includes(name)) throw new UsageError(`no scenario ${name}; there are ${known.join(", ")}`);
  }
  return options.only.length === 0 ? SCENARIOS : SCENARIOS.filter((scenario) => options.only.includes(scenario.name));
}

function chosenSubject(options: Options, contenders: ReadonlyMap<string, Contender>): Contender {
  const subject = contenders.get(options.subject);
  if (subject === undefined) {
    throw new UsageError(`no contender ${options.subject}; there are ${[...contenders.keys()].join(", ")}`);
  }
  return subject;
}

/** Measures what the options ask for. One failed scenario does not keep the others from running. */
async function measure(options: Options): Promise<Results> {
  const contenders = new Map(CONTENDERS.map((contender) => [contender.name, contender]));
  const subject = chosenSubject(options, contenders);
  const scenarios = chosenScenarios(options);
  const begin = performance.now();
  const seconds = () => (performance.now() - begin) / 1000;
  const progress = (line: string) => process.stderr.write(`${seconds().toFixed(0).padStart(5)}s  ${line}\n`);
  const swept = sweepLeftovers();
  if (swept.length > 0) progress(`removed what an earlier run left behind: ${swept.join(", ")}`);

  const figures: Figure[] = [];
  const failures: Record<string, string> = {};
  for (const scenario of scenarios) {
    progress(`${scenario.name}: ${scenario.describes}`);
    const site = new Site();
    const bench: Bench = {
      site,
      subject,
      contenders,
      runs: options.runs,
      quick: options.quick,
      progress,
      expired: () => seconds() > options.minutes * 60,
    };
    try {
      await scenario.run(bench, (published) => figures.push(...published));
    } catch (error) {
      failures[scenario.name] = (error as Error).message;
      progress(`${scenario.name} failed: ${(error as Error).stack}`);
    } finally {
      site.close();
    }
  }
  const openvswitch = /(\d+\.\d+\.\d+)/.exec(run(["ovs-vswitchd", "--version"]))?.[1] ?? "unknown";
  return {
    format: 1,
    subject: subject.name,
    runs: options.runs,
    quick: options.quick,
    versions: { node: process.versions.node, openvswitch },
    failures,
    figures,
  };
}

async function main(): Promise<number> {
  let options: Options;
  try {
    options = parseOptions(process.argv.slice(2));
    if (options.help) {
      process.stdout.write(USAGE);
      return 0;
    }
    const results = await measure(options);
    const output = options.output ?? (options.quick ? undefined : join(import.meta.dirname, "results.json"));
    if (output !== undefined) writeFileSync(output, `${JSON.stringify(results, null, 1)}\n`);
    const baseline = join(import.meta.dirname, "baseline.json");
    process.stdout.write(renderReport(results, existsSync(baseline) ? readResults(baseline) : undefined));
    return Object.keys(results.failures).length === 0 ? 0 : 1;
  } catch (error) {
    if (!(error instanceof UsageError)) throw error;
    process.stderr.write(`bench: ${error.message}\n${USAGE}`);
    return 2;
  }
}

process.exitCode = await main();

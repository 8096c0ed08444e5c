/**
 * What NetworkPolicies cost: how soon a change is in force on the wire, what first packets pay for many policies, and
 * entries, throughput and round trips against OVN with the same policies.
 */
import type { BenchPolicy } from "../cluster/policies.ts";
import { clusterPolicies, PODS_PER_SERVICE, policyManifest, serviceName } from "../cluster/policies.ts";
import type { Changer } from "../cluster/remote-changer.ts";
import type { Running, Setting } from "../contenders/contender.ts";
import { inNamespace, run, until } from "../environment/site.ts";
import type { Pod } from "../environment/switch.ts";
import { figuresOf, type Metric, type Runs } from "../figures.ts";
import { alternate, contenderNamed, type Bench, type Scenario } from "../harness.ts";
import { percentile } from "../statistics.ts";
import { parseAddress } from "../traffic/frame.ts";
import { measureTraffic, startBackground, watchArrivals, type ArrivalsWatch } from "../traffic/measure.ts";
import { liveFlows, returningFlows } from "../traffic/plan.ts";
import { listenIn } from "../traffic/tcp.ts";
import { describeNewFlows, measureNewFlows, SOURCES, type NewFlowResult } from "./new-flows.ts";
import { comparePairs } from "./tcp.ts";

const CLUSTER_PODS = 1000;
/** Pods of the node whose entries are counted. */
const LOCAL_PODS = 30;
/** The ports that the bench's programs talk on, which the policy of the pair opens. */
const TRAFFIC_PORT = { protocol: "UDP", port: 9 } as const;
const TCP_PORTS = [7001, 7002, 7003].map((port) => ({ protocol: "TCP", port }) as const);

/** The service of whoever sends: the first that the policies of the cluster know nothing of. Who is isolated is tracked. */
const SENDER = serviceName(CLUSTER_PODS / PODS_PER_SERVICE);

/** Pod `at` of a node is of service `at`, and isolated by its policies; the first one, which sends, by none. */
function localPods(count: number): Pick<Setting, "pods" | "services" | "sources" | "idlePorts"> {
  const names = Array.from({ length: count }, (_, at) => ({
    name: `local${at}`,
    address: `10.1.0.${at + 1}`,
    length: 16,
  }));
  const background = { name: "background", address: "10.1.1.1", length: 16 };
  return {
    pods: [...names, background],
    // Nothing isolates the last one.
    services: [...names.map((_, at) => (at === 0 ? SENDER : serviceName(at))), undefined],
    sources: SOURCES,
    idlePorts: 0,
  };
}

/** The first pod may say to the second what the bench's programs say. */
const PAIR_POLICY: BenchPolicy = {
  name: "pair",
  to: serviceName(1),
  from: SENDER,
  ports: [TRAFFIC_PORT, ...TCP_PORTS],
};

const many = (count: number): string => count.toLocaleString("en");

/** What became of one change that closes a pair and of the one that opens it again, in milliseconds after the request left. */
interface Enforcement {
  /** Until the last packet that should not have arrived did; 0 when none did. */
  readonly wrong: number;
  /** Until the API server had answered. */
  readonly answered: number;
  /** Until the first packet arrived again. */
  readonly opened: number;
}

/** Packets per second on the pair: how finely the moment is known. */
const PROBE_RATE = 2000;
/** Silence after which a pair is closed (ms). */
const SILENCE = 250;
/** A pair that is neither open nor closed after so long (ms) is a failure, not a figure. */
const PATIENCE = 20_000;

const pause = (milliseconds: number) => new Promise((resolve) => setTimeout(resolve, milliseconds));

async function enforce(changer: Changer, watch: ArrivalsWatch): Promise<Enforcement> {
  const { name, to } = PAIR_POLICY;
  const path = `/apis/networking.k8s.io/v1/namespaces/${to.namespace}/networkpolicies/${name}`;
  const { ingress } = policyManifest(PAIR_POLICY).spec as { ingress: object[] };

  const closing = await changer.change({ path, body: { spec: { ingress: [] } } });
  let last = 0;
  for (let waited = 0; ; waited += SILENCE) {
    const arrivals = await watch.look();
    last = Math.max(last, arrivals.last);
    if (arrivals.socketDrops > 0)
      throw new Error(`the watch of arrivals had no room for ${arrivals.socketDrops} frames`);
    if (waited > 0 && arrivals.count === 0) break;
    if (waited > PATIENCE) throw new Error(`packets pass ${PATIENCE} ms after their policy was closed`);
    await pause(SILENCE);
  }
  const opening = await changer.change({ path, body: { spec: { ingress } } });
  let first = 0;
  for (let waited = 0; first === 0; waited += 20) {
    ({ first } = await watch.look());
    if (waited > PATIENCE) throw new Error(`no packet passes ${PATIENCE} ms after their policy was opened`);
    await pause(20);
  }
  if (first < opening.begun) throw new Error("a packet passed while its policy was closed");
  return {
    wrong: Math.max(0, last - closing.begun) / 1e6,
    answered: (closing.ended - closing.begun) / 1e6,
    opened: (first - opening.begun) / 1e6,
  };
}

/** Closes and opens the pair again and again while packets run on it. */
async function measureEnforcement(
  bench: Bench,
  running: Running,
  changer: Changer,
  changes: number,
): Promise<readonly Enforcement[]> {
  const [from, to] = running.pods as [Pod, Pod];
  const route = { from, to, destinationMac: running.macTowards(from, to) };
  const plan = liveFlows(1, PROBE_RATE, 3600, { ...SOURCES, first: 0 });
  const traffic = await startBackground(bench.site, route, plan);
  const watch = await watchArrivals(bench.site, to, traffic.run);
  try {
    const results: Enforcement[] = [];
    for (let at = 0; at < changes; at++) results.push(await enforce(changer, watch));
    return results;
  } finally {
    await traffic.stop();
    await watch.stop();
  }
}

const sorted = (results: readonly Enforcement[], of: (one: Enforcement) => number): number[] =>
  results.map(of).sort((a, b) => a - b);

function describeEnforcement(results: readonly Enforcement[]): string {
  const at = (of: (one: Enforcement) => number, share: number) => percentile(sorted(results, of), share).toFixed(1);
  return (
    `last wrong packet p50 ${at((r) => r.wrong, 0.5)} ms, p99 ${at((r) => r.wrong, 0.99)} ms ` +
    `(API answered p50 ${at((r) => r.answered, 0.5)} ms), open again p50 ${at((r) => r.opened, 0.5)} ms`
  );
}

/** One point: figures of all changes together, because a share of a hundred needs hundreds. */
async function enforcementAt(
  bench: Bench,
  what: string,
  running: Running,
  changer: Changer,
  changes: number,
): Promise<Runs<readonly Enforcement[]>> {
  const [runs] = await alternate(
    bench,
    `change of a policy ${what}`,
    [{ name: running.contender, measure: () => measureEnforcement(bench, running, changer, changes) }],
    describeEnforcement,
  );
  return { name: runs!.name, results: [runs!.results.flat()] };
}

function enforcementMetrics(what: string, hasGoal: boolean): Metric<readonly Enforcement[]>[] {
  const metric = (title: string, of: (one: Enforcement) => number, share: number) => ({
    title: `${title} ${what}`,
    unit: "ms",
    form: "subject" as const,
    of: (results: readonly Enforcement[]) => percentile(sorted(results, of), share),
  });
  return [
    metric("p50 of a policy's change to the last wrong packet", (r) => r.wrong, 0.5),
    {
      ...metric("p99 of a policy's change to the last wrong packet", (r) => r.wrong, 0.99),
      ...(hasGoal ? { goal: { bound: "at most", value: 50 } as const } : {}),
    },
    metric("p50 of the API server's own answer to it", (r) => r.answered, 0.5),
  ];
}

/** Up to so many live datapath flows the change of a policy has a goal. */
const GOAL_FLOWS = 5000;
const KEEP_ALIVE = 2500;
const OPENING = 4000;

async function measureChanges(bench: Bench, publish: (figures: ReturnType<typeof figuresOf>) => void): Promise<void> {
  const counts = bench.quick ? [10, 50, 100] : [10, 1000, 10_000];
  const flowCounts = bench.quick ? [200, 500] : [1000, GOAL_FLOWS, 20_000];
  const changes = bench.quick ? 3 : 15;
  const most = counts.at(-1)!;
  const all = clusterPolicies(most, CLUSTER_PODS);
  const running = await bench.subject.start(bench.site, {
    ...localPods(2),
    clusterPods: CLUSTER_PODS,
    policies: [PAIR_POLICY],
    liveFlows: flowCounts.at(-1)!,
  });
  if (running.api === undefined) throw new Error(`${running.contender} has no API whose policies change`);
  const changer = await running.api.startChanger();
  let loaded = 0;
  for (const count of counts) {
    await running.api.load(all.slice(loaded, count).map(policyManifest));
    loaded = count;
    await pause(bench.quick ? 500 : 5000);
    const what = `with ${many(count)} policies`;
    const result = await enforcementAt(bench, what, running, changer, changes);
    publish(figuresOf("policies", enforcementMetrics(what, true), result, undefined, 1));
    const title = `agent memory ${what}, ${many(CLUSTER_PODS)} pods in the cluster`;
    const memory = { title, unit: "MB", form: "subject" as const, of: (bytes: number) => bytes / 1e6 };
    const reading = { name: running.contender, results: [running.controllerMemory()] };
    publish(figuresOf("policies", [memory], reading, undefined, 1));
  }

  const medians: { flows: number; milliseconds: number }[] = [];
  let failure: Error | undefined;
  for (const flows of flowCounts) {
    await running.forget();
    const [from, target] = [running.pods[0]!, running.pods.at(-1)!];
    const route = { from, to: target, destinationMac: running.macTowards(from, target) };
    const variation = { ...SOURCES, first: 2 ** (SOURCES.bits - 1) };
    // An agent under load gives some of them no entry, and without one they are no flows of their own in the datapath.
    const wanted = running.switch.entries() + flows * 0.95;
    for (let round = 0; round < 3 && running.switch.entries() < wanted; round++) {
      await measureTraffic(bench.site, route, returningFlows(flows, OPENING, variation));
    }
    // Each is seen every 8 s at the latest; the switch forgets after 10 s.
    const rate = Math.max(1, Math.min(KEEP_ALIVE, flows));
    const background = await startBackground(bench.site, route, liveFlows(flows, rate, 3600, variation));
    try {
      await untilAlive(running, flows);
      const what = `with ${many(most)} policies and ${many(flows)} live datapath flows`;
      const result = await enforcementAt(bench, what, running, changer, changes);
      publish(figuresOf("policies", enforcementMetrics(what, flows <= GOAL_FLOWS), result, undefined, 1));
      medians.push({
        flows,
        milliseconds: percentile(
          sorted(result.results[0]!, (r) => r.wrong),
          0.5,
        ),
      });
    } catch (error) {
      // What is known up to here is worth something, the slope included.
      failure = error as Error;
      break;
    } finally {
      await background.stop();
    }
  }
  const [least, greatest] = [medians[0], medians.at(-1)];
  if (least !== undefined && greatest !== undefined && least !== greatest) {
    const slope = (1000 * (greatest.milliseconds - least.milliseconds)) / (greatest.flows - least.flows);
    const title = `slope of that p50, from ${many(least.flows)} to ${many(greatest.flows)} live datapath flows`;
    const metric = { title, unit: "ms per 1,000 flows", form: "subject" as const, of: (value: number) => value };
    publish(figuresOf("policies", [metric], { name: running.contender, results: [slope] }, undefined, 1));
  }
  await changer.stop();
  await running.stop();
  if (failure !== undefined) throw failure;
}

/** Waits until the switch holds so many datapath flows. A loaded switch lowers its own limit, and then never does. */
async function untilAlive({ switch: own }: Running, flows: number): Promise<void> {
  try {
    await until(`${flows} live datapath flows`, 30_000, () => own.datapathFlows() >= flows * 0.95, 500);
  } catch (error) {
    const limit = /limit (\d+)/.exec(own.control("upcall/show"))?.[1] ?? "unknown";
    const message = `the switch holds ${own.datapathFlows()} of ${flows} datapath flows, its limit is ${limit}`;
    throw new Error(message, { cause: error });
  }
}

/** A view of a contender whose new flows run from the first pod to the one of this place. */
function towards(running: Running, place: number): Running {
  return {
    ...running,
    get pods() {
      return [running.pods[0]!, running.pods.at(place)!];
    },
  };
}

/** New flows per second at which latency is compared, and more than an agent can decide. */
const STEADY_RATE = 2000;
const UTMOST_RATE = 16_000;

async function measureDecisions(bench: Bench, publish: (figures: ReturnType<typeof figuresOf>) => void): Promise<void> {
  const seconds = bench.quick ? 0.3 : 2;
  const count = bench.quick ? 100 : 10_000;
  const plain = { ...localPods(2), clusterPods: CLUSTER_PODS };
  const none = await bench.subject.start(bench.site, plain);
  const full = await bench.subject.start(bench.site, {
    ...plain,
    policies: [PAIR_POLICY, ...clusterPolicies(count, CLUSTER_PODS)],
  });
  const one = await bench.subject.start(bench.site, { ...plain, policies: [PAIR_POLICY] });
  const goal = { goal: { bound: "at least", value: 0.8 } as const };
  const without = `${bench.subject.name} without policies`;
  const byOne = `${bench.subject.name} with one policy, which isolates the pair`;
  // What many policies cost, and what it costs to be isolated at all, are two questions.
  const comparisons = [
    {
      what: `with ${many(count)} policies, none about the pair`,
      place: -1,
      sides: [full, none],
      against: without,
      goal,
    },
    {
      what: `with ${many(count)} policies, the pair isolated by its share`,
      place: 1,
      sides: [full, one],
      against: byOne,
      goal,
    },
    { what: "with one policy, which isolates the pair", place: 1, sides: [one, none], against: without, goal: {} },
  ];
  for (const { what, place, sides, against, goal: asked } of comparisons) {
    const compare = (rate: number) =>
      alternate(
        bench,
        `${many(rate)} new flows/s ${what}`,
        sides.map((running, at) => ({
          name: at === 0 ? `${running.contender} ${what}` : against,
          measure: () => measureNewFlows(bench, towards(running, place), rate, seconds),
        })),
        describeNewFlows,
      );
    const steady = await compare(STEADY_RATE);
    const at = `at ${many(STEADY_RATE)} new flows/s`;
    const latency = (share: "p50" | "p99"): Metric<NewFlowResult> => ({
      title: `first-packet ${share} ${at} ${what}`,
      unit: "ms",
      form: "reference/subject",
      ...(share === "p99" ? asked : {}),
      of: ({ traffic }) => traffic.receiver.first[share],
    });
    const cpu: Metric<NewFlowResult> = {
      title: `agent's processor time per new flow ${at} ${what}`,
      unit: "µs",
      form: "reference/subject",
      of: ({ controllerCpu }) => controllerCpu,
    };
    publish(figuresOf("policies", [latency("p50"), latency("p99"), cpu], steady[0]!, steady[1]));
    const utmost = await compare(UTMOST_RATE);
    const decisions: Metric<NewFlowResult> = {
      title: `decisions per second, ${many(UTMOST_RATE)} new flows/s offered, ${what}`,
      unit: "flows/s",
      form: "subject/reference",
      ...asked,
      of: ({ traffic }) => traffic.goodput,
    };
    publish(figuresOf("policies", [decisions], utmost[0]!, utmost[1]));
  }
  for (const running of [full, one, none]) await running.stop();
}

/** Every pod of the node says something to every other one, on a port that few policies open. */
async function everybodyTalks(running: Running): Promise<void> {
  // A second time, because of many new pairs at once only those that come back get entries.
  for (let round = 0; round < 2; round++) {
    for (const from of running.pods) {
      const words = running.pods
        .filter((to) => to !== from)
        .map(({ address }) => `echo hello >/dev/udp/${address}/9 || true`);
      run(inNamespace(from.namespace, ["bash", "-c", words.join("; ")]));
    }
    await pause(1000);
  }
  let before = -1;
  await until("the entries to come to rest", 30_000, () => before === (before = running.switch.entries()), 500);
}

/** A contender that lets everything pass, or nothing, is not compared: the first pod is heard, one that no policy names is not. */
async function assertIsolates(bench: Bench, running: Running): Promise<void> {
  const [friend, to] = running.pods as [Pod, Pod];
  for (const from of [friend, running.pods.at(-1)!]) {
    const plan = liveFlows(1, 20, 0.5, { ...SOURCES, first: 0, base: parseAddress(from.address), bits: 0 });
    const route = { from, to, destinationMac: running.macTowards(from, to) };
    const { sent, receiver } = await measureTraffic(bench.site, route, plan);
    const expected = from === friend ? sent : 0;
    if (receiver.received !== expected) {
      const what = `${from.name} to ${to.name}: ${receiver.received} of ${sent} packets arrived, not ${expected}`;
      throw new Error(`${running.contender} does not hold the policies: ${what}`);
    }
  }
}

async function measureAgainstOvn(
  bench: Bench,
  publish: (figures: ReturnType<typeof figuresOf>) => void,
): Promise<void> {
  const pods = bench.quick ? 5 : LOCAL_PODS;
  const contenders = [bench.subject, contenderNamed(bench, "OVN")];
  const counts = bench.quick ? [100] : [1000, 10_000];
  for (const count of counts) {
    const setting: Setting = {
      ...localPods(pods),
      clusterPods: CLUSTER_PODS,
      policies: [PAIR_POLICY, ...clusterPolicies(count, CLUSTER_PODS)],
    };
    const sides: Running[] = [];
    for (const contender of contenders) {
      bench.progress(`${contender.name} takes over ${many(count)} policies`);
      sides.push(await contender.start(bench.site, setting));
    }
    for (const running of sides) await assertIsolates(bench, running);
    for (const running of sides) await running.forget();
    const goal = { bound: "at most", value: 0.2 } as const;
    const entries = (title: string): void => {
      const readings = sides.map(({ contender, switch: own }) => ({ name: contender, results: [own.entries()] }));
      bench.progress(`${title}: ${readings.map(({ name, results }) => `${name} ${results[0]}`).join(", ")}`);
      const metric = { title, unit: "entries", form: "subject/reference" as const, goal, of: (each: number) => each };
      publish(figuresOf("policies", [metric], readings[0]!, readings[1], 1));
    };
    const where = `a node with ${pods + 1} pods, ${many(count)} policies in the cluster`;
    entries(`entries of ${where}, before traffic`);
    for (const running of sides) await everybodyTalks(running);
    entries(`entries of ${where}, after all its pods have talked to all`);
    if (count === counts[0]) {
      for (const running of sides) await listenIn(bench.site, [running.pods[1]!]);
      const pairs = sides.map(({ contender, pods: own }) => ({ contender, from: own[0]!, to: own[1]! }));
      const isolated = `isolated, with ${many(count)} policies`;
      publish(await comparePairs(bench, isolated, pairs, { bound: "at least", value: 1.2 }, "policies"));
    }
    for (const running of sides) await running.stop();
  }
}

export const policiesScenario: Scenario = {
  name: "policies",
  describes: "changes of policies until the wire obeys, first packets with 10,000 of them, and OVN with the same ones",
  async run(bench, publish) {
    const failures: string[] = [];
    for (const part of [measureChanges, measureDecisions, measureAgainstOvn]) {
      try {
        await part(bench, publish);
      } catch (error) {
        bench.progress(`${part.name}: ${(error as Error).stack}`);
        failures.push((error as Error).message);
      }
    }
    if (failures.length > 0) throw new Error(failures.join("; "));
  },
};

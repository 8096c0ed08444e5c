/** Runs generator and receiver against each other and combines their reports. */
import { join } from "node:path";
import { output, printed, type Running, type Site } from "../environment/site.ts";
import type { Pod } from "../environment/switch.ts";
import type { Arrivals, ArrivalsOrder } from "./arrivals.ts";
import { Dialogue } from "./dialogue.ts";
import { parseAddress, type FrameTemplate } from "./frame.ts";
import type { GeneratorOrder, GeneratorReport } from "./generator.ts";
import { packetCount, planSeconds, type TrafficPlan } from "./plan.ts";
import type { ReceiverOrder, ReceiverReport } from "./receiver.ts";

/** The outcome of one run. */
export interface TrafficResult {
  readonly sent: number;
  /** Seconds that sending took. */
  readonly seconds: number;
  readonly lost: number;
  /** Packets delivered once or more, per second of the plan, or of sending where that took longer. */
  readonly goodput: number;
  readonly generator: GeneratorReport;
  readonly receiver: ReceiverReport;
}

/** From whom, to whom, and through which MAC. */
export interface Route {
  readonly from: Pod;
  readonly to: Pod;
  readonly destinationMac: string;
}

/** Milliseconds of silence after which what is missing counts as lost. */
const QUIET = 1500;
let runs = 0;

function program(name: string): string[] {
  return [process.execPath, join(import.meta.dirname, name)];
}

function template(route: Route, run: number): FrameTemplate {
  return {
    destinationMac: route.destinationMac,
    sourceMac: route.from.mac,
    sourceAddress: parseAddress(route.from.address),
    destinationAddress: parseAddress(route.to.address),
    sourcePort: 40_000,
    destinationPort: 9,
    run,
  };
}

function nextRun(): number {
  runs += 1;
  return (process.pid * 65_536 + runs) >>> 0;
}

/** Sends a plan from one pod to another and waits for what arrives. `around` brackets the time of sending. */
export async function measureTraffic(
  site: Site,
  route: Route,
  plan: TrafficPlan,
  around: { before?(): void; after?(): void } = {},
): Promise<TrafficResult> {
  const run = nextRun();
  const { flows, packetsPerFlow } = plan;
  const receiverOrder: ReceiverOrder = {
    interface: route.to.interface,
    run,
    flows,
    packetsPerFlow,
    quietMilliseconds: QUIET,
  };
  const generatorOrder: GeneratorOrder = { interface: route.from.interface, template: template(route, run), plan };
  const receiver = site.start(route.to.namespace, [...program("receiver.ts"), JSON.stringify(receiverOrder)]);
  const generator = site.start(route.from.namespace, [...program("generator.ts"), JSON.stringify(generatorOrder)]);
  try {
    const received = output(receiver, "receiver");
    const generated = output(generator, "generator");
    // Either may fail while the other is awaited; the failure is reported by the await below.
    received.catch(() => {});
    generated.catch(() => {});
    await Promise.all([printed(receiver, "ready", "receiver"), printed(generator, "ready", "generator")]);
    around.before?.();
    generator.stdin.write("go\n");
    const generatorReport = lastLine(await generated) as GeneratorReport;
    around.after?.();
    receiver.stdin.write("finish\n");
    // A plan ends one interval after its last packet; a generator that fell behind took longer.
    const planned = planSeconds(plan) + 1 / plan.flowsPerSecond;
    const receiverReport = lastLine(await received) as ReceiverReport;
    return {
      sent: generatorReport.sent,
      seconds: generatorReport.seconds,
      lost: packetCount(plan) - receiverReport.received,
      goodput: receiverReport.received / Math.max(planned, generatorReport.seconds),
      generator: generatorReport,
      receiver: receiverReport,
    };
  } finally {
    await site.stop(receiver);
    await site.stop(generator);
  }
}

/** Traffic that runs until it is stopped. */
export interface Background {
  /** What its packets are known by. */
  readonly run: number;
  stop(): Promise<void>;
}

/** Traffic that runs in the background until it is stopped. Nobody counts what arrives. */
export async function startBackground(site: Site, route: Route, plan: TrafficPlan): Promise<Background> {
  const run = nextRun();
  const order: GeneratorOrder = { interface: route.from.interface, template: template(route, run), plan };
  const generator: Running = site.start(route.from.namespace, [...program("generator.ts"), JSON.stringify(order)]);
  await printed(generator, "ready", "background generator");
  generator.stdin.write("go\n");
  return { run, stop: () => site.stop(generator) };
}

/** Whoever asks when packets of a run arrive at a pod. */
export interface ArrivalsWatch {
  /** What came since the last question. */
  look(): Promise<Arrivals>;
  stop(): Promise<void>;
}

/** Watches for the packets of a run. */
export async function watchArrivals(site: Site, pod: Pod, run: number): Promise<ArrivalsWatch> {
  const order: ArrivalsOrder = { interface: pod.interface, run };
  const child = site.start(pod.namespace, [...program("arrivals.ts"), JSON.stringify(order)]);
  const dialogue = await Dialogue.begin(child, "the watch of arrivals");
  return { look: async () => (await dialogue.ask({})) as Arrivals, stop: () => site.stop(child) };
}

function lastLine(text: string): unknown {
  return JSON.parse(text.trim().split("\n").at(-1)!);
}

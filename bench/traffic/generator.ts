/**
 * The program that sends a plan's packets. Started inside a network namespace with one argument, a `GeneratorOrder` as
 * JSON. Prints `ready`, starts when a line arrives on standard input, stops early when standard input closes, and
 * prints a `GeneratorReport` as its last line.
 */
import { FRAME_LENGTH, writeSendTime, writeStamp, writeTemplate, type FrameTemplate } from "./frame.ts";
import { monotonicNow, removeTimerSlack, sleepUntil } from "./libc.ts";
import { Pacer } from "./pacing.ts";
import { FrameSender } from "./packet-socket.ts";
import { flowAddress, schedule, type TrafficPlan } from "./plan.ts";
import { percentile } from "../statistics.ts";

/** What to send, where. */
export interface GeneratorOrder {
  readonly interface: string;
  readonly template: FrameTemplate;
  readonly plan: TrafficPlan;
}

/** What was sent. `lateness` says how far behind its due time a packet left, in milliseconds. */
export interface GeneratorReport {
  readonly sent: number;
  readonly seconds: number;
  readonly retries: number;
  readonly lateness: { readonly p50: number; readonly p99: number; readonly max: number };
}

const SLOTS = 64;
/** How often the program looks whether it was told to stop, in nanoseconds. */
const LOOK_UP = 50e6;

async function main(order: GeneratorOrder): Promise<void> {
  removeTimerSlack();
  const { plan } = order;
  const sender = new FrameSender(order.interface, SLOTS, FRAME_LENGTH);
  for (let slot = 0; slot < SLOTS; slot++) writeTemplate(sender.view(slot), order.template);

  let started = false;
  let stopped = false;
  const start = Promise.withResolvers<void>();
  process.stdin.on("data", () => {
    started = true;
    start.resolve();
  });
  process.stdin.on("end", () => {
    stopped = true;
    start.resolve();
  });
  console.log("ready");
  await start.promise;
  if (!started) return;

  const pacer = new Pacer({ now: monotonicNow, sleepUntil });
  const lateness: number[] = [];
  let sent = 0;
  let filled = 0;
  let lookedUp = 0;
  const flush = () => {
    const now = monotonicNow();
    for (let slot = 0; slot < filled; slot++) writeSendTime(sender.view(slot), now);
    sender.send(filled);
    sent += filled;
    filled = 0;
  };
  for (const packet of schedule(plan)) {
    // What is due already leaves in one call; what is not waits for its own time.
    if (filled > 0 && (filled === SLOTS || !pacer.isDue(packet.due))) flush();
    if (filled === 0) {
      if (pacer.elapsed() - lookedUp > LOOK_UP) {
        await new Promise(setImmediate);
        if (stopped) break;
        lookedUp = pacer.elapsed();
      }
      lateness.push(pacer.waitFor(packet.due));
    }
    const stamp = { sequence: sent + filled, flow: packet.flow, index: packet.index, sentAt: 0 };
    writeStamp(sender.view(filled), stamp, plan.variation.field, flowAddress(plan.variation, packet.flow));
    filled += 1;
  }
  if (filled > 0) flush();
  const seconds = pacer.elapsed() / 1e9;
  lateness.sort((a, b) => a - b);
  const at = (share: number) => percentile(lateness, share) / 1e6;
  const report: GeneratorReport = {
    sent,
    seconds,
    retries: sender.retries,
    lateness: { p50: at(0.5), p99: at(0.99), max: at(1) },
  };
  console.log(JSON.stringify(report));
  process.exit(0);
}

await main(JSON.parse(process.argv[2]!) as GeneratorOrder);

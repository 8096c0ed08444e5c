/**
 * The program that says when packets of a run arrive. Started inside a network namespace with an `ArrivalsOrder` as JSON.
 * For every line on its standard input it prints an `Arrivals` as JSON: what came since the line before.
 */
import { FRAME_LENGTH, readStamp } from "./frame.ts";
import { monotonicNow } from "./libc.ts";
import { FrameReceiver } from "./packet-socket.ts";

/** What to look for, where. */
export interface ArrivalsOrder {
  readonly interface: string;
  readonly run: number;
}

/** What came since the last question; times in nanoseconds of CLOCK_MONOTONIC, 0 for nothing. */
export interface Arrivals {
  readonly count: number;
  readonly first: number;
  readonly last: number;
  readonly socketDrops: number;
}

const SLOTS = 64;
/** The program looks for a question so often (ns). */
const LOOK_UP = 2e6;

async function main(order: ArrivalsOrder): Promise<void> {
  const receiver = new FrameReceiver(order.interface, SLOTS, FRAME_LENGTH + 50, 2);
  let [count, first, last] = [0, 0, 0];
  process.stdin.on("data", (chunk: Buffer) => {
    for (const _ of chunk.toString().trim().split("\n")) {
      const arrivals: Arrivals = { count, first, last, socketDrops: receiver.dropped() };
      [count, first, last] = [0, 0, 0];
      console.log(JSON.stringify(arrivals));
    }
  });
  process.stdin.on("end", () => process.exit(0));
  console.log("ready");
  const stamp = { sequence: 0, flow: 0, index: 0, sentAt: 0 };
  let lookedUp = monotonicNow();
  for (;;) {
    const frames = receiver.receive();
    for (let slot = 0; slot < frames; slot++) {
      if (!readStamp(receiver.frames, receiver.offsetOf(slot), receiver.lengthOf(slot), order.run, stamp)) continue;
      const at = receiver.arrivedAt(slot);
      if (count === 0) first = at;
      last = at;
      count++;
    }
    if (monotonicNow() - lookedUp < LOOK_UP) continue;
    await new Promise(setImmediate);
    lookedUp = monotonicNow();
  }
}

if (import.meta.main) await main(JSON.parse(process.argv[2]!) as ArrivalsOrder);

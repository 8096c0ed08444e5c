/**
 * The program that receives a plan's packets. Started inside a network namespace with one argument, a `ReceiverOrder`
 * as JSON. Prints `ready`; when a line arrives on standard input the sender has finished, and the program waits until
 * everything is there or nothing has come for `quietMilliseconds`; then it prints a `ReceiverReport`.
 */
import { FRAME_LENGTH, readStamp } from "./frame.ts";
import { monotonicNow } from "./libc.ts";
import { FrameReceiver } from "./packet-socket.ts";
import { Tally, type TallySummary } from "./tally.ts";

/** What to expect, where. */
export interface ReceiverOrder {
  readonly interface: string;
  readonly run: number;
  readonly flows: number;
  readonly packetsPerFlow: number;
  readonly quietMilliseconds: number;
}

/** What arrived. */
export interface ReceiverReport extends TallySummary {
  /** Frames that the receiving socket itself had no room for: not the switch's fault, must be 0. */
  readonly socketDrops: number;
}

const SLOTS = 64;
const LOOK_UP = 20e6;

async function main(order: ReceiverOrder): Promise<void> {
  const receiver = new FrameReceiver(order.interface, SLOTS, FRAME_LENGTH + 50, 20);
  const tally = new Tally(order.flows, order.packetsPerFlow);
  const total = order.flows * order.packetsPerFlow;
  let finishing = false;
  process.stdin.on("data", () => {
    finishing = true;
  });
  process.stdin.on("end", () => process.exit(1));
  console.log("ready");

  const stamp = { sequence: 0, flow: 0, index: 0, sentAt: 0 };
  let lastFrame = monotonicNow();
  let lookedUp = lastFrame;
  for (;;) {
    const count = receiver.receive();
    for (let slot = 0; slot < count; slot++) {
      if (!readStamp(receiver.frames, receiver.offsetOf(slot), receiver.lengthOf(slot), order.run, stamp)) continue;
      tally.record(stamp, receiver.arrivedAt(slot));
      lastFrame = monotonicNow();
    }
    const now = monotonicNow();
    if (now - lookedUp < LOOK_UP) continue;
    await new Promise(setImmediate);
    if (finishing) {
      const quiet = now - lastFrame > order.quietMilliseconds * 1e6;
      // A duplicate may follow the last packet: a moment of silence belongs to the measurement.
      const complete = tally.received === total && now - lastFrame > 50e6;
      if (quiet || complete) break;
    }
    lookedUp = monotonicNow();
  }
  const report: ReceiverReport = { ...tally.summary(), socketDrops: receiver.dropped() };
  console.log(JSON.stringify(report));
  process.exit(0);
}

await main(JSON.parse(process.argv[2]!) as ReceiverOrder);

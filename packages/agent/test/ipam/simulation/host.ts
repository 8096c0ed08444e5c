/** A machine with its agent, while it has one. */
import type { SimulatedAgent } from "./agent.ts";
import { Machine } from "./machine.ts";

export class Host extends Machine {
  agent: SimulatedAgent | undefined;
}

/** The operator's command line; `main.ts` is its program. */
export { FabricctlError, type FabricctlErrorCode } from "./errors.ts";
export { defaultSocket, runFabricctl, type Surroundings } from "./program.ts";

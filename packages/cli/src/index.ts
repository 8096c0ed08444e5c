/** The operator's command line; `main.ts` is its program. */
export { FabricctlError, type FabricctlErrorCode } from "./errors.ts";
export { defaultSocket, type Surroundings } from "./commands.ts";
export { runFabricctl } from "./program.ts";

/** kubectl with the embedded server. */
import { embedded } from "./harness.ts";
import { kubectlCases } from "./kubectl-cases.ts";

kubectlCases("embedded", () => embedded());

/** Custom resources on the embedded server. */
import { embedded } from "./harness.ts";
import { customResourceCases } from "./custom-resource-cases.ts";

customResourceCases("embedded", () => embedded());

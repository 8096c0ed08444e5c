/** The protocol on the embedded server. */
import { embedded } from "./harness.ts";
import { protocolCases } from "./protocol-cases.ts";

protocolCases("embedded", () => embedded({ bookmarkSeconds: 0.2, historySize: 200 }), true);

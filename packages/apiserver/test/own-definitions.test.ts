/** The project's own definitions on the embedded server, their rules included. */
import { embedded } from "./harness.ts";
import { ownDefinitionCases } from "./own-definition-cases.ts";

ownDefinitionCases("embedded", () => embedded());

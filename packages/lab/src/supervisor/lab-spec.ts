import { readFileSync } from "node:fs";
import type { LabConfig } from "../config.ts";
import { LabError } from "../errors.ts";
import type { LabNames } from "../names.ts";

/** What `up` decided, for the supervisor and for every later command: the file lab.json. */
export interface LabSpec {
  readonly name: string;
  /** Third byte of the management network; no other lab on the machine has it. */
  readonly index: number;
  readonly config: LabConfig;
}

/** Environment variable by which every process of a lab can be found, also after its supervisor crashed. */
export const MARK_VARIABLE = "FABRIC_LAB_SUPERVISED";

/** The mark of one lab. */
export function labMark(lab: string): Readonly<Record<string, string>> {
  return { [MARK_VARIABLE]: lab };
}

/** Reads lab.json; `LAB_NOT_RUNNING` when there is no such lab. */
export function readSpec(names: LabNames): LabSpec {
  try {
    return JSON.parse(readFileSync(names.specFile, "utf8")) as LabSpec;
  } catch (cause) {
    throw new LabError(
      "LAB_NOT_RUNNING",
      `there is no lab "${names.lab}"; start it with: fabric-lab up --name ${names.lab}`,
      { cause },
    );
  }
}

import { request } from "node:http";
import { LabError, type LabErrorCode } from "./errors.ts";
import type { Step } from "./supervisor/control-server.ts";

interface ControlFailure {
  readonly error?: { readonly code: LabErrorCode; readonly message: string };
}

/** Asks the supervisor for something. Its refusals keep their code; `LAB_NOT_RUNNING` when nobody listens. */
export async function callSupervisor(
  socketPath: string,
  route: `${"GET" | "POST"} /${string}`,
  body?: unknown,
): Promise<unknown> {
  let last = "";
  await stream(socketPath, route, body, (line) => {
    last = line;
  });
  const value = JSON.parse(last) as ControlFailure;
  if (value.error !== undefined) throw new LabError(value.error.code, value.error.message);
  return value;
}

/** Follows `up` to its end; throws what the supervisor reports. */
export async function followUp(socketPath: string, onStep: (step: Step) => void): Promise<void> {
  let done = false;
  let failure: ControlFailure["error"];
  await stream(socketPath, "GET /up", undefined, (line) => {
    const value = JSON.parse(line) as ControlFailure & { step?: Step; done?: boolean };
    if (value.step !== undefined) onStep(value.step);
    if (value.done === true) done = true;
    failure = value.error ?? failure;
  });
  if (failure !== undefined) throw new LabError(failure.code, failure.message);
  if (!done) throw new LabError("LAB_NOT_RUNNING", "the supervisor ended before the lab was ready");
}

async function stream(socketPath: string, route: string, body: unknown, onLine: (line: string) => void): Promise<void> {
  const [method, path] = route.split(" ");
  await new Promise<void>((resolve, reject) => {
    const call = request({ socketPath, method, path }, (response) => {
      let pending = "";
      response.setEncoding("utf8");
      response.on("data", (chunk: string) => {
        pending += chunk;
        const lines = pending.split("\n");
        pending = lines.pop()!;
        for (const line of lines) onLine(line);
      });
      response.on("end", resolve);
      response.on("error", reject);
    });
    call.on("error", (cause) =>
      reject(
        new LabError("LAB_NOT_RUNNING", `no supervisor answers on ${socketPath}; start the lab with: fabric-lab up`, {
          cause,
        }),
      ),
    );
    call.end(body === undefined ? undefined : JSON.stringify(body));
  });
}

/** Does a supervisor listen there? */
export async function supervisorAlive(socketPath: string): Promise<boolean> {
  return await callSupervisor(socketPath, "GET /status").then(
    () => true,
    (error: unknown) => !(error instanceof LabError && error.code === "LAB_NOT_RUNNING"),
  );
}

import { request as httpRequest } from "node:http";
import { request as httpsRequest } from "node:https";
import type { Socket } from "node:net";
import { messageOf } from "../errors.ts";
import type { Container, Probe } from "./pod-model.ts";

/** How a probe reaches the pod; the node's side of it is the lab's business. */
export interface ProbeTarget {
  readonly podAddress: string;
  /** Opens a TCP connection from the node's network namespace. */
  readonly connect: (host: string, port: number, timeoutMs: number) => Promise<Socket>;
  /** Runs a command in the container; resolves to its exit code. */
  readonly execute: (command: readonly string[], timeoutMs: number) => Promise<number>;
}

/** Times and thresholds of a probe with the API's defaults filled in. */
export interface ProbeSchedule {
  readonly initialDelayMs: number;
  readonly periodMs: number;
  readonly timeoutMs: number;
  readonly successThreshold: number;
  readonly failureThreshold: number;
}

/** core/v1 Probe: delay 0, period 10 s, timeout 1 s, one success, three failures. */
export function probeSchedule(probe: Probe): ProbeSchedule {
  return {
    initialDelayMs: (probe.initialDelaySeconds ?? 0) * 1000,
    periodMs: Math.max(probe.periodSeconds ?? 10, 1) * 1000,
    timeoutMs: Math.max(probe.timeoutSeconds ?? 1, 1) * 1000,
    successThreshold: Math.max(probe.successThreshold ?? 1, 1),
    failureThreshold: Math.max(probe.failureThreshold ?? 3, 1),
  };
}

/** The opinion of a probe: it changes only after enough results in a row. */
export class ProbeVerdict {
  healthy: boolean;
  #streak = 0;
  #last: boolean | undefined;
  readonly #schedule: ProbeSchedule;

  constructor(schedule: ProbeSchedule, healthy: boolean) {
    this.#schedule = schedule;
    this.healthy = healthy;
  }

  /** Takes one result in; true when the opinion has changed, or when a failing streak has just reached its threshold. */
  take(success: boolean): boolean {
    this.#streak = success === this.#last ? this.#streak + 1 : 1;
    this.#last = success;
    const threshold = success ? this.#schedule.successThreshold : this.#schedule.failureThreshold;
    if (this.#streak !== threshold) return false;
    const differs = this.healthy !== success;
    this.healthy = success;
    return differs || !success;
  }
}

/** The number of a port that a probe gives as number or by the name of a container's port. */
export function probePort(port: number | string, container: Container): number | undefined {
  if (typeof port === "number") return port;
  const named = container.ports?.find((item) => item.name === port)?.containerPort;
  return named ?? (/^\d+$/.test(port) ? Number(port) : undefined);
}

/** Runs a probe once. `undefined` is success, text is why it failed. */
export async function probeOnce(probe: Probe, container: Container, target: ProbeTarget): Promise<string | undefined> {
  const { timeoutMs } = probeSchedule(probe);
  try {
    if (probe.exec !== undefined) {
      const code = await target.execute(probe.exec.command ?? [], timeoutMs);
      return code === 0 ? undefined : `command ended with ${code}`;
    }
    const action = probe.tcpSocket ?? probe.httpGet;
    if (action === undefined) return "this kind of probe is not known to the lab; use exec, tcpSocket or httpGet";
    const port = probePort(action.port, container);
    if (port === undefined) return `port "${action.port}" is not the name of a port of container ${container.name}`;
    const socket = await target.connect(action.host ?? target.podAddress, port, timeoutMs);
    if (probe.httpGet === undefined) {
      socket.destroy();
      return undefined;
    }
    const status = await httpStatus(socket, probe.httpGet, action.host ?? target.podAddress, port, timeoutMs);
    return status >= 200 && status < 400 ? undefined : `HTTP status ${status}`;
  } catch (error) {
    return messageOf(error);
  }
}

async function httpStatus(
  socket: Socket,
  get: NonNullable<Probe["httpGet"]>,
  host: string,
  port: number,
  timeoutMs: number,
): Promise<number> {
  const headers = Object.fromEntries((get.httpHeaders ?? []).map((header) => [header.name, header.value]));
  const path = get.path === undefined || get.path === "" ? "/" : get.path;
  const options = {
    host,
    port,
    path: path.startsWith("/") ? path : `/${path}`,
    headers: { "user-agent": "kube-probe/lab", accept: "*/*", connection: "close", ...headers },
    createConnection: () => socket,
  };
  return await new Promise<number>((resolve, reject) => {
    // As the API says, the certificate of a probed pod is not verified.
    const request =
      get.scheme === "HTTPS" ? httpsRequest({ ...options, rejectUnauthorized: false }) : httpRequest(options);
    const timer = setTimeout(() => request.destroy(new Error(`no answer within ${timeoutMs} ms`)), timeoutMs);
    request.on("response", (response) => {
      clearTimeout(timer);
      response.destroy();
      resolve(response.statusCode ?? 0);
    });
    request.on("error", (error) => {
      clearTimeout(timer);
      socket.destroy();
      reject(error);
    });
    request.end();
  });
}

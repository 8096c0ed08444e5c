/** TCP between pods: connect times, request/response times, throughput. */
import { join } from "node:path";
import { inNamespace, output, printed, run, until, type Site } from "../environment/site.ts";
import type { Pod } from "../environment/switch.ts";
import type { ClientOrder, ClientReport } from "./tcp-client.ts";
import type { ListenerOrder } from "./tcp-listener.ts";

const ACCEPT_PORT = 7001;
const ECHO_PORT = 7002;
const IPERF_PORT = 7003;

/** Listens in all given pods until stopped. */
export async function listenIn(site: Site, pods: readonly Pod[]): Promise<{ stop(): Promise<void> }> {
  const namespaces = pods.map((pod) => pod.namespace);
  const order: ListenerOrder = { namespaces, acceptPort: ACCEPT_PORT, echoPort: ECHO_PORT };
  const program = join(import.meta.dirname, "tcp-listener.ts");
  const listener = site.start(namespaces[0]!, [process.execPath, program, JSON.stringify(order)]);
  await printed(listener, "ready", "TCP listener");
  return { stop: () => site.stop(listener) };
}

async function client(site: Site, from: Pod, order: ClientOrder): Promise<ClientReport> {
  const program = join(import.meta.dirname, "tcp-client.ts");
  const running = site.start(from.namespace, [process.execPath, program, JSON.stringify(order)]);
  return JSON.parse(await output(running, "TCP client")) as ClientReport;
}

/** Milliseconds to connect from one pod to each peer, in `rounds` rounds: the first is fresh, the others are warm. */
export async function connectTimes(
  site: Site,
  from: Pod,
  peers: readonly Pod[],
  rounds: number,
): Promise<readonly (readonly number[])[]> {
  const order = { peers: peers.map((pod) => pod.address), port: ACCEPT_PORT, rounds, exchanges: 0, pause: 5 };
  return (await client(site, from, order)).connects;
}

/** Milliseconds for one byte there and back over an established connection, `count` times. */
export async function exchangeTimes(site: Site, from: Pod, to: Pod, count: number): Promise<readonly number[]> {
  const order = { peers: [to.address], port: ECHO_PORT, rounds: 0, exchanges: count, pause: 0 };
  return (await client(site, from, order)).exchanges;
}

/** Megabits per second of one TCP stream, measured by iperf3 at the receiver. */
export async function throughput(site: Site, from: Pod, to: Pod, seconds: number): Promise<number> {
  const server = site.start(to.namespace, ["iperf3", "-s", "-1", "-p", String(IPERF_PORT)]);
  try {
    const listening = () => run(inNamespace(to.namespace, ["ss", "-Hltn", `sport = :${IPERF_PORT}`])).trim() !== "";
    await until("iperf3 to listen", 10_000, listening);
    const command = ["iperf3", "-c", to.address, "-p", String(IPERF_PORT), "-t", String(seconds), "-J"];
    const report = JSON.parse(await output(site.start(from.namespace, command), "iperf3")) as {
      end: { sum_received: { bits_per_second: number } };
    };
    return report.end.sum_received.bits_per_second / 1e6;
  } finally {
    await site.stop(server);
  }
}

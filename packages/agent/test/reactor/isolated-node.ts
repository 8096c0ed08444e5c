/** A node of one real switch: its pipeline, its verdicts and its conntrack, with frames in at one port and out at another. */
import { readFileSync } from "node:fs";
import { cookieBuckets } from "@beyondfabric/datapath";
import { LabelPool } from "@beyondfabric/kube";
import {
  buildEthernet,
  buildIp,
  buildSctp,
  buildTcp,
  buildUdp,
  etherType,
  ipProtocol,
  parseCidr,
  tcpFlag,
} from "@beyondfabric/packet";
import { parsePacket, type Ip, type Packet, type SctpOptions } from "@beyondfabric/packet";
import { parseNetworkPolicy } from "@beyondfabric/policy";
import { pino } from "pino";
import { startSwitch, until, type TestSwitch } from "../../../openflow/test/interop/switch.ts";
import type { ReactorOptions } from "../../src/reactor/options.ts";
import { Reactor } from "../../src/reactor/reactor.ts";
import { BridgeSession } from "../../src/switch/bridge-session.ts";
import { View } from "../../src/view.ts";

const router = "0e:fa:b0:00:00:01";
const hostMac = "0e:fb:00:00:00:01";
const hostAddress = "10.244.1.1";
const life = 0xcafe;
const labels = new LabelPool();
const logger = pino({ level: process.env["TEST_LOG"] ?? "silent" });

export interface TestPod {
  readonly name: string;
  readonly port: number;
  readonly mac: string;
  readonly address: Ip;
  readonly address6: Ip;
}

/** Three pods of namespace `shop`, each labelled `app: <name>`. */
export const pods = {
  client: { name: "client", port: 100, mac: "0a:58:00:00:00:05", address: "10.244.1.5", address6: "fd00:244::1:5" },
  server: { name: "server", port: 101, mac: "0a:58:00:00:00:06", address: "10.244.1.6", address6: "fd00:244::1:6" },
  other: { name: "other", port: 102, mac: "0a:58:00:00:00:07", address: "10.244.1.7", address6: "fd00:244::1:7" },
} as const satisfies Record<string, TestPod>;

export interface Tcp {
  readonly from: TestPod;
  readonly to: TestPod;
  readonly srcPort: number;
  readonly dstPort: number;
  readonly flags: number;
  readonly seq?: number;
  readonly ack?: number;
  readonly data?: string;
}

export class IsolatedNode {
  readonly ovs: TestSwitch;
  view!: View;
  reactor!: Reactor;
  session!: BridgeSession;
  /** Milliseconds that have passed beside those of the clock. */
  skipped = 0;
  readonly #options: Pick<ReactorOptions, "listening">;
  readonly #read = new Map<string, number>();
  #lives = 0;

  private constructor(ovs: TestSwitch, options: Pick<ReactorOptions, "listening">) {
    this.ovs = ovs;
    this.#options = options;
    this.#live();
  }

  /** An agent that knows nothing yet. */
  #live(): void {
    const lives = this.#lives++;
    this.view = new View("node-1", new Set(["kube-system"]));
    const limits = {
      entries: 1000,
      idleMilliseconds: 60_000,
      heldPerPort: 8,
      holdMilliseconds: 1000,
      coalesceMilliseconds: 0,
      entriesPerSecond: 1000,
    };
    this.reactor = new Reactor({
      facts: this.view,
      limits,
      sink: { send: (frame) => this.session.send(frame), taken: () => this.session.taken() },
      now: () => performance.now() + this.skipped,
      life: life + lives,
      firstId: 1 + lives * 100_000,
      onUndecodable: (error) => {
        throw error;
      },
      ...this.#options,
    });
    this.session = this.#converse();
    this.view.onTracking((port) => void this.session.replacePod(port));
    this.view.onChange((keys) => this.reactor.factsChanged(keys));
  }

  #converse(): BridgeSession {
    return new BridgeSession({
      runDirectory: this.ovs.directory,
      bridge: "br0",
      limits: { perPort: 0, tunnel: 0 },
      reactor: this.reactor,
      logger,
      onReady: () => {},
      onLost: () => {},
    });
  }

  static async start(options: Pick<ReactorOptions, "listening"> = {}): Promise<IsolatedNode> {
    const ovs = await startSwitch(1);
    try {
      const node = new IsolatedNode(ovs, options);
      await node.#prepare();
      return node;
    } catch (error) {
      await ovs.stop();
      throw error;
    }
  }

  async #prepare(): Promise<void> {
    const { ovs } = this;
    for (const { name, port } of Object.values(pods)) {
      const columns = ["type=dummy", `ofport_request=${port}`, `options:tx_pcap=${ovs.directory}/${name}.pcap`];
      await ovs.vsctl("add-port", "br0", name, "--", "set", "interface", name, ...columns);
    }
    this.#describe();
    this.view.setComplete();
    await this.#begin();
  }

  #describe(): void {
    const { view } = this;
    view.setSubnets([
      { name: "default", cidr: parseCidr("10.244.0.0/16"), gateway: "10.244.0.1", vni: 7 },
      { name: "default6", cidr: parseCidr("fd00:244::/64"), gateway: "fd00:244::1", vni: 7 },
    ]);
    view.setNode({ name: "node-1", uid: "n1", gatewayAddresses: [hostAddress] });
    for (const block of ["10.244.1.0/24", "fd00:244::1:0/122"])
      view.setBlock({ cidr: parseCidr(block), node: "node-1" });
    view.setNamespace({ name: "shop", labels: labels.intern({ name: "shop" }) });
    for (const pod of Object.values(pods)) {
      const { name, port: ofport, mac, address, address6 } = pod;
      this.label(pod, { app: name });
      view.setLocalPort({
        ofport,
        mac,
        addresses: [address, address6],
        pod: `shop/${name}`,
        uid: name,
        tracked: true,
      });
    }
  }

  async #begin(): Promise<void> {
    const { view, session } = this;
    session.restorePods(view.localPorts.values());
    session.setBase({
      ports: { host: 1, tunnel: 2, hostMac },
      gateways: ["10.244.0.1", "fd00:244::1"],
      vnis: [],
      metered: false,
    });
    session.start();
    await until(() => session.ready, "the switch's entries");
  }

  /**
   * The agent dies with what it knew, and another takes over what stands in the switch.
   * @param meanwhile while it has not listed everything yet
   * @param listed tells the new one what the API server would, besides the pods
   */
  async restart(meanwhile: () => Promise<void>, listed: () => void): Promise<void> {
    await this.session.stop();
    this.#live();
    this.#describe();
    await this.#begin();
    await meanwhile();
    listed();
    this.view.setComplete();
    this.reactor.revalidateAll();
    await this.settled();
  }

  /** The switch loses every entry, and the agent its connection to it. */
  async loseEntries(): Promise<void> {
    await this.session.stop();
    await this.ovs.ofctl("-O", "OpenFlow15", "del-flows", "br0");
    this.session = this.#converse();
    await this.#begin();
    await this.settled();
  }

  async stop(): Promise<void> {
    await this.session.stop();
    await this.ovs.stop();
  }

  label({ name }: TestPod, pairs: Record<string, string>, namespace = "shop"): void {
    this.view.setIdentity({ uid: name, namespace, name, node: "node-1", labels: labels.intern(pairs), ports: [] });
  }

  policy(name: string, spec: unknown): void {
    this.view.setPolicy(parseNetworkPolicy({ metadata: { namespace: "shop", name }, spec }).policy!);
  }

  /** Waits until the switch has taken everything that was written, and its datapath has followed. */
  async settled(): Promise<void> {
    await until(() => this.reactor.pendingWrites === 0, "the writes");
    await this.session.reconcileNow();
    await this.ovs.appctl("revalidator/wait");
  }

  async send(pod: TestPod, ip: Buffer): Promise<void> {
    const type = ip[0]! >> 4 === 4 ? etherType.ipv4 : etherType.ipv6;
    const frame = buildEthernet({ src: pod.mac, dst: router, etherType: type }, ip);
    await this.ovs.appctl("netdev-dummy/receive", pod.name, frame.toString("hex"));
  }

  tcp({ from, to, flags, srcPort, dstPort, seq = 1000, ack = 0, data = "" }: Tcp): Promise<void> {
    const addresses = { src: from.address, dst: to.address };
    const segment = buildTcp({ ...addresses, srcPort, dstPort, seq, ack, flags, window: 60_000 }, Buffer.from(data));
    return this.send(from, buildIp({ ...addresses, protocol: ipProtocol.tcp }, segment));
  }

  udp(from: TestPod, to: TestPod, srcPort: number, dstPort: number, data = "x"): Promise<void> {
    const addresses = { src: from.address, dst: to.address };
    const datagram = buildUdp({ ...addresses, srcPort, dstPort }, Buffer.from(data));
    return this.send(from, buildIp({ ...addresses, protocol: ipProtocol.udp }, datagram));
  }

  /** A packet of one SCTP chunk. @param family of the addresses */
  sctp(from: TestPod, to: TestPod, packet: SctpOptions, family: 4 | 6 = 4): Promise<void> {
    const addresses = family === 4 ? { src: from.address, dst: to.address } : { src: from.address6, dst: to.address6 };
    return this.send(from, buildIp({ ...addresses, protocol: ipProtocol.sctp }, buildSctp(packet)));
  }

  /** Takes a reading of everything that entries have counted. */
  async read(): Promise<void> {
    for (let bucket = 0; bucket < cookieBuckets; bucket++) {
      if (this.reactor.bucketIsEmpty(bucket)) continue;
      this.reactor.recordBucket(bucket, await this.session.readBucket(bucket));
    }
  }

  /** Packets that came out at a pod since the last call. */
  received(pod: TestPod): Packet[] {
    const bytes = readFileSync(`${this.ovs.directory}/${pod.name}.pcap`);
    const found: Packet[] = [];
    let at = this.#read.get(pod.name) ?? 24;
    while (at + 16 <= bytes.length) {
      const size = bytes.readUInt32LE(at + 8);
      if (at + 16 + size > bytes.length) break;
      found.push(parsePacket(bytes.subarray(at + 16, at + 16 + size)));
      at += 16 + size;
    }
    this.#read.set(pod.name, at);
    return found;
  }

  /**
   * What comes out at a pod of what is sent now. Behind it goes a packet that certainly passes, from the pod's own node:
   * when that is through, everything before it had its turn.
   */
  async through(pod: TestPod, send: () => Promise<void>): Promise<Packet[]> {
    await send();
    const found: Packet[] = [];
    const marker = 40_000 + (this.#markers++ % 20_000);
    const addresses = { src: hostAddress, dst: pod.address };
    const datagram = buildUdp({ ...addresses, srcPort: marker, dstPort: marker }, Buffer.from("behind"));
    const ethernet = { src: hostMac, dst: router, etherType: etherType.ipv4 };
    const frame = buildEthernet(ethernet, buildIp({ ...addresses, protocol: ipProtocol.udp }, datagram));
    await this.ovs.appctl("netdev-dummy/receive", "p1", frame.toString("hex"));
    await until(() => {
      found.push(...this.received(pod));
      return found.some((packet) => packet.ipSrc === hostAddress && packet.srcPort === marker);
    }, `the node's own packet to ${pod.name}`);
    return found.filter((packet) => packet.ipSrc !== hostAddress);
  }

  #markers = 0;
}

/** A TCP connection between two pods, step by step. */
export class Dialogue {
  readonly #node: IsolatedNode;
  readonly #client: TestPod;
  readonly #server: TestPod;
  readonly #ports: { readonly srcPort: number; readonly dstPort: number };
  #clientSequence = 1000;
  #serverSequence = 5000;

  constructor(node: IsolatedNode, client: TestPod, server: TestPod, srcPort: number, dstPort: number) {
    this.#node = node;
    this.#client = client;
    this.#server = server;
    this.#ports = { srcPort, dstPort };
  }

  /** The handshake; whether each of its packets arrived. */
  async open(): Promise<boolean> {
    if (!(await this.#say("client", tcpFlag.syn))) return false;
    if (!(await this.#say("server", tcpFlag.syn | tcpFlag.ack))) return false;
    return this.#say("client", tcpFlag.ack);
  }

  /** Data from one end; whether it arrived at the other. */
  says(end: "client" | "server", data = "data"): Promise<boolean> {
    return this.#say(end, tcpFlag.ack | tcpFlag.psh, data);
  }

  async #say(end: "client" | "server", flags: number, data = ""): Promise<boolean> {
    const isClient = end === "client";
    const [from, to] = isClient ? [this.#client, this.#server] : [this.#server, this.#client];
    const { srcPort, dstPort } = this.#ports;
    const ports = isClient ? this.#ports : { srcPort: dstPort, dstPort: srcPort };
    const seq = isClient ? this.#clientSequence : this.#serverSequence;
    const ack = (flags & tcpFlag.ack) === 0 ? 0 : isClient ? this.#serverSequence : this.#clientSequence;
    const arrived = await this.#node.through(to, () => this.#node.tcp({ from, to, ...ports, flags, seq, ack, data }));
    const passed = arrived.some((packet) => packet.srcPort === ports.srcPort && packet.dstPort === ports.dstPort);
    if (passed) {
      const next = seq + data.length + ((flags & tcpFlag.syn) === 0 ? 0 : 1);
      if (isClient) this.#clientSequence = next;
      else this.#serverSequence = next;
    }
    return passed;
  }
}

/** A real switch for the tests of this folder: ovs-vswitchd on the dummy datapath, in a directory of its own under /tmp. */
import { execFile, spawn } from "node:child_process";
import type { ChildProcess } from "node:child_process";
import { existsSync, mkdtempSync, rmSync } from "node:fs";
import { connect } from "node:net";
import type { Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { promisify } from "node:util";
import { decodeMessage, encodeMessage, errorName, readHeader } from "../../src/index.ts";
import type { Message, MultipartReplyBody, MultipartRequestBody } from "../../src/index.ts";

const run = promisify(execFile);

/** Runs a program for as long as its own standard input is open: it cannot outlive a test that was killed. */
const TETHERED = '"$@" </dev/null & pid=$!; cat >/dev/null; kill -9 $pid; wait $pid 2>/dev/null';

export interface TestSwitch {
  readonly directory: string;
  vsctl(...args: string[]): Promise<string>;
  appctl(...args: string[]): Promise<string>;
  ofctl(...args: string[]): Promise<string>;
  stop(): Promise<void>;
}

/** Starts a switch with a bridge `br0` and dummy ports `p1`, `p2`, ... numbered alike. */
export async function startSwitch(ports: number): Promise<TestSwitch> {
  const directory = mkdtempSync(join(tmpdir(), "bf-of-"));
  const env = {
    ...process.env,
    OVS_RUNDIR: directory,
    OVS_LOGDIR: directory,
    OVS_DBDIR: directory,
    OVS_SYSCONFDIR: directory,
  };
  const children: ChildProcess[] = [];
  const call = async (file: string, args: readonly string[]): Promise<string> => {
    const { stdout } = await run(file, args, { env, timeout: 20_000 });
    return stdout;
  };
  const start = (file: string, args: readonly string[]): void => {
    children.push(spawn("sh", ["-c", TETHERED, "sh", file, ...args], { env, stdio: ["pipe", "ignore", "ignore"] }));
  };
  const database = `unix:${directory}/db.sock`;
  const stop = async (): Promise<void> => {
    for (const child of children.reverse()) {
      if (child.exitCode !== null || child.signalCode !== null) continue;
      const gone = new Promise((resolve) => child.once("exit", resolve));
      child.stdin?.end();
      await gone;
    }
    rmSync(directory, { recursive: true, force: true });
  };
  try {
    await call("ovsdb-tool", ["create", `${directory}/conf.db`, "/usr/share/openvswitch/vswitch.ovsschema"]);
    start("ovsdb-server", [`${directory}/conf.db`, `--remote=punix:${directory}/db.sock`, "--no-chdir"]);
    // It waits for the server: a socket is there a moment before anybody listens.
    await call("ovs-vsctl", [`--db=${database}`, "--retry", "--no-wait", "init"]);
    start("ovs-vswitchd", [database, "--enable-dummy", "--disable-system", "--no-chdir", `--unixctl=${directory}/ctl`]);
    const created = ["--", "add-br", "br0", "--", "set", "bridge", "br0", "datapath_type=dummy", "fail_mode=secure"];
    for (let i = 1; i <= ports; i++) {
      created.push(
        "--",
        "add-port",
        "br0",
        `p${i}`,
        "--",
        "set",
        "interface",
        `p${i}`,
        "type=dummy",
        `ofport_request=${i}`,
      );
    }
    await call("ovs-vsctl", [`--db=${database}`, "--timeout=15", ...created.slice(1)]);
    await until(() => existsSync(`${directory}/br0.mgmt`), "the bridge's socket");
  } catch (error) {
    await stop();
    throw error;
  }
  return {
    directory,
    vsctl: (...args) => call("ovs-vsctl", [`--db=${database}`, "--timeout=15", ...args]),
    appctl: (...args) => call("ovs-appctl", ["-t", `${directory}/ctl`, ...args]),
    ofctl: (...args) => call("ovs-ofctl", ["-O", "OpenFlow15", ...args]),
    stop,
  };
}

export async function until(done: () => boolean | Promise<boolean>, what: string): Promise<void> {
  const deadline = Date.now() + 20_000;
  while (!(await done())) {
    if (Date.now() > deadline) throw new Error(`${what} did not come within 20 s`);
    await sleep(20);
  }
}

/** A bare connection to a bridge: frames cut from the stream, replies matched by xid. */
export class Connection {
  readonly #socket: Socket;
  #pending = Buffer.alloc(0);
  #xid = 100;
  readonly #waiting = new Map<number, { frames: Buffer[]; done: (frames: Buffer[]) => void }>();
  /** Frames that answer nothing: packet-ins, port status. */
  readonly frames: Buffer[] = [];
  readonly errors: string[] = [];

  private constructor(socket: Socket) {
    this.#socket = socket;
    socket.on("data", (chunk: Buffer) => this.#receive(chunk));
    socket.on("error", () => undefined);
  }

  static async open(path: string): Promise<Connection> {
    const socket = connect(path);
    await new Promise<void>((resolve, reject) => {
      socket.once("connect", resolve);
      socket.once("error", reject);
    });
    const connection = new Connection(socket);
    connection.send({ type: "hello", versions: [6] });
    return connection;
  }

  send(message: Message): number {
    const xid = this.#xid++;
    this.#socket.write(encodeMessage(message, xid));
    return xid;
  }

  sendFrame(frame: Buffer): void {
    this.#socket.write(frame);
  }

  /** Sends a request and waits for the frame with its xid. */
  async request(message: Message): Promise<Message> {
    const xid = this.#xid;
    const answered = new Promise<Buffer[]>((done) => this.#waiting.set(xid, { frames: [], done }));
    this.send(message);
    return decodeMessage((await answered)[0]!);
  }

  /** All parts of a multipart reply, decoded. */
  async multipart<K extends MultipartRequestBody["kind"]>(
    body: Extract<MultipartRequestBody, { kind: K }>,
  ): Promise<Extract<MultipartReplyBody, { kind: K }>[]> {
    const xid = this.#xid;
    const answered = new Promise<Buffer[]>((done) => this.#waiting.set(xid, { frames: [], done }));
    this.send({ type: "multipart_request", body });
    return (await answered).map((frame) => {
      const message = decodeMessage(frame);
      if (message.type === "error") throw new Error(`${body.kind}: ${errorName(message)}`);
      if (message.type !== "multipart_reply") throw new Error(`${body.kind}: answered by ${message.type}`);
      return message.body as Extract<MultipartReplyBody, { kind: K }>;
    });
  }

  async barrier(): Promise<void> {
    await this.request({ type: "barrier_request" });
  }

  /** Sends a message; gives the name of the error that it caused, if any. */
  async attempt(message: Message): Promise<string | undefined> {
    const before = this.errors.length;
    this.send(message);
    await this.barrier();
    return this.errors[before];
  }

  close(): void {
    this.#socket.destroy();
  }

  #receive(chunk: Buffer): void {
    this.#pending = Buffer.concat([this.#pending, chunk]);
    for (;;) {
      const header = readHeader(this.#pending);
      if (header === undefined || this.#pending.length < header.length) return;
      const frame = this.#pending.subarray(0, header.length);
      this.#pending = this.#pending.subarray(header.length);
      this.#deliver(frame, header.xid);
    }
  }

  #deliver(frame: Buffer, xid: number): void {
    const message = decodeMessage(frame);
    if (message.type === "echo_request") {
      this.#socket.write(encodeMessage({ type: "echo_reply", data: message.data }, xid));
      return;
    }
    const waiting = this.#waiting.get(xid);
    if (waiting === undefined) {
      if (message.type === "error") this.errors.push(errorName(message));
      else this.frames.push(frame);
      return;
    }
    waiting.frames.push(frame);
    if (message.type === "multipart_reply" && message.more === true) return;
    this.#waiting.delete(xid);
    waiting.done(waiting.frames);
  }
}

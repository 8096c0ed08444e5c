import { execFile, spawn, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { existsSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";

const run = promisify(execFile);
const SCHEMA = "/usr/share/openvswitch/vswitch.ovsschema";

/** A real ovsdb-server (and, on request, ovs-vswitchd) in a directory of its own. */
export class OvsdbServer {
  readonly directory: string;
  readonly socket: string;
  readonly address: string;
  readonly #clustered: boolean;
  #server: ChildProcess | undefined;
  #switch: ChildProcess | undefined;

  private constructor(directory: string, clustered: boolean) {
    this.directory = directory;
    this.socket = join(directory, "db.sock");
    this.address = `unix:${this.socket}`;
    this.#clustered = clustered;
  }

  /** Makes the database, without starting the server. A clustered one numbers and remembers its transactions. */
  static async create(options: { clustered?: boolean } = {}): Promise<OvsdbServer> {
    const clustered = options.clustered === true;
    const server = new OvsdbServer(await mkdtemp(join(tmpdir(), "bf-ovsdb-")), clustered);
    const file = join(server.directory, "conf.db");
    if (clustered) {
      await run("ovsdb-tool", ["create-cluster", file, SCHEMA, `unix:${join(server.directory, "raft.sock")}`]);
    } else await run("ovsdb-tool", ["create", file, SCHEMA]);
    return server;
  }

  async start(): Promise<void> {
    await rm(this.socket, { force: true });
    const server = spawn(
      "ovsdb-server",
      [
        "--no-chdir",
        `--remote=p${this.address}`,
        `--unixctl=${join(this.directory, "server.ctl")}`,
        "-vconsole:off",
        "-vsyslog:off",
        join(this.directory, "conf.db"),
      ],
      { stdio: "ignore", env: { ...process.env, OVS_RUNDIR: this.directory } },
    );
    this.#server = server;
    endWithProcess(server);
    await until("the server's socket", () => existsSync(this.socket));
    if (this.#clustered) await this.vsctl("--no-wait", "show");
  }

  /** As a crash would: SIGKILL, and the socket's file stays. */
  async kill(): Promise<void> {
    await end(this.#server, "SIGKILL");
    this.#server = undefined;
  }

  pause(): void {
    this.#server?.kill("SIGSTOP");
  }

  resume(): void {
    this.#server?.kill("SIGCONT");
  }

  async startSwitch(): Promise<void> {
    this.#switch = spawn(
      "ovs-vswitchd",
      [
        "--no-chdir",
        this.address,
        "--enable-dummy=override",
        "--disable-system",
        `--pidfile=${join(this.directory, "ovs-vswitchd.pid")}`,
        `--unixctl=${join(this.directory, "ovs-vswitchd.ctl")}`,
        "-vconsole:off",
        "-vsyslog:off",
      ],
      { stdio: "ignore", env: { ...process.env, OVS_RUNDIR: this.directory } },
    );
    endWithProcess(this.#switch);
    await until("the switch", () =>
      this.appctl("version").then(
        () => true,
        () => false,
      ),
    );
  }

  async stopSwitch(): Promise<void> {
    await end(this.#switch, "SIGKILL");
    this.#switch = undefined;
    await rm(join(this.directory, "ovs-vswitchd.ctl"), { force: true });
  }

  /** Runs ovs-appctl on this switch and returns what it prints. */
  async appctl(...args: string[]): Promise<string> {
    const { stdout } = await run("ovs-appctl", [
      "-t",
      join(this.directory, "ovs-vswitchd.ctl"),
      "--timeout=20",
      ...args,
    ]);
    return stdout.trim();
  }

  /** Runs ovs-vsctl on this server and returns what it prints. It waits: a socket is there a moment before it listens. */
  async vsctl(...args: string[]): Promise<string> {
    const { stdout } = await run("ovs-vsctl", [`--db=${this.address}`, "--retry", "--timeout=20", ...args]);
    return stdout.trim();
  }

  async destroy(): Promise<void> {
    await this.stopSwitch();
    this.resume();
    await this.kill();
    await rm(this.directory, { recursive: true, force: true });
  }
}

/** A test run that is itself killed or crashes leaves nothing behind. */
function endWithProcess(child: ChildProcess): void {
  const kill = (): void => void child.kill("SIGKILL");
  process.once("exit", kill);
  child.once("exit", () => process.off("exit", kill));
}

async function end(child: ChildProcess | undefined, signal: NodeJS.Signals): Promise<void> {
  if (child === undefined || child.exitCode !== null || child.signalCode !== null) return;
  const exited = once(child, "exit");
  child.kill(signal);
  await exited;
}

/** Polls until `test` holds; far longer than anything takes, so that only a real failure ends it. */
export async function until(what: string, test: () => boolean | Promise<boolean>, timeoutMs = 20_000): Promise<void> {
  const deadline = performance.now() + timeoutMs;
  while (!(await test())) {
    if (performance.now() > deadline) throw new Error(`waited ${timeoutMs} ms in vain for ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}

import { execFile, spawn, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";

const run = promisify(execFile);

/** A real ovs-vswitchd with its database, dummy datapath, in a directory of its own; nothing leaves the process. */
export class OpenVswitch {
  readonly directory: string;
  readonly #environment: NodeJS.ProcessEnv;
  #database: ChildProcess | undefined;
  #switch: ChildProcess | undefined;

  private constructor(directory: string) {
    this.directory = directory;
    this.#environment = { ...process.env, OVS_RUNDIR: directory };
  }

  static async start(): Promise<OpenVswitch> {
    const ovs = new OpenVswitch(await mkdtemp(join(tmpdir(), "bf-channel-")));
    try {
      const file = join(ovs.directory, "conf.db");
      await run("ovsdb-tool", ["create", file, "/usr/share/openvswitch/vswitch.ovsschema"]);
      ovs.#database = ovs.#spawn("ovsdb-server", [
        `--remote=p${ovs.#db}`,
        `--unixctl=${join(ovs.directory, "db.ctl")}`,
        file,
      ]);
      await ovs.vsctl("--no-wait", "init");
      await ovs.startSwitch();
      return ovs;
    } catch (error) {
      // A child that is left keeps the test's process from ending.
      await ovs.destroy();
      throw error;
    }
  }

  get #db(): string {
    return `unix:${join(this.directory, "db.sock")}`;
  }

  /** Where a controller may connect to a bridge. */
  management(bridge: string): string {
    return `unix:${join(this.directory, `${bridge}.mgmt`)}`;
  }

  async startSwitch(): Promise<void> {
    this.#switch = this.#spawn("ovs-vswitchd", [
      this.#db,
      "--enable-dummy=override",
      "--disable-system",
      `--unixctl=${join(this.directory, "switch.ctl")}`,
    ]);
    await until("the switch", () =>
      this.appctl("version").then(
        () => true,
        () => false,
      ),
    );
  }

  async killSwitch(): Promise<void> {
    await end(this.#switch);
    this.#switch = undefined;
    await rm(join(this.directory, "switch.ctl"), { force: true });
  }

  pauseSwitch(): void {
    this.#switch?.kill("SIGSTOP");
  }

  resumeSwitch(): void {
    this.#switch?.kill("SIGCONT");
  }

  /** Runs ovs-vsctl, which waits for the server: its socket is there a moment before it listens. */
  async vsctl(...args: string[]): Promise<string> {
    return (await run("ovs-vsctl", [`--db=${this.#db}`, "--retry", "--timeout=20", ...args])).stdout.trim();
  }

  async ofctl(command: string, bridge: string, ...args: string[]): Promise<string> {
    const target = join(this.directory, `${bridge}.mgmt`);
    return (await run("ovs-ofctl", ["-OOpenFlow15", "--timeout=20", command, target, ...args])).stdout.trim();
  }

  async appctl(...args: string[]): Promise<string> {
    return (await run("ovs-appctl", ["--timeout=20", "-t", join(this.directory, "switch.ctl"), ...args])).stdout.trim();
  }

  async destroy(): Promise<void> {
    this.resumeSwitch();
    await this.killSwitch();
    await end(this.#database);
    await rm(this.directory, { recursive: true, force: true });
  }

  #spawn(program: string, args: string[]): ChildProcess {
    const child = spawn(program, ["--no-chdir", "-vconsole:off", "-vsyslog:off", ...args], {
      stdio: "ignore",
      env: this.#environment,
    });
    // A test run that crashes leaves nothing behind.
    const kill = (): void => void child.kill("SIGKILL");
    process.once("exit", kill);
    child.once("exit", () => process.off("exit", kill));
    return child;
  }
}

async function end(child: ChildProcess | undefined): Promise<void> {
  if (child === undefined || child.exitCode !== null || child.signalCode !== null) return;
  const exited = once(child, "exit");
  child.kill("SIGKILL");
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

/** Traffic that goes on while a test does its worst: pings that count what is lost, TCP connections that are watched. */
import { spawn, type ChildProcessByStdio } from "node:child_process";
import type { Readable, Writable } from "node:stream";
import { resolve } from "node:path";
import { until, type Lab, type Outcome } from "./lab.ts";

const labProgram = resolve(import.meta.dirname, "../../bin/fabric-lab");

/** A program in a pod of `default` whose standard input and output are ours. */
export function startInPod(
  lab: Lab,
  pod: string,
  command: readonly string[],
): ChildProcessByStdio<Writable, Readable, null> {
  return startInLab(["exec", "--name", lab.name, `default/${pod}`, "--", ...command]);
}

/** A program on a node whose standard input and output are ours. */
export function startOnNode(
  lab: Lab,
  node: string,
  command: readonly string[],
): ChildProcessByStdio<Writable, Readable, null> {
  return startInLab(["node", "--name", lab.name, node, "--", ...command]);
}

function startInLab(args: readonly string[]): ChildProcessByStdio<Writable, Readable, null> {
  const child = spawn(labProgram, args, { stdio: ["pipe", "pipe", "ignore"] });
  child.stdin.on("error", () => {});
  return child;
}

/** A program that says `ready`, ends when its standard input does, and reports what it counted as its last line. */
export class Counted<Report> {
  readonly #child: ChildProcessByStdio<Writable, Readable, null>;
  readonly #ended: Promise<void>;
  readonly #what: string;
  #text = "";

  constructor(what: string, child: ChildProcessByStdio<Writable, Readable, null>) {
    this.#what = what;
    this.#child = child;
    this.#child.stdout.setEncoding("utf8").on("data", (text: string) => (this.#text += text));
    this.#ended = ended(child);
  }

  async ready(): Promise<void> {
    await until(`${this.#what} is ready`, async () => this.#text.includes("ready"), 60_000);
  }

  async end(): Promise<Report> {
    this.#child.stdin.end();
    await this.#ended;
    const line = this.#text.trim().split("\n").at(-1)!;
    if (!line.startsWith("{")) throw new Error(`${this.#what} did not report: ${this.#text}`);
    return JSON.parse(line) as Report;
  }

  kill(): void {
    this.#child.kill("SIGKILL");
  }
}

function ended(child: ChildProcessByStdio<Writable, Readable, null>): Promise<void> {
  return new Promise((done) => {
    child.once("close", () => done());
  });
}

export interface PingFigures {
  readonly sent: number;
  readonly lost: number;
  readonly doubled: number;
  /** The longest time between two answers (ms). */
  readonly longestSilence: number;
}

/** What is on its way when a ping ends is not judged: its last second. */
const unjudged = 50;

/** Fifty pings a second from a pod to an address, until it is stopped. */
export class PingStream {
  readonly #child: ChildProcessByStdio<Writable, Readable, null>;
  readonly #ended: Promise<void>;
  #text = "";

  private constructor(lab: Lab, pod: string, to: string) {
    // The shell tells ping to end, and to say how many it sent, when our end of the pipe closes.
    const script = `ping -n -D -i 0.02 ${to} & read line; kill -INT $!; wait`;
    this.#child = startInPod(lab, pod, ["sh", "-c", script]);
    this.#ended = ended(this.#child);
    this.#child.stdout.setEncoding("utf8").on("data", (text: string) => (this.#text += text));
  }

  /** Resolves when the first answers are there. */
  static async start(lab: Lab, pod: string, to: string): Promise<PingStream> {
    const stream = new PingStream(lab, pod, to);
    const deadline = Date.now() + 20_000;
    while (stream.#answers().length < 10) {
      if (Date.now() > deadline) {
        await stream.stop();
        throw new Error(`${pod} gets no answers from ${to}:\n${stream.#text}`);
      }
      await new Promise((done) => setTimeout(done, 50));
    }
    return stream;
  }

  async stop(): Promise<PingFigures> {
    this.#child.stdin.end();
    await this.#ended;
    const answers = this.#answers();
    const sent = Number(/(\d+) packets transmitted/.exec(this.#text)?.[1] ?? 0);
    const judged = Math.max(0, sent - unjudged);
    const seen = new Set(answers.map(({ sequence }) => sequence));
    let lost = 0;
    for (let sequence = 1; sequence <= judged; sequence++) if (!seen.has(sequence)) lost++;
    const gaps = answers.slice(1).map(({ at }, index) => at - answers[index]!.at);
    return {
      sent,
      lost,
      doubled: answers.length - seen.size,
      longestSilence: Math.round(Math.max(0, ...gaps)),
    };
  }

  #answers(): { sequence: number; at: number }[] {
    return [...this.#text.matchAll(/^\[(\d+\.\d+)\] \d+ bytes from .*icmp_seq=(\d+)/gm)].map((match) => ({
      at: Number(match[1]) * 1000,
      sequence: Number(match[2]),
    }));
  }
}

export interface TalkFigures {
  readonly said: number;
  /** The longest time that an echo took (ms). */
  readonly slowest: number;
}

/** One TCP connection from a pod to the echo server of another. Everything that is said must come back, in order. */
export class Conversation {
  readonly #child: ChildProcessByStdio<Writable, Readable, null>;
  readonly #ended: Promise<void>;
  #received = "";
  #over = false;
  #said = 0;
  #slowest = 0;
  #talking: Promise<void> | undefined;
  #silent = false;

  constructor(lab: Lab, pod: string, address: string, port = 7000) {
    const target = address.includes(":") ? `[${address}]` : address;
    this.#child = startInPod(lab, pod, ["socat", "-", `TCP:${target}:${port}`]);
    this.#ended = ended(this.#child);
    void this.#ended.then(() => (this.#over = true));
    this.#child.stdout.setEncoding("utf8").on("data", (text: string) => (this.#received += text));
  }

  /** Says a line and waits for its echo. Throws when the connection ends, or when the time (ms) is over. */
  async say(timeout = 20_000): Promise<void> {
    const line = `line ${++this.#said}\n`;
    const begun = performance.now();
    this.#child.stdin.write(line);
    while (!this.#received.endsWith(line)) {
      if (this.#over) throw new Error(`the connection ended before "${line.trim()}" came back`);
      if (performance.now() - begun > timeout) throw new Error(`"${line.trim()}" did not come back in ${timeout} ms`);
      await new Promise((done) => setTimeout(done, 5));
    }
    this.#slowest = Math.max(this.#slowest, performance.now() - begun);
  }

  /** Talks without a pause, line after echo, until {@link beSilent}. */
  talk(): void {
    this.#silent = false;
    this.#talking = (async () => {
      while (!this.#silent) {
        await this.say();
        await new Promise((done) => setTimeout(done, 15));
      }
    })();
    this.#talking.catch(() => {});
  }

  /** Ends the talk; throws what went wrong in it. */
  async beSilent(): Promise<TalkFigures> {
    this.#silent = true;
    await this.#talking;
    const expected = Array.from({ length: this.#said }, (_, index) => `line ${index + 1}\n`).join("");
    if (this.#received !== expected) throw new Error("what came back is not what was said");
    return { said: this.#said, slowest: Math.round(this.#slowest) };
  }

  async close(): Promise<void> {
    this.#silent = true;
    this.#child.stdin.end();
    const patience = setTimeout(() => this.#child.kill("SIGTERM"), 3000);
    await this.#ended;
    clearTimeout(patience);
  }
}

/** Runs a program somewhere: in a pod, on a node, on a machine of the wire. */
export type Run = (...command: string[]) => Promise<Outcome>;

/**
 * What a tcpdump shows of the time in which something happens, one line a frame.
 * @param file where it may write; nobody else does at the same time
 * @param arguments_ of tcpdump: interface, direction, filter
 */
export async function captured(
  run: Run,
  file: string,
  arguments_: string,
  during: () => Promise<unknown>,
): Promise<string[]> {
  const errors = `${file}.err`;
  const reads = async (path: string): Promise<string> => (await run("cat", path)).stdout;
  const start = `tcpdump -nnel ${arguments_} >${file} 2>${errors} </dev/null & echo $!`;
  const pid = (await run("sh", "-c", start)).stdout.trim();
  try {
    await until("tcpdump listens", async () => (await reads(errors)).includes("listening on"));
    await during();
  } finally {
    await run("kill", "-INT", pid);
  }
  // Of a single one it says "1 packet captured".
  await until("tcpdump has written everything", async () => /packets? captured/.test(await reads(errors)));
  const text = await reads(file);
  await run("rm", "-f", file, errors);
  return text.split("\n").filter((line) => /^\d\d:\d\d:\d\d/.test(line));
}

/**
 * The agent's configuration: one YAML file, checked as a whole before anything is touched. Every problem is reported
 * at once, each with its file and line, the key's path, the rule that it breaks and what to write instead.
 */
import { readFileSync, statSync } from "node:fs";
import { isIP } from "node:net";
import { explain, formatPath, ruled, schemaAt } from "@beyondfabric/kube/kinds";
import type { ValuePath } from "@beyondfabric/kube/kinds";
import { z } from "zod";
import { lineOf, MAX_YAML_LENGTH, readYamlDocument, YamlDocumentError } from "./yaml-document.ts";
import type { YamlDocument, YamlLines } from "./yaml-document.ts";

const MAX_PROBLEMS = 100;

/** What a rejected key broke, and how to mend it. */
export interface ConfigProblem {
  readonly file: string;
  /** One-based line of the key, or of the nearest enclosing key when the key itself is absent. */
  readonly line: number;
  /** Dotted path such as `limits.entries` or `sharedNamespaces[2]`; empty for the document itself. */
  readonly path: string;
  readonly rule: string;
  readonly remedy: string;
}

/** The file cannot be read (`CONFIG_UNREADABLE`), is no YAML (`CONFIG_SYNTAX`) or breaks rules (`CONFIG_INVALID`). */
export class ConfigError extends Error {
  override readonly name = "ConfigError";
  readonly code: "CONFIG_UNREADABLE" | "CONFIG_SYNTAX" | "CONFIG_INVALID";
  readonly problems: readonly ConfigProblem[];

  constructor(code: ConfigError["code"], problems: readonly ConfigProblem[], options?: ErrorOptions) {
    super(problems.map(formatProblem).join("\n"), options);
    this.code = code;
    this.problems = problems;
  }
}

function formatProblem(problem: ConfigProblem): string {
  const subject = problem.path === "" ? "" : `${problem.path}: `;
  return `${problem.file}:${problem.line}: ${subject}${problem.rule}; ${problem.remedy}`;
}

const DNS_LABEL = "[a-z0-9](?:[-a-z0-9]{0,61}[a-z0-9])?";

const nodeName = ruled(
  z
    .string()
    .max(253)
    .regex(new RegExp(`^${DNS_LABEL}(?:\\.${DNS_LABEL})*$`)),
  "must be the name of this machine's Node object (lower-case letters, digits, '-' and '.')",
  "write the name that `kubectl get nodes` shows",
);

const absolutePath = ruled(
  z
    .string()
    .max(4095)
    // A NUL would cut the path short inside the kernel.
    .regex(/^\/[^\0]*$/),
  "must be an absolute path",
  "write it from / on",
);

/** sun_path holds 108 bytes with its terminating NUL (unix(7)). */
const MAX_SOCKET_PATH = 107;

const socketPath = ruled(
  z
    .string()
    .regex(/^\/[^\0]*[^/\0]$/)
    .refine((path) => Buffer.byteLength(path) <= MAX_SOCKET_PATH),
  `must be the absolute path of a unix socket, at most ${MAX_SOCKET_PATH} bytes long`,
  "choose a short path such as /run/beyondfabric/cni.sock",
);

function isDatabaseMethod(text: string): boolean {
  if (text.startsWith("unix:")) return socketPath.safeParse(text.slice("unix:".length)).success;
  return text.startsWith("tcp:") && parseHostPort(text.slice("tcp:".length)) !== undefined;
}

const databaseMethod = ruled(
  z.string().refine(isDatabaseMethod),
  "must be unix:PATH or tcp:ADDRESS:PORT",
  "write for example unix:/var/run/openvswitch/db.sock",
);

/** IFNAMSIZ is 16 with the NUL; OVS names its ports, and its .mgmt sockets, by the same string. */
const INTERFACE_NAME = /^(?!\.\.?$)[^\s/:\0]{1,15}$/;

const interfaceName = ruled(
  z.string().regex(INTERFACE_NAME),
  "must be an interface name: 1 to 15 characters, no space, '/' or ':'",
  "write a name that `ip link` shows",
);

const bridgeName = ruled(
  z.string().regex(/^(?!\.\.?$)[\w.-]{1,15}$/),
  "must be a bridge name: 1 to 15 letters, digits, '.', '_' or '-'",
  "keep the default br-int unless another program owns it",
);

const tunnelAddress = ruled(
  z.string().refine((text) => isIP(text) === 4),
  "must be one IPv4 address, without a prefix length: tunnels run over IPv4",
  "write for example 10.10.0.11, or drop the key to use the interface's first IPv4 address",
);

/** A place to listen on. */
export interface ListenAddress {
  readonly host: string;
  readonly port: number;
}

function parseHostPort(text: string): ListenAddress | undefined {
  const match = /^(?:\[([^\]]+)\]|([^:[\]]+)):(\d{1,5})$/.exec(text);
  if (match === null) return undefined;
  const host = match[1] ?? match[2]!;
  const port = Number(match[3]);
  const isFamilyRight = match[1] === undefined ? isIP(host) === 4 : isIP(host) === 6;
  return isFamilyRight && port >= 1 && port <= 65535 ? { host, port } : undefined;
}

const listenAddress = ruled(
  z.string().transform((text, context): ListenAddress => {
    const parsed = parseHostPort(text);
    if (parsed !== undefined) return parsed;
    context.addIssue("not ADDRESS:PORT");
    return z.NEVER;
  }),
  "must be ADDRESS:PORT, an IPv6 address in brackets",
  "write for example 0.0.0.0:9474 or [::]:9474",
);

function whole(minimum: number, maximum: number, remedy: string) {
  return ruled(z.int().min(minimum).max(maximum), `must be a whole number from ${minimum} to ${maximum}`, remedy);
}

function oneOf<const Values extends readonly [string, ...string[]]>(values: Values, remedy: string) {
  return ruled(z.enum(values), `must be one of ${values.join(", ")}`, remedy);
}

function section<Shape extends z.ZodRawShape>(shape: Shape) {
  return ruled(
    z.strictObject(shape),
    `must be a mapping with keys of ${Object.keys(shape).join(", ")}`,
    "indent its keys below it",
  );
}

/** A kind whose pods keep their address as those of a StatefulSet do. */
const stickyOwner = section({
  apiVersion: ruled(
    z
      .string()
      .max(317)
      .regex(/^([a-z0-9][-.a-z0-9]*\/)?v[0-9a-z]+$/),
    "must be VERSION or GROUP/VERSION",
    "write for example kubevirt.io/v1",
  ),
  kind: ruled(
    z
      .string()
      .max(63)
      .regex(/^[A-Z][A-Za-z0-9]*$/),
    "must be a kind",
    "write what `kubectl api-resources` shows in its last column",
  ),
  resource: ruled(
    z
      .string()
      .max(63)
      .regex(/^[a-z][-a-z0-9]*$/),
    "must be the plural name of the kind",
    "write what `kubectl api-resources` shows in its first column",
  ),
});

const schema = section({
  nodeName,
  kubeconfig: absolutePath.optional(),
  ovs: section({
    database: databaseMethod.default("unix:/var/run/openvswitch/db.sock"),
    runDirectory: absolutePath.default("/var/run/openvswitch"),
    bridge: bridgeName.default("br-int"),
    datapathType: oneOf(
      ["netdev", "system"],
      "write system where the kernel has the openvswitch module, else netdev",
    ).default("system"),
  }).prefault({}),
  tunnel: section({ interface: interfaceName, address: tunnelAddress.optional() }).optional(),
  cni: section({
    socket: socketPath.default("/run/beyondfabric/cni.sock"),
    binDirectory: absolutePath.default("/opt/cni/bin"),
    confDirectory: absolutePath.default("/etc/cni/net.d"),
    executable: absolutePath.optional(),
  }).prefault({}),
  api: section({
    socket: socketPath.default("/run/beyondfabric/api.sock"),
    healthAddress: listenAddress.prefault("0.0.0.0:9474"),
  }).prefault({}),
  limits: section({
    missesPerSecondPerPort: whole(0, 1_000_000, "write 0 for no meter").default(500),
    missesPerSecondTunnel: whole(0, 1_000_000, "write 0 for no meter").default(5000),
    entries: whole(100, 1_000_000, "the default, 20000, suits 250 pods").default(20_000),
    idleSeconds: whole(1, 86_400, "write the seconds without traffic after which an entry goes").default(60),
    heldPerPort: whole(0, 4096, "write how many packets of a port may wait for an unknown peer").default(64),
    holdMilliseconds: whole(1, 1000, "write at most 1000: nobody waits longer than that for a first packet").default(
      1000,
    ),
  }).prefault({}),
  addresses: section({
    reclaimSeconds: whole(
      0,
      31_536_000,
      "write for how long an address is kept when its owner is gone; the default is 300",
    ).default(300),
    historySeconds: whole(
      0,
      315_360_000,
      "write for how long a released address remembers who had it; the default is 86400, a day",
    ).default(86_400),
    stickyOwners: ruled(
      z.array(stickyOwner).max(16),
      "must be a list of at most 16 kinds",
      "write for example [{apiVersion: kubevirt.io/v1, kind: VirtualMachineInstance, resource: virtualmachineinstances}]",
    ).default([]),
  }).prefault({}),
  sharedNamespaces: ruled(
    z
      .array(
        ruled(
          z.string().regex(new RegExp(`^${DNS_LABEL}$`)),
          "must be the name of a namespace",
          "write a name that `kubectl get namespaces` shows",
        ),
      )
      .max(256),
    "must be a list of at most 256 namespaces",
    "write them as a list, for example [kube-system]",
  ).default(["kube-system"]),
  log: section({
    level: oneOf(["trace", "debug", "info", "warn", "error", "fatal", "silent"], "info is the default").default("info"),
  }).prefault({}),
});

/** The configuration with every default filled in. An absent `kubeconfig` means the in-cluster service account. */
export type AgentConfig = z.output<typeof schema>;

/**
 * Reads and checks a configuration file.
 * @throws {ConfigError} naming every problem in the file at once
 */
export function loadConfig(file: string): AgentConfig {
  let text: string;
  try {
    if (statSync(file).size > MAX_YAML_LENGTH) {
      const rule = `is larger than ${MAX_YAML_LENGTH} bytes`;
      throw new ConfigError("CONFIG_UNREADABLE", [at(file, 1, "", rule, "point --config at the agent's own file")]);
    }
    text = readFileSync(file, "utf8");
  } catch (error) {
    if (error instanceof ConfigError) throw error;
    const rule = `cannot be read (${(error as Error).message})`;
    const remedy = "check the path given to --config and the file's permissions";
    throw new ConfigError("CONFIG_UNREADABLE", [at(file, 1, "", rule, remedy)], { cause: error });
  }
  return parseConfig(text, file);
}

/**
 * Checks a configuration that has been read already.
 * @param file the name that errors give
 * @throws {ConfigError} naming every problem at once
 */
export function parseConfig(text: string, file: string): AgentConfig {
  const document = readDocument(text, file);
  const result = schema.safeParse(document.value, { reportInput: true });
  const problems = result.success
    ? crossFieldProblems(result.data, document.lines, file)
    : result.error.issues.flatMap((issue) => describe(issue, document, file));
  if (problems.length > 0) {
    // A value can fail several checks of the one rule that it breaks.
    const distinct = new Map(problems.map((each) => [formatProblem(each), each]));
    const shown = [...distinct.values()].sort((a, b) => a.line - b.line).slice(0, MAX_PROBLEMS);
    throw new ConfigError("CONFIG_INVALID", shown);
  }
  return (result as z.ZodSafeParseSuccess<AgentConfig>).data;
}

/** Rules that look at two keys at once; they can only be asked once each key is sound by itself. */
function crossFieldProblems(config: AgentConfig, lines: YamlLines, file: string): ConfigProblem[] {
  const problems: ConfigProblem[] = [];
  const offend = (path: ValuePath, rule: string, remedy: string): void => {
    problems.push(at(file, lineOf(lines, path), formatPath(path), rule, remedy));
  };
  const { tunnel, ovs, cni, api } = config;
  if (tunnel !== undefined) {
    if (tunnel.interface === ovs.bridge) {
      offend(["tunnel", "interface"], `is also ovs.bridge (${ovs.bridge})`, "name the NIC that carries the tunnels");
    }
    const physical = `br-${tunnel.interface}`;
    if (ovs.datapathType === "netdev" && physical.length > 15) {
      const rule = `is too long: with datapathType netdev it moves into a bridge named ${physical}, over 15 characters`;
      offend(["tunnel", "interface"], rule, "rename the NIC to at most 12 characters (ip link set NAME name SHORT)");
    }
    if (ovs.datapathType === "netdev" && physical === ovs.bridge) {
      const rule = `is the name of the bridge that will hold tunnel.interface (${tunnel.interface})`;
      offend(["ovs", "bridge"], rule, "choose another name, such as br-int");
    }
  }
  if (cni.socket === api.socket) {
    offend(["api", "socket"], "is the same as cni.socket", "give each of the two sockets its own path");
  }
  return problems;
}

function at(file: string, line: number, path: string, rule: string, remedy: string): ConfigProblem {
  return { file, line, path, rule, remedy };
}

function readDocument(text: string, file: string): YamlDocument {
  try {
    return readYamlDocument(text);
  } catch (error) {
    if (!(error instanceof YamlDocumentError)) throw error;
    throw new ConfigError("CONFIG_SYNTAX", [at(file, error.line, "", error.rule, error.remedy)], { cause: error });
  }
}

function describe(issue: z.core.$ZodIssue, document: YamlDocument, file: string): ConfigProblem[] {
  const path = issue.path as ValuePath;
  if (issue.code === "unrecognized_keys") {
    return issue.keys.map((key) => {
      const keyPath = [...path, key];
      return at(file, lineOf(document.lines, keyPath), formatPath(keyPath), "is no key of ours", suggest(path, key));
    });
  }
  const { rule, remedy } = explain(schema, issue);
  return [at(file, lineOf(document.lines, path), formatPath(path), rule, remedy)];
}

/** The nearest name in the same section, else the section in which that very name is at home. */
function suggest(path: ValuePath, key: string): string {
  const here = schemaAt(schema, path);
  const names = here instanceof z.ZodObject ? Object.keys(here.shape) : [];
  const near = nearest(key, names);
  if (near !== undefined) return `did you mean ${formatPath([...path, near])}?`;
  for (const [name, type] of Object.entries(schema.shape)) {
    const inner = schemaAt(type, []);
    if (inner instanceof z.ZodObject && path[0] !== name && Object.hasOwn(inner.shape, key)) {
      return `did you mean ${name}.${key}?`;
    }
    if (path.length > 0 && name === key) return `did you mean ${name}, at the left margin?`;
  }
  return `remove it; known here: ${names.map((name) => formatPath([...path, name])).join(", ")}`;
}

function nearest(word: string, candidates: readonly string[]): string | undefined {
  let best: string | undefined;
  let bestDistance = Math.min(4, Math.max(2, Math.floor(word.length / 3))) + 1;
  for (const candidate of candidates) {
    const distance = editDistance(word.toLowerCase().slice(0, 64), candidate.toLowerCase());
    if (distance < bestDistance) [best, bestDistance] = [candidate, distance];
  }
  return best;
}

/** Levenshtein distance, one row at a time. */
function editDistance(a: string, b: string): number {
  let previous = Array.from({ length: b.length + 1 }, (_, index) => index);
  for (let row = 1; row <= a.length; row++) {
    const current = [row];
    for (let column = 1; column <= b.length; column++) {
      const substitution = previous[column - 1]! + (a[row - 1] === b[column - 1] ? 0 : 1);
      current.push(Math.min(substitution, previous[column]! + 1, current[column - 1]! + 1));
    }
    previous = current;
  }
  return previous[b.length]!;
}

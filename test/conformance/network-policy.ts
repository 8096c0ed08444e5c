/**
 * The public model of NetworkPolicy suites: namespaces x, y, z with pods a, b, c each, every pod serving ports 80 and 81
 * over TCP, UDP and SCTP. `testdata/network-policy.json` holds cases: policies and labels, and who then reaches whom. The same
 * cases are asked of the pure evaluator and of pods in the lab.
 */
import { readFileSync } from "node:fs";
import { join } from "node:path";

export const namespaces = ["x", "y", "z"] as const;
export const podNames = ["a", "b", "c"] as const;
export const ports = [80, 81] as const;
export const protocols = ["TCP", "UDP", "SCTP"] as const;

/** `x/a`, ... `z/c` */
export const pods: readonly string[] = namespaces.flatMap((namespace) => podNames.map((pod) => `${namespace}/${pod}`));
/** `80/TCP`, ... `81/SCTP` */
export const services: readonly string[] = protocols.flatMap((protocol) => ports.map((port) => `${port}/${protocol}`));

export interface ConformancePolicy {
  readonly namespace: string;
  readonly name: string;
  readonly spec: unknown;
}

export interface ConformanceStep {
  /** Labels beside `ns: <namespace>` and `pod: <name>`, of `namespace y` or `pod x/a`. Replaces those of the step before. */
  readonly labels?: Readonly<Record<string, Readonly<Record<string, string>>>>;
  /** All policies that exist. In CIDRs `{x/a}` stands for the address of a pod as a CIDR, `{all}` for every address. */
  readonly policies: readonly ConformancePolicy[];
  /**
   * `allow|deny FROM to TO [on PORT/PROTOCOL]`, where `*` stands for all pods and `x/*` for those of a namespace; a later
   * line wins over an earlier one. At first everybody is allowed everything, and a pod always reaches itself.
   */
  readonly expect: readonly string[];
}

export interface ConformanceCase {
  readonly name: string;
  /** What the API server must know for it: `end-port` or `namespace-name-label`. */
  readonly needs?: string;
  readonly steps: readonly ConformanceStep[];
}

export function conformanceCases(): readonly ConformanceCase[] {
  const text = readFileSync(join(import.meta.dirname, "testdata/network-policy.json"), "utf8");
  return (JSON.parse(text) as { cases: ConformanceCase[] }).cases;
}

/** The container port's name for a service: `port-80-tcp`. */
export function portName(service: string): string {
  const [port, protocol] = service.split("/") as [string, string];
  return `port-${port}-${protocol.toLowerCase()}`;
}

/** The policies of a step with addresses in the places that stand for them. */
export function withAddresses(
  policies: readonly ConformancePolicy[],
  cidrOf: (pod: string) => string,
  all: string,
): ConformancePolicy[] {
  const text = JSON.stringify(policies).replaceAll(/\{([xyz]\/[abc]|all)\}/g, (_, name: string) =>
    name === "all" ? all : cidrOf(name),
  );
  return JSON.parse(text) as ConformancePolicy[];
}

/** The truth table of a step: asked with two pods and a service. */
export class TruthTable {
  readonly #denied = new Set<string>();

  /** @throws Error when a line cannot be read: a table must not be thinner than it looks */
  constructor(expect: readonly string[]) {
    for (const line of expect) {
      const parts = /^(allow|deny) (\S+) to (\S+)(?: on (\S+))?$/.exec(line);
      if (parts === null) throw new Error(`no line of a truth table: ${line}`);
      const [, verdict, from, to, service] = parts as unknown as [string, string, string, string, string | undefined];
      for (const source of podsOf(from)) {
        for (const destination of podsOf(to)) {
          for (const each of service === undefined ? services : servicesOf(service)) {
            const key = `${source} ${destination} ${each}`;
            if (verdict === "deny") this.#denied.add(key);
            else this.#denied.delete(key);
          }
        }
      }
    }
  }

  allows(source: string, destination: string, service: string): boolean {
    return source === destination || !this.#denied.has(`${source} ${destination} ${service}`);
  }
}

function podsOf(pattern: string): readonly string[] {
  const found = pods.filter((pod) => pattern === "*" || pattern === pod || pattern === `${pod.split("/")[0]}/*`);
  if (found.length === 0) throw new Error(`no pod is ${pattern}`);
  return found;
}

function servicesOf(service: string): readonly string[] {
  if (!services.includes(service)) throw new Error(`nobody serves ${service}`);
  return [service];
}

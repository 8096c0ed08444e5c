/**
 * Evaluation of CEL expressions over JSON values, with the functions of Kubernetes' library that validation rules of a
 * network use: strings, lists, `ip` and `cidr`.
 */
import { isIP } from "node:net";
import { addressToNumber, numberToAddress } from "../address.ts";
import { deepEqual, isObject } from "../json.ts";
import { CelSyntaxError, type Expression } from "./cel-parse.ts";
import { compilePattern } from "./structural.ts";

/** An expression that has no value: a field that is absent, types that do not go together, too much work. */
export class CelError extends Error {
  override readonly name = "CelError";
  readonly code = "APISERVER_CEL_EVALUATION";
}

/** Most steps of one evaluation. */
const MAX_STEPS = 100_000;

/** An address or a network; `length` is that of an address for an address. */
class Network {
  readonly family: "IPv4" | "IPv6";
  readonly address: bigint;
  readonly length: number;

  constructor(family: "IPv4" | "IPv6", address: bigint, length: number) {
    this.family = family;
    this.address = address;
    this.length = length;
  }

  get bits(): number {
    return this.family === "IPv4" ? 32 : 128;
  }

  masked(): Network {
    const host = BigInt(this.bits - this.length);
    return new Network(this.family, (this.address >> host) << host, this.length);
  }

  contains(other: Network): boolean {
    const host = BigInt(this.bits - this.length);
    return (
      this.family === other.family && other.length >= this.length && this.address >> host === other.address >> host
    );
  }

  equals(other: Network): boolean {
    return this.family === other.family && this.address === other.address && this.length === other.length;
  }
}

function parseAddress(text: unknown): Network | undefined {
  const version = typeof text === "string" ? isIP(text) : 0;
  if (typeof text !== "string" || version === 0 || text.includes("%")) return undefined;
  return new Network(version === 4 ? "IPv4" : "IPv6", addressToNumber(text), version === 4 ? 32 : 128);
}

function parseCidr(text: unknown): Network | undefined {
  const match = typeof text === "string" ? /^([^/]+)\/(0|[1-9]\d{0,2})$/.exec(text) : null;
  const address = parseAddress(match?.[1]);
  const length = Number(match?.[2]);
  return address === undefined || length > address.bits
    ? undefined
    : new Network(address.family, address.address, length);
}

function required(value: Network | undefined, what: string): Network {
  if (value === undefined) throw new CelError(`not ${what}`);
  return value;
}

type Operation = (self: unknown, values: unknown[]) => unknown;

function onText(run: (text: string, values: unknown[]) => unknown): Operation {
  return (self, values) => {
    if (typeof self !== "string") throw new CelError("no such overload: not a string");
    return run(self, values);
  };
}

function onNetwork(run: (network: Network, values: unknown[]) => unknown): Operation {
  return (self, values) => {
    if (!(self instanceof Network)) throw new CelError("no such overload: neither an address nor a network");
    return run(self, values);
  };
}

function asText(value: unknown): string {
  if (typeof value !== "string") throw new CelError("no such overload: not a string");
  return value;
}

function sizeOf(value: unknown): number {
  if (typeof value === "string") return Array.from(value).length;
  if (Array.isArray(value)) return value.length;
  if (isObject(value)) return Object.keys(value).length;
  throw new CelError("no such overload: size of neither text, list nor map");
}

function networkOf(value: unknown, parse: (text: unknown) => Network | undefined, what: string): Network {
  return value instanceof Network ? value : required(parse(value), what);
}

const functions: Record<string, (values: unknown[]) => unknown> = {
  size: ([value]) => sizeOf(value),
  isIP: ([value]) => parseAddress(value) !== undefined,
  ip: ([value]) => required(parseAddress(value), "an IP address"),
  isCIDR: ([value]) => parseCidr(value) !== undefined,
  cidr: ([value]) => required(parseCidr(value), "a CIDR"),
  string: ([value]) => (value instanceof Network ? networkText(value) : scalarText(value)),
  int: ([value]) => {
    const number = typeof value === "string" && /^-?\d+$/.test(value) ? Number(value) : value;
    if (typeof number !== "number") throw new CelError("no such overload: int of neither number nor digits");
    return Math.trunc(number);
  },
};

function scalarText(value: unknown): string {
  if (typeof value === "string") return value;
  if (typeof value === "number" || typeof value === "boolean") return String(value);
  throw new CelError("no such overload: string");
}

function networkText(network: Network): string {
  const address = numberToAddress(network.address, network.family);
  return network.length === network.bits ? address : `${address}/${network.length}`;
}

const methods: Record<string, Operation> = {
  size: (self) => sizeOf(self),
  contains: onText((text, [part]) => text.includes(asText(part))),
  startsWith: onText((text, [part]) => text.startsWith(asText(part))),
  endsWith: onText((text, [part]) => text.endsWith(asText(part))),
  matches: onText((text, [pattern]) => compilePattern(asText(pattern)).test(text)),
  replace: onText((text, [from, to]) => text.replaceAll(asText(from), () => asText(to))),
  split: onText((text, [separator]) => text.split(asText(separator))),
  lowerAscii: onText((text) => text.toLowerCase()),
  upperAscii: onText((text) => text.toUpperCase()),
  masked: onNetwork((network) => network.masked()),
  prefixLength: onNetwork((network) => network.length),
  family: onNetwork((network) => (network.family === "IPv4" ? 4 : 6)),
  ip: onNetwork((network) => new Network(network.family, network.address, network.bits)),
  containsIP: onNetwork((network, [other]) => network.contains(networkOf(other, parseAddress, "an IP address"))),
  containsCIDR: onNetwork((network, [other]) => network.contains(networkOf(other, parseCidr, "a CIDR"))),
};

const macros = new Set(["all", "exists", "exists_one", "filter", "map"]);

/** Checks that everything an expression calls is known. @throws CelSyntaxError */
export function checkCel(expression: Expression): void {
  const visit = (node: Expression): void => {
    switch (node.type) {
      case "call": {
        const known =
          node.of === undefined
            ? node.name === "has" || Object.hasOwn(functions, node.name)
            : macros.has(node.name) || Object.hasOwn(methods, node.name);
        if (!known) throw new CelSyntaxError(`${node.name} is not supported`);
        if (node.name === "has" && node.with[0]?.type !== "select") throw new CelSyntaxError("has() takes a field");
        if (node.of !== undefined && macros.has(node.name)) {
          if (node.with.length !== 2 || node.with[0]?.type !== "name")
            throw new CelSyntaxError(`${node.name} takes a name and an expression`);
        }
        if (node.of !== undefined) visit(node.of);
        node.with.forEach(visit);
        break;
      }
      case "select":
      case "not":
      case "minus":
        visit(node.of);
        break;
      case "index":
        visit(node.of);
        visit(node.at);
        break;
      case "list":
        node.members.forEach(visit);
        break;
      case "binary":
        visit(node.left);
        visit(node.right);
        break;
      case "choice":
        visit(node.condition);
        visit(node.chosen);
        visit(node.otherwise);
        break;
      default:
    }
  };
  visit(expression);
}

/** Whether an expression mentions a variable. */
export function mentions(expression: Expression, name: string): boolean {
  return JSON.stringify(expression).includes(JSON.stringify({ type: "name", name }));
}

/** The value of an expression. @throws CelError */
export function evaluateCel(root: Expression, variables: ReadonlyMap<string, unknown>): unknown {
  let steps = 0;
  const run = (node: Expression, scope: ReadonlyMap<string, unknown>): unknown => {
    if (++steps > MAX_STEPS) throw new CelError(`more than ${MAX_STEPS} steps`);
    const value = (part: Expression): unknown => run(part, scope);
    switch (node.type) {
      case "literal":
        return node.value;
      case "name":
        if (!scope.has(node.name)) throw new CelError(`undeclared reference to ${node.name}`);
        return scope.get(node.name);
      case "select":
        return field(value(node.of), node.field);
      case "index": {
        const of = value(node.of);
        const at = value(node.at);
        if (Array.isArray(of)) {
          if (typeof at !== "number" || !Number.isInteger(at) || at < 0 || at >= of.length)
            throw new CelError("index out of bounds");
          return of[at];
        }
        return field(of, asText(at));
      }
      case "list":
        return node.members.map(value);
      case "not":
        return !truth(value(node.of));
      case "minus": {
        const number = value(node.of);
        if (typeof number !== "number") throw new CelError("no such overload: minus");
        return -number;
      }
      case "choice":
        return truth(value(node.condition)) ? value(node.chosen) : value(node.otherwise);
      case "binary":
        if (node.operator === "&&" || node.operator === "||") return logic(node, value);
        return compute(node.operator, value(node.left), value(node.right));
      case "call":
        return call(node, scope);
    }
  };
  const call = (node: Extract<Expression, { type: "call" }>, scope: ReadonlyMap<string, unknown>): unknown => {
    const value = (part: Expression): unknown => run(part, scope);
    if (node.of === undefined) {
      if (node.name !== "has") return functions[node.name]?.(node.with.map(value));
      const [target] = node.with;
      if (target?.type !== "select") throw new CelError("has() takes a field");
      const of = value(target.of);
      return isObject(of) && Object.hasOwn(of, target.field) && of[target.field] !== undefined;
    }
    const self = value(node.of);
    if (!macros.has(node.name)) return methods[node.name]?.(self, node.with.map(value));
    const members: unknown[] = Array.isArray(self) ? self : isObject(self) ? Object.keys(self) : [];
    if (!Array.isArray(self) && !isObject(self)) throw new CelError(`no such overload: ${node.name}`);
    const [variable, body] = node.with;
    if (variable?.type !== "name" || body === undefined)
      throw new CelError(`${node.name} takes a name and an expression`);
    const each = (member: unknown): unknown => run(body, new Map([...scope, [variable.name, member]]));
    switch (node.name) {
      case "all":
        return members.every((member) => truth(each(member)));
      case "exists":
        return members.some((member) => truth(each(member)));
      case "exists_one":
        return members.filter((member) => truth(each(member))).length === 1;
      case "filter":
        return members.filter((member) => truth(each(member)));
      default:
        return members.map(each);
    }
  };
  return run(root, variables);
}

/** An error on one side does not matter when the other side decides. */
function logic(node: Extract<Expression, { type: "binary" }>, value: (part: Expression) => unknown): boolean {
  const decides = node.operator === "||";
  let failure: CelError;
  try {
    if (truth(value(node.left)) === decides) return decides;
    return truth(value(node.right));
  } catch (error) {
    if (!(error instanceof CelError)) throw error;
    failure = error;
  }
  if (truth(value(node.right)) === decides) return decides;
  throw failure;
}

function truth(value: unknown): boolean {
  if (typeof value !== "boolean") throw new CelError("no such overload: not a bool");
  return value;
}

function field(of: unknown, name: string): unknown {
  if (!isObject(of) || !Object.hasOwn(of, name)) throw new CelError(`no such key: ${name}`);
  return of[name];
}

function equal(a: unknown, b: unknown): boolean {
  if (a instanceof Network || b instanceof Network) return a instanceof Network && b instanceof Network && a.equals(b);
  return deepEqual(a, b);
}

function compute(operator: string, left: unknown, right: unknown): unknown {
  if (operator === "==") return equal(left, right);
  if (operator === "!=") return !equal(left, right);
  if (operator === "in") {
    if (Array.isArray(right)) return right.some((member) => equal(member, left));
    if (isObject(right)) return Object.hasOwn(right, asText(left));
    throw new CelError("no such overload: in");
  }
  if (operator === "+" && Array.isArray(left) && Array.isArray(right))
    return [...(left as unknown[]), ...(right as unknown[])];
  if (typeof left === "string" && typeof right === "string") {
    if (operator === "+") return left + right;
    const order = left < right ? -1 : left > right ? 1 : 0;
    return compare(operator, order);
  }
  if (typeof left !== "number" || typeof right !== "number") throw new CelError(`no such overload: ${operator}`);
  switch (operator) {
    case "+":
      return left + right;
    case "-":
      return left - right;
    case "*":
      return left * right;
    case "/":
    case "%":
      if (right === 0) throw new CelError("division by zero");
      if (operator === "%") return left % right;
      return Number.isInteger(left) && Number.isInteger(right) ? Math.trunc(left / right) : left / right;
    default:
      return compare(operator, left - right);
  }
}

function compare(operator: string, order: number): boolean {
  switch (operator) {
    case "<":
      return order < 0;
    case "<=":
      return order <= 0;
    case ">":
      return order > 0;
    case ">=":
      return order >= 0;
    default:
      throw new CelError(`no such overload: ${operator}`);
  }
}

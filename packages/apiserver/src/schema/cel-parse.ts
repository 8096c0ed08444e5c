/**
 * The grammar of the Common Expression Language, as much of it as validation rules use: no messages, no bytes, no
 * unsigned numbers. See github.com/google/cel-spec, "Syntax".
 */

/** An expression. */
export type Expression =
  | { type: "literal"; value: string | number | boolean | null }
  | { type: "name"; name: string }
  | { type: "select"; of: Expression; field: string }
  | { type: "index"; of: Expression; at: Expression }
  | { type: "call"; of: Expression | undefined; name: string; with: Expression[] }
  | { type: "list"; members: Expression[] }
  | { type: "not" | "minus"; of: Expression }
  | { type: "binary"; operator: string; left: Expression; right: Expression }
  | { type: "choice"; condition: Expression; chosen: Expression; otherwise: Expression };

/** An expression that cannot be read, or that asks for what is not supported. */
export class CelSyntaxError extends Error {
  override readonly name = "CelSyntaxError";
  readonly code = "APISERVER_CEL_SYNTAX";
}

const TOKEN =
  /\s*(?:(\d+\.\d+|\d+)|([A-Za-z_][A-Za-z0-9_]*)|(r?"(?:[^"\\]|\\.)*"|r?'(?:[^'\\]|\\.)*')|(&&|\|\||==|!=|<=|>=|[-+*/%!<>()[\]{},.?:]))/y;

/** Binding strength of binary operators. */
const PRECEDENCE: Record<string, number> = {
  "||": 1,
  "&&": 2,
  "==": 3,
  "!=": 3,
  "<": 3,
  "<=": 3,
  ">": 3,
  ">=": 3,
  in: 3,
  "+": 4,
  "-": 4,
  "*": 5,
  "/": 5,
  "%": 5,
};

const MAX_LENGTH = 10_000;
const MAX_DEPTH = 60;
const ESCAPES: Record<string, string> = { n: "\n", t: "\t", r: "\r" };

interface Token {
  kind: "number" | "name" | "string" | "symbol";
  text: string;
}

function tokenize(text: string): Token[] {
  const tokens: Token[] = [];
  const source = text.trimEnd();
  TOKEN.lastIndex = 0;
  while (TOKEN.lastIndex < source.length) {
    const at = TOKEN.lastIndex;
    const match = TOKEN.exec(source);
    if (match === null) throw new CelSyntaxError(`unexpected ${JSON.stringify(source.slice(at, at + 10))} at ${at}`);
    const [, digits, word, quoted, symbol] = match;
    if (digits !== undefined) tokens.push({ kind: "number", text: digits });
    else if (word !== undefined && !(word === "r" && quoted !== undefined)) tokens.push({ kind: "name", text: word });
    else if (quoted !== undefined) tokens.push({ kind: "string", text: unquote(quoted) });
    else tokens.push({ kind: "symbol", text: symbol ?? "" });
  }
  return tokens;
}

function unquote(quoted: string): string {
  if (quoted.startsWith("r")) return quoted.slice(2, -1);
  return quoted.slice(1, -1).replaceAll(/\\(.)/g, (_, letter: string) => ESCAPES[letter] ?? letter);
}

/** Reads an expression. @throws CelSyntaxError */
export function parseCel(text: string): Expression {
  if (text.length > MAX_LENGTH) throw new CelSyntaxError(`an expression may have at most ${MAX_LENGTH} characters`);
  const tokens = tokenize(text);
  let at = 0;
  let depth = 0;
  const peek = (symbol: string): boolean => tokens[at]?.kind !== "string" && tokens[at]?.text === symbol;
  const accept = (symbol: string): boolean => (peek(symbol) ? (at++, true) : false);
  const expect = (symbol: string): void => {
    if (!accept(symbol)) throw new CelSyntaxError(`expected ${symbol}, found ${tokens[at]?.text ?? "the end"}`);
  };
  const listUntil = (end: string): Expression[] => {
    const members: Expression[] = [];
    while (!accept(end)) {
      members.push(expression());
      if (!peek(end)) expect(",");
    }
    return members;
  };
  const primary = (): Expression => {
    const token = tokens[at++];
    if (token === undefined) throw new CelSyntaxError("unexpected end");
    if (token.kind === "number") return { type: "literal", value: Number(token.text) };
    if (token.kind === "string") return { type: "literal", value: token.text };
    if (token.text === "(") {
      const inner = expression();
      expect(")");
      return inner;
    }
    if (token.text === "[") return { type: "list", members: listUntil("]") };
    if (token.kind !== "name") throw new CelSyntaxError(`unexpected ${token.text}`);
    if (token.text === "true" || token.text === "false") return { type: "literal", value: token.text === "true" };
    if (token.text === "null") return { type: "literal", value: null };
    if (accept("(")) return { type: "call", of: undefined, name: token.text, with: listUntil(")") };
    return { type: "name", name: token.text };
  };
  const postfix = (): Expression => {
    let result = primary();
    for (;;) {
      if (accept(".")) {
        const token = tokens[at++];
        if (token?.kind !== "name") throw new CelSyntaxError(`expected a name after the dot`);
        result = accept("(")
          ? { type: "call", of: result, name: token.text, with: listUntil(")") }
          : { type: "select", of: result, field: token.text };
      } else if (accept("[")) {
        result = { type: "index", of: result, at: expression() };
        expect("]");
      } else return result;
    }
  };
  const unary = (): Expression => {
    if (accept("!")) return { type: "not", of: nested(unary) };
    if (accept("-")) return { type: "minus", of: nested(unary) };
    return postfix();
  };
  const binary = (least: number): Expression => {
    let left = unary();
    for (;;) {
      const token = tokens[at];
      const strength = token === undefined || token.kind === "string" ? undefined : PRECEDENCE[token.text];
      if (token === undefined || strength === undefined || strength < least) return left;
      at++;
      left = { type: "binary", operator: token.text, left, right: binary(strength + 1) };
    }
  };
  const nested = <T>(read: () => T): T => {
    if (++depth > MAX_DEPTH) throw new CelSyntaxError(`nested deeper than ${MAX_DEPTH} levels`);
    const result = read();
    depth--;
    return result;
  };
  const expression = (): Expression =>
    nested(() => {
      const condition = binary(1);
      if (!accept("?")) return condition;
      const chosen = expression();
      expect(":");
      return { type: "choice", condition, chosen, otherwise: expression() };
    });
  const result = expression();
  if (at < tokens.length) throw new CelSyntaxError(`unexpected ${tokens[at]?.text ?? ""}`);
  return result;
}

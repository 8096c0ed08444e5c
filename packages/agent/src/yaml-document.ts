/**
 * One YAML document of a person, with the line of each of its keys. A document is small once its aliases are written
 * out, too: whoever walks or prints the value needs no bound of his own.
 */
import type { ValuePath } from "@beyondfabric/kube/kinds";
import { EVENT_ALIAS, EVENT_DOCUMENT, EVENT_MAPPING, EVENT_POP, EVENT_SCALAR, EVENT_SEQUENCE } from "js-yaml";
import { constructFromEvents, getScalarValue, parseEvents, YAMLException } from "js-yaml";

/** Longer documents are refused; a real configuration has about fifty lines. The same bound holds with aliases written out. */
export const MAX_YAML_LENGTH = 1 << 20;
const MAX_DEPTH = 20;
const MAX_ALIASES = 100;

/** Lines by the JSON of a path: unlike the dotted form it is unique whatever a key contains. */
export type YamlLines = ReadonlyMap<string, number>;

export interface YamlDocument {
  /** Free of cycles. An empty document is an empty mapping. */
  readonly value: unknown;
  readonly lines: YamlLines;
}

/** The text is not one YAML document that is worth a look. */
export class YamlDocumentError extends Error {
  override readonly name = "YamlDocumentError";
  /** One-based. */
  readonly line: number;
  readonly rule: string;
  readonly remedy: string;

  constructor(line: number, rule: string, remedy: string, options?: ErrorOptions) {
    super(`line ${line}: ${rule}; ${remedy}`, options);
    this.line = line;
    this.rule = rule;
    this.remedy = remedy;
  }
}

/**
 * Reads one YAML document.
 * @throws {YamlDocumentError} for no YAML, several documents, or aliases that would make it endless or huge
 */
export function readYamlDocument(text: string): YamlDocument {
  const source = text.replace(/^\uFEFF/, "");
  if (source.length > MAX_YAML_LENGTH) {
    throw new YamlDocumentError(1, `is longer than ${MAX_YAML_LENGTH} characters`, "write only what the agent needs");
  }
  try {
    const events = parseEvents(source, { maxDepth: MAX_DEPTH });
    checkAliases(events, source);
    const documents = constructFromEvents(events, { source, maxAliases: MAX_ALIASES });
    if (documents.length > 1) {
      const remedy = "remove the '---' lines and everything that belongs to other programs";
      throw new YamlDocumentError(1, `holds ${documents.length} documents, not one`, remedy);
    }
    return { value: documents[0] ?? {}, lines: linesOfKeys(events, source) };
  } catch (error) {
    if (!(error instanceof YAMLException)) throw error;
    const line = (error.mark?.line ?? 0) + 1;
    const remedy = "mend the YAML (indentation with spaces, `key: value`, brackets closed)";
    throw new YamlDocumentError(line, `is not valid YAML: ${error.reason}`, remedy, { cause: error });
  }
}

/** The line of the key, or of the nearest enclosing key that is present. */
export function lineOf(lines: YamlLines, path: ValuePath): number {
  for (let depth = path.length; depth > 0; depth--) {
    const line = lines.get(pathKey(path.slice(0, depth)));
    if (line !== undefined) return line;
  }
  return 1;
}

function pathKey(path: ValuePath): string {
  return JSON.stringify(path);
}

type YamlEvents = ReturnType<typeof parseEvents>;

/**
 * Refuses an alias inside of the value that its anchor names (YAML 1.2.2, 3.2.2.2 allows it, and the value is a cycle),
 * and aliases of aliases whose written-out length grows with each line.
 */
function checkAliases(events: YamlEvents, source: string): void {
  const lineAt = lineCounter(source);
  // Characters of each anchor's value with its aliases written out; undefined while that value is still open.
  const lengths = new Map<string, number | undefined>();
  const open: { anchor: string; before: number }[] = [];
  let length = 0;
  for (const event of events) {
    if (event.type === EVENT_POP) {
      const { anchor, before } = open.pop()!;
      if (anchor !== "") lengths.set(anchor, length - before);
      continue;
    }
    const anchor =
      event.type === EVENT_DOCUMENT || event.anchorStart < 0 ? "" : source.slice(event.anchorStart, event.anchorEnd);
    if (event.type === EVENT_ALIAS) {
      if (lengths.has(anchor) && lengths.get(anchor) === undefined) {
        const rule = `uses *${anchor} inside of the value that &${anchor} names, which would never end`;
        throw new YamlDocumentError(lineAt(event.anchorStart), rule, `write the value out in the place of *${anchor}`);
      }
      length += 1 + (lengths.get(anchor) ?? 0);
      if (length > MAX_YAML_LENGTH) {
        const rule = `has more than ${MAX_YAML_LENGTH} characters with its aliases written out, from *${anchor} on`;
        throw new YamlDocumentError(lineAt(event.anchorStart), rule, "write values out in the place of aliases");
      }
    } else if (event.type === EVENT_SCALAR) {
      const own = 1 + event.valueEnd - event.valueStart;
      if (anchor !== "") lengths.set(anchor, own);
      length += own;
    } else {
      if (anchor !== "") lengths.set(anchor, undefined);
      open.push({ anchor, before: length++ });
    }
  }
}

/** Walks the parser's events and notes on which line each key and each list item stands. */
function linesOfKeys(events: YamlEvents, source: string): YamlLines {
  const lines = new Map<string, number>();
  const lineAt = lineCounter(source);
  // An open mapping with its pending key, or an open list with the index of its next item.
  const open: { isMapping: boolean; key: string | undefined; index: number }[] = [];
  const path: (string | number)[] = [];
  const leaveValue = (): void => {
    const parent = open.at(-1);
    if (parent === undefined) return;
    path.pop();
    parent.key = undefined;
    parent.index++;
  };
  for (const event of events) {
    if (event.type === EVENT_DOCUMENT) continue;
    if (event.type === EVENT_POP) {
      open.pop();
      leaveValue();
      continue;
    }
    const offset =
      event.type === EVENT_SCALAR ? event.valueStart : event.type === EVENT_ALIAS ? event.anchorStart : event.start;
    const parent = open.at(-1);
    if (parent !== undefined && parent.isMapping && parent.key === undefined) {
      // Keys that are no plain scalar cannot be keys of ours; their text only has to differ from ours.
      parent.key = event.type === EVENT_SCALAR ? getScalarValue(source, event) : "?";
      path.push(parent.key);
      lines.set(pathKey(path), lineAt(offset));
      if (event.type === EVENT_SCALAR || event.type === EVENT_ALIAS) continue;
    } else if (parent !== undefined && !parent.isMapping) {
      path.push(parent.index);
      lines.set(pathKey(path), lineAt(offset));
    }
    if (event.type === EVENT_MAPPING || event.type === EVENT_SEQUENCE) {
      open.push({ isMapping: event.type === EVENT_MAPPING, key: undefined, index: 0 });
    } else {
      leaveValue();
    }
  }
  return lines;
}

/** One-based line numbers for offsets that only grow. */
function lineCounter(source: string): (offset: number) => number {
  let line = 1;
  let counted = 0;
  return (offset) => {
    for (; counted < offset; counted++) if (source.charCodeAt(counted) === 10) line++;
    return line;
  };
}

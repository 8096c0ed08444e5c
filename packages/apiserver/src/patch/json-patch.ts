/**
 * RFC 6902 JSON Patch over RFC 6901 JSON Pointers.
 */
import { clone, deepEqual, isObject, type JsonObject } from "../json.ts";
import { ApiError } from "../status.ts";

/** Most operations in one patch, as in Kubernetes. */
const MAX_OPERATIONS = 10_000;

function pointer(value: unknown, where: string): string[] {
  if (typeof value !== "string" || (value !== "" && !value.startsWith("/"))) {
    throw ApiError.badRequest(`json patch ${where}: must be a JSON Pointer, "" or beginning with "/"`);
  }
  return value === ""
    ? []
    : value
        .slice(1)
        .split("/")
        .map((step) => step.replaceAll("~1", "/").replaceAll("~0", "~"));
}

function unprocessable(message: string): ApiError {
  return new ApiError(422, "Invalid", `the server rejected our request due to an error in our request: ${message}`);
}

function index(step: string, length: number, adding: boolean): number {
  if (adding && step === "-") return length;
  const position = /^(?:0|[1-9]\d*)$/.test(step) ? Number(step) : -1;
  if (position < 0 || position > (adding ? length : length - 1)) {
    throw unprocessable(`json patch: index ${JSON.stringify(step)} is outside a list of ${length}`);
  }
  return position;
}

function read(root: unknown, path: readonly string[]): unknown {
  let current = root;
  for (const step of path) {
    if (Array.isArray(current)) current = current[index(step, current.length, false)];
    else if (isObject(current) && Object.hasOwn(current, step)) current = current[step];
    else throw unprocessable(`json patch: there is no value at /${path.join("/")}`);
  }
  return current;
}

function parentOf(root: unknown, path: readonly string[]): { parent: JsonObject | unknown[]; last: string } {
  const parent = read(root, path.slice(0, -1));
  if (!Array.isArray(parent) && !isObject(parent)) {
    throw unprocessable(`json patch: the value above /${path.join("/")} is neither object nor list`);
  }
  return { parent: parent as JsonObject | unknown[], last: path.at(-1) ?? "" };
}

function add(root: unknown, path: readonly string[], value: unknown): unknown {
  if (path.length === 0) return value;
  const { parent, last } = parentOf(root, path);
  if (Array.isArray(parent)) parent.splice(index(last, parent.length, true), 0, value);
  else if (last === "__proto__") throw unprocessable("a field may not be named __proto__");
  else parent[last] = value;
  return root;
}

function remove(root: unknown, path: readonly string[]): unknown {
  if (path.length === 0) return null;
  read(root, path);
  const { parent, last } = parentOf(root, path);
  if (Array.isArray(parent)) parent.splice(index(last, parent.length, false), 1);
  else delete parent[last];
  return root;
}

/**
 * Applies a patch to a copy of the document.
 * @throws ApiError BadRequest when the patch is malformed, Invalid (422) when it does not fit the document
 */
export function applyJsonPatch(document: unknown, patch: unknown): unknown {
  if (!Array.isArray(patch)) throw ApiError.badRequest("a json patch must be a list of operations");
  if (patch.length > MAX_OPERATIONS) {
    throw new ApiError(413, "RequestEntityTooLarge", `a json patch may have at most ${MAX_OPERATIONS} operations`);
  }
  let root = clone(document);
  for (const [number, operation] of (patch as unknown[]).entries()) {
    if (!isObject(operation)) throw ApiError.badRequest(`json patch operation ${number}: must be an object`);
    const path = pointer(operation["path"], `operation ${number}, path`);
    switch (operation["op"]) {
      case "add":
        root = add(root, path, clone(operation["value"]));
        break;
      case "remove":
        root = remove(root, path);
        break;
      case "replace":
        read(root, path);
        if (path.length === 0) root = clone(operation["value"]);
        else {
          const { parent, last } = parentOf(root, path);
          if (Array.isArray(parent)) parent[index(last, parent.length, false)] = clone(operation["value"]);
          else parent[last] = clone(operation["value"]);
        }
        break;
      case "test":
        if (!deepEqual(read(root, path), operation["value"])) {
          throw unprocessable(`json patch: testing value ${String(operation["path"])} failed`);
        }
        break;
      case "move":
      case "copy": {
        const from = pointer(operation["from"], `operation ${number}, from`);
        if (operation["op"] === "move" && path.length > from.length && from.every((step, at) => step === path[at])) {
          throw unprocessable("json patch: a value cannot move into itself");
        }
        const value = clone(read(root, from));
        if (operation["op"] === "move") root = remove(root, from);
        root = add(root, path, value);
        break;
      }
      default:
        throw ApiError.badRequest(`json patch operation ${number}: unknown op ${JSON.stringify(operation["op"])}`);
    }
  }
  return root;
}

/**
 * Kubernetes objects in protobuf to what their JSON form would be: newer clients create built-in kinds in protobuf and
 * do not fall back. Only requests are read; answers are JSON, which every client accepts.
 */
import type { JsonObject } from "../json.ts";
import { timestamp } from "../object.ts";
import { ApiError } from "../status.ts";
import { messages } from "./messages.ts";
import { readFields, type WireField } from "./wire.ts";

/** The media type of Kubernetes' protobuf. */
export const PROTOBUF = "application/vnd.kubernetes.protobuf";

const MAGIC = Buffer.from("k8s\0");
const MAX_DEPTH = 32;

/**
 * The object in a body: four magic bytes, then a `runtime.Unknown` that wraps it.
 * @throws ApiError UnsupportedMediaType for kinds that are not read, BadRequest for malformed bytes and for fields that
 * are not known here (dropping them in silence would be worse)
 */
export function decodeProtobuf(body: Buffer): JsonObject {
  if (!body.subarray(0, 4).equals(MAGIC)) {
    throw ApiError.badRequest("the body does not begin with the magic of Kubernetes' protobuf");
  }
  let apiVersion = "";
  let kind = "";
  let raw: Buffer = Buffer.alloc(0);
  for (const field of readFields(body.subarray(4))) {
    const bytes = field.bytes ?? Buffer.alloc(0);
    if (field.number === 1) {
      for (const part of readFields(bytes)) {
        if (part.number === 1) apiVersion = part.bytes?.toString("utf8") ?? "";
        else if (part.number === 2) kind = part.bytes?.toString("utf8") ?? "";
      }
    } else if (field.number === 2) raw = bytes;
    else if (field.number === 3 && bytes.length > 0) throw ApiError.badRequest("encoded content is not supported");
  }
  if (!Object.hasOwn(messages, kind)) throw ApiError.unsupportedMediaType(["application/json", "application/yaml"]);
  return { apiVersion, kind, ...decodeMessage(kind, raw, kind, 0) };
}

function decodeMessage(name: string, bytes: Buffer, path: string, depth: number): JsonObject {
  const result: JsonObject = {};
  if (name === "Ignored") return result;
  if (depth > MAX_DEPTH) throw ApiError.badRequest(`the body is nested deeper than ${MAX_DEPTH} levels`);
  const fields = messages[name] ?? {};
  for (const field of readFields(bytes)) {
    const known = fields[field.number];
    if (known === undefined) {
      // Unset fields are written as zero values.
      if (field.bytes === undefined ? field.varint === 0n : isBlank(field.bytes)) continue;
      throw ApiError.badRequest(
        `${path}: field number ${field.number} is not read in protobuf here; send the object as JSON`,
      );
    }
    const [fieldName, declared] = known;
    const optional = declared.endsWith("?");
    const type = optional ? declared.slice(0, -1) : declared;
    const at = `${path}.${fieldName}`;
    if (type.startsWith("[")) {
      const list = (result[fieldName] ??= []) as unknown[];
      list.push(decodeValue(type.slice(1, -1), field, at, depth));
    } else if (type.startsWith("{")) {
      const map = (result[fieldName] ??= {}) as JsonObject;
      const [key, value] = decodeEntry(type.slice(1, -1), field, at, depth);
      if (key === "__proto__") throw ApiError.badRequest("a field may not be named __proto__");
      map[key] = value;
    } else {
      const value = decodeValue(type, field, at, depth);
      if (optional || !isZero(value)) result[fieldName] = value;
    }
  }
  return result;
}

/** Whether a message holds nothing but zero values. */
function isBlank(bytes: Buffer): boolean {
  try {
    for (const field of readFields(bytes)) {
      if (field.bytes === undefined ? field.varint !== 0n : !isBlank(field.bytes)) return false;
    }
    return true;
  } catch {
    return false;
  }
}

function isZero(value: unknown): boolean {
  if (value === undefined || value === "" || value === 0 || value === false) return true;
  return typeof value === "object" && value !== null && !Array.isArray(value) && Object.keys(value).length === 0;
}

function decodeEntry(type: string, field: WireField, path: string, depth: number): [string, unknown] {
  let key = "";
  let value: unknown = type === "string" || type === "bytes" ? "" : undefined;
  for (const part of readFields(field.bytes ?? Buffer.alloc(0))) {
    if (part.number === 1) key = part.bytes?.toString("utf8") ?? "";
    else if (part.number === 2) value = decodeValue(type, part, path, depth);
  }
  return [key, value];
}

function decodeValue(type: string, field: WireField, path: string, depth: number): unknown {
  const bytes = field.bytes ?? Buffer.alloc(0);
  switch (type) {
    case "string":
      return bytes.toString("utf8");
    case "bytes":
      return bytes.toString("base64");
    case "int":
      return Number(BigInt.asIntN(64, field.varint));
    case "bool":
      return field.varint !== 0n;
    case "time": {
      for (const part of readFields(bytes)) {
        const seconds = Number(BigInt.asIntN(64, part.varint));
        if (part.number === 1 && Math.abs(seconds) < 1e11) return timestamp(seconds * 1000);
      }
      return undefined;
    }
    case "int-or-string": {
      const parts = new Map<number, WireField>();
      for (const part of readFields(bytes)) parts.set(part.number, part);
      if ((parts.get(1)?.varint ?? 0n) === 1n) return parts.get(3)?.bytes?.toString("utf8") ?? "";
      return Number(BigInt.asIntN(64, parts.get(2)?.varint ?? 0n));
    }
    case "quantity": {
      for (const part of readFields(bytes)) if (part.number === 1) return part.bytes?.toString("utf8") ?? "";
      return "0";
    }
    default:
      return decodeMessage(type, bytes, path, depth + 1);
  }
}

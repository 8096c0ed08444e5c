/**
 * Content negotiation: JSON is served, plain or as a Table or as metadata only; JSON, YAML and, for the common
 * built-in kinds, protobuf are read.
 */
import { load } from "js-yaml";
import { checkJson } from "./json.ts";
import { decodeProtobuf, PROTOBUF } from "./protobuf/decode.ts";
import { ApiError } from "./status.ts";

/** In which shape the client wants objects. */
export interface Representation {
  as: "object" | "table" | "metadata";
  /** The version of meta.k8s.io for tables and metadata. */
  version: "v1" | "v1beta1";
}

const PLAIN: Representation = { as: "object", version: "v1" };

/** Media types with parameters, most wanted first. */
export function acceptedTypes(header: string): { type: string; parameters: Map<string, string> }[] {
  return header
    .split(",")
    .slice(0, 32)
    .map((item, index) => {
      const [type = "", ...rest] = item.split(";").map((part) => part.trim());
      const parameters = new Map(
        rest.map((part) => {
          const equals = part.indexOf("=");
          return equals < 0 ? ([part, ""] as const) : ([part.slice(0, equals), part.slice(equals + 1)] as const);
        }),
      );
      const quality = Number(parameters.get("q") ?? "1");
      return { type: type.toLowerCase(), parameters, quality: Number.isNaN(quality) ? 0 : quality, index };
    })
    .filter((item) => item.quality > 0)
    .sort((a, b) => b.quality - a.quality || a.index - b.index);
}

/**
 * The first wanted representation that is served.
 * @throws ApiError NotAcceptable (406)
 */
export function negotiate(header: string | undefined): Representation {
  if (header === undefined || header.trim() === "") return PLAIN;
  for (const { type, parameters } of acceptedTypes(header)) {
    if (type !== "application/json" && type !== "*/*" && type !== "application/*") continue;
    const as = parameters.get("as");
    if (as === undefined) return PLAIN;
    const version = parameters.get("v");
    if (parameters.get("g") !== "meta.k8s.io" || (version !== "v1" && version !== "v1beta1")) continue;
    if (as === "Table") return { as: "table", version };
    if (as === "PartialObjectMetadata" || as === "PartialObjectMetadataList") return { as: "metadata", version };
  }
  throw ApiError.notAcceptable(["application/json", "application/json;as=Table;v=v1;g=meta.k8s.io"]);
}

/** The media type of a Content-Type header, without parameters. */
export function mediaType(header: string | undefined): string {
  return (header ?? "").split(";")[0]!.trim().toLowerCase();
}

/**
 * The value in a request body of type JSON or YAML.
 * @throws ApiError UnsupportedMediaType (415), BadRequest
 */
export function decodeBody(body: Buffer, contentType: string | undefined): unknown {
  const type = mediaType(contentType);
  if (type === PROTOBUF) return decodeProtobuf(body);
  if (type !== "" && type !== "application/json" && type !== "application/yaml" && type !== "*/*") {
    throw ApiError.unsupportedMediaType(["application/json", "application/yaml"]);
  }
  return decodeText(body, type === "application/yaml");
}

/** The value in a text of JSON or YAML. @throws ApiError BadRequest */
export function decodeText(body: Buffer, yaml: boolean): unknown {
  let value: unknown;
  try {
    const text = body.toString("utf8");
    value = yaml ? load(text) : JSON.parse(text);
  } catch (cause) {
    throw ApiError.badRequest(
      `the body is not valid ${yaml ? "YAML" : "JSON"}: ${cause instanceof Error ? cause.message : String(cause)}`,
      cause,
    );
  }
  checkJson(value);
  return value;
}

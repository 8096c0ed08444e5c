/**
 * OpenAPI documents, as much of them as `kubectl` needs: which requests understand `dryRun` and `fieldValidation`, and
 * the schemas of custom resources for `kubectl explain`. Built-in kinds have no schemas here, so clients use their own.
 */
import { createHash } from "node:crypto";
import { acceptedTypes } from "./negotiate.ts";
import type { Catalogue, Resource } from "./resources.ts";

/** A document with its media type. */
export interface ServedDocument {
  type: string;
  body: Buffer;
}

const INFO = { title: "Kubernetes", version: "v1.32.0" };

/** The document at a path below `/openapi`, undefined when there is none. */
export function openApi(catalogue: Catalogue, path: string, accept: string): ServedDocument | undefined {
  if (path === "/openapi/v2") {
    const wantsProtobuf = acceptedTypes(accept)[0]?.type.includes("protobuf") === true;
    // The type that clients ask for has an "@" in it, which they cannot parse in an answer.
    return wantsProtobuf
      ? { type: "application/octet-stream", body: protobufDocument(catalogue) }
      : json({ swagger: "2.0", info: INFO, paths: {}, definitions: {} });
  }
  if (path === "/openapi/v3") return json({ paths: index(catalogue) });
  const match = /^\/openapi\/v3\/(?:api\/([^/]+)|apis\/([^/]+)\/([^/]+))$/.exec(path);
  if (match === null) return undefined;
  const group = match[2] ?? "";
  const version = match[1] ?? match[3] ?? "";
  const resources = [...catalogue.all()].filter((item) => item.group === group && item.versions.includes(version));
  return resources.length === 0 ? undefined : json(groupDocument(resources, group, version));
}

function json(value: unknown): ServedDocument {
  return { type: "application/json", body: Buffer.from(JSON.stringify(value)) };
}

/**
 * The OpenAPI 2 document in protobuf (openapiv2.proto of gnostic): older clients accept no JSON here. It says only
 * which kinds can be patched, and that `dryRun` is understood.
 */
function protobufDocument(catalogue: Catalogue): Buffer {
  const paths: Buffer[] = [];
  const dryRun = bytesField(
    8,
    bytesField(1, bytesField(2, bytesField(3, bytesField(2, "query"), bytesField(4, "dryRun")))),
  );
  for (const resource of catalogue.all()) {
    if (!resource.stored) continue;
    for (const version of resource.versions) {
      const kind = JSON.stringify({ group: resource.group, version, kind: resource.kind });
      const extension = bytesField(
        13,
        bytesField(1, "x-kubernetes-group-version-kind"),
        bytesField(2, bytesField(2, kind)),
      );
      const namespace = resource.namespaced ? "namespaces/{namespace}/" : "";
      const path = `/${pathOf(resource.group, version)}/${namespace}${resource.plural}/{name}`;
      paths.push(bytesField(2, bytesField(1, path), bytesField(2, bytesField(8, dryRun, extension))));
    }
  }
  const info = bytesField(2, bytesField(1, INFO.title), bytesField(2, INFO.version));
  return Buffer.concat([bytesField(1, "2.0"), info, bytesField(8, ...paths)]);
}

/** A length-delimited protobuf field. */
function bytesField(number: number, ...content: (string | Buffer)[]): Buffer {
  const body = Buffer.concat(content.map((part) => Buffer.from(part)));
  const length: number[] = [];
  let rest = body.length;
  for (; rest >= 128; rest = Math.floor(rest / 128)) length.push((rest % 128) | 0x80);
  return Buffer.concat([Buffer.from([(number << 3) | 2, ...length, rest]), body]);
}

function pathOf(group: string, version: string): string {
  return group === "" ? `api/${version}` : `apis/${group}/${version}`;
}

function index(catalogue: Catalogue): Record<string, { serverRelativeURL: string }> {
  const paths: Record<string, { serverRelativeURL: string }> = {};
  // The hash only has to change when the served resources do; it names them together with how often they changed.
  const hash = createHash("sha256").update(String(catalogue.generation)).digest("hex").slice(0, 16);
  for (const item of catalogue.all()) {
    for (const version of item.versions) {
      const path = pathOf(item.group, version);
      paths[path] = { serverRelativeURL: `/openapi/v3/${path}?hash=${hash}` };
    }
  }
  return paths;
}

function schemaName(resource: Resource, version: string): string {
  const reversed = resource.group.split(".").reverse().join(".");
  return `${reversed}.${version}.${resource.kind}`;
}

function groupDocument(resources: readonly Resource[], group: string, version: string): unknown {
  const paths: Record<string, unknown> = {};
  const schemas: Record<string, unknown> = {};
  for (const resource of resources) {
    const gvk = { group, version, kind: resource.kind };
    const parameter = (name: string): unknown => ({ name, in: "query", schema: { type: "string" } });
    const parameters = [parameter("dryRun"), parameter("fieldManager"), parameter("fieldValidation")];
    const operation = (action: string, more = {}): unknown => ({
      parameters,
      responses: { "200": { description: "OK" } },
      "x-kubernetes-action": action,
      "x-kubernetes-group-version-kind": gvk,
      ...more,
    });
    const namespace = resource.namespaced ? "namespaces/{namespace}/" : "";
    const collection = `/${pathOf(group, version)}/${namespace}${resource.plural}`;
    paths[collection] = { get: operation("list"), post: operation("post") };
    if (!resource.stored) continue;
    paths[`${collection}/{name}`] = {
      get: operation("get"),
      put: operation("put"),
      patch: operation("patch"),
      delete: operation("delete"),
    };
    const custom = resource.custom?.get(version);
    if (custom === undefined) continue;
    schemas[schemaName(resource, version)] = describeCustom(custom.schema, gvk);
  }
  return { openapi: "3.0.0", info: INFO, paths, components: { schemas } };
}

function describeCustom(schema: Record<string, unknown>, gvk: unknown): Record<string, unknown> {
  const properties = {
    apiVersion: { type: "string", description: "Version of the schema of this object." },
    kind: { type: "string", description: "Kind of this object." },
    metadata: { type: "object", description: "Standard object's metadata." },
    ...(schema["properties"] as Record<string, unknown> | undefined),
  };
  return { ...schema, type: "object", properties, "x-kubernetes-group-version-kind": [gvk] };
}

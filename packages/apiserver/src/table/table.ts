/**
 * Tables (meta.k8s.io): the rows and columns of `kubectl get`, made by the server.
 */
import type { KubeObject } from "../object.ts";
import { resourceKey, type PrinterColumn, type Resource } from "../resources.ts";
import { column, defaultPrinter, printers, type Printer } from "./columns.ts";
import { age } from "./duration.ts";
import { evaluateJsonPath, parseJsonPath } from "./json-path.ts";

/** How much of each object a row carries. */
export type IncludeObject = "None" | "Metadata" | "Object";

/** The printer of a resource in a version. */
export function printerOf(resource: Resource, version: string): Printer {
  const custom = resource.custom?.get(version);
  if (custom !== undefined && custom.columns.length > 0) return customPrinter(custom.columns);
  return printers.get(resourceKey(resource.group, resource.plural)) ?? defaultPrinter;
}

function customPrinter(columns: PrinterColumn[]): Printer {
  const compiled = columns.map((item) => ({ ...item, path: parseJsonPath(item.jsonPath) ?? [] }));
  return {
    columns: [
      column("Name", { format: "name" }),
      ...columns.map(({ name, type, format, description, priority }) => ({
        name,
        type,
        format,
        description,
        priority,
      })),
    ],
    cells: (object, now) => [
      object.metadata.name,
      ...compiled.map(({ path, type }) => customCell(evaluateJsonPath(path, object), type, now)),
    ],
  };
}

function customCell(values: unknown[], type: string, now: number): unknown {
  const [value] = values;
  if (value === undefined || value === null) return null;
  switch (type) {
    case "integer":
    case "number":
      return typeof value === "number" ? value : null;
    case "boolean":
      return typeof value === "boolean" ? value : null;
    case "date":
      return typeof value === "string" ? age(value, now) : null;
    default:
      return values.length === 1 ? textCell(value) : values.map(textCell).join(",");
  }
}

function textCell(value: unknown): string {
  return typeof value === "string" ? value : JSON.stringify(value);
}

/** PartialObjectMetadata of an object. */
export function metadataOnly(object: KubeObject, version: string): KubeObject {
  return { kind: "PartialObjectMetadata", apiVersion: `meta.k8s.io/${version}`, metadata: object.metadata };
}

/** A table of objects. `withColumns` is false for the later events of a watch. */
export function makeTable(
  resource: Resource,
  version: string,
  objects: readonly KubeObject[],
  listMetadata: Record<string, unknown>,
  options: { version: string; include: IncludeObject; withColumns: boolean; now: number },
): Record<string, unknown> {
  const printer = printerOf(resource, version);
  return {
    kind: "Table",
    apiVersion: `meta.k8s.io/${options.version}`,
    metadata: listMetadata,
    columnDefinitions: options.withColumns ? printer.columns : [],
    rows: objects.map((object) => ({
      cells: printer.cells(object, options.now),
      object:
        options.include === "None"
          ? null
          : options.include === "Object"
            ? object
            : metadataOnly(object, options.version),
    })),
  };
}

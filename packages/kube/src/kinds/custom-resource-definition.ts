/** CustomResourceDefinitions (apiextensions.k8s.io/v1) from our kinds: one structural schema from the zod schemas. */
import { z } from "zod";
import type { CelRule, Kind, PrintColumn } from "./kind.ts";

type JsonSchema = { [key: string]: unknown };

/** A definition as the API server takes it. */
export interface CustomResourceDefinition {
  readonly apiVersion: "apiextensions.k8s.io/v1";
  readonly kind: "CustomResourceDefinition";
  readonly metadata: { readonly name: string };
  readonly spec: {
    readonly group: string;
    readonly scope: "Cluster";
    readonly names: {
      readonly plural: string;
      readonly singular: string;
      readonly kind: string;
      readonly listKind: string;
      readonly shortNames: readonly string[];
      readonly categories: readonly string[];
    };
    readonly versions: readonly {
      readonly name: string;
      readonly served: true;
      readonly storage: true;
      readonly subresources?: { readonly status: Record<string, never> };
      readonly additionalPrinterColumns: readonly PrintColumn[];
      readonly schema: { readonly openAPIV3Schema: JsonSchema };
    }[];
  };
}

export interface CustomResourceDefinitionOptions {
  /**
   * Minor version of the Kubernetes that will take the definition, such as "1.20"; rules that it cannot evaluate are left
   * out. Absent: all rules.
   */
  readonly kubernetes?: string;
}

/** The definition of a kind. */
export function customResourceDefinition(
  kind: Kind,
  options: CustomResourceDefinitionOptions = {},
): CustomResourceDefinition {
  const rules = kind.rules.length > 0 ? { "x-kubernetes-validations": kind.rules } : {};
  const root = {
    type: "object",
    description: kind.description,
    required: kind.hasStatusSubresource ? ["spec"] : ["spec", "status"],
    properties: { spec: openApi(kind.spec), status: openApi(kind.status) },
    ...rules,
  };
  return {
    apiVersion: "apiextensions.k8s.io/v1",
    kind: "CustomResourceDefinition",
    metadata: { name: `${kind.plural}.${kind.group}` },
    spec: {
      group: kind.group,
      scope: "Cluster",
      names: {
        plural: kind.plural,
        singular: kind.singular,
        kind: kind.kind,
        listKind: kind.listKind,
        shortNames: kind.shortNames,
        categories: ["beyondfabric"],
      },
      versions: [
        {
          name: kind.version,
          served: true,
          storage: true,
          ...(kind.hasStatusSubresource ? { subresources: { status: {} } } : {}),
          additionalPrinterColumns: kind.columns,
          schema: { openAPIV3Schema: structural(root, options) as JsonSchema },
        },
      ],
    },
  };
}

function openApi(schema: z.ZodType): JsonSchema {
  return z.toJSONSchema(schema, { target: "openapi-3.0", io: "input" });
}

/**
 * What a structural schema allows. Unknown fields are pruned by the API server, so `additionalProperties: false` must go;
 * the bounds that zod adds to every integer say nothing.
 */
function structural(node: unknown, options: CustomResourceDefinitionOptions): unknown {
  if (Array.isArray(node)) return node.map((each) => structural(each, options));
  if (typeof node !== "object" || node === null) return node;
  const result: JsonSchema = {};
  for (const [key, value] of Object.entries(node)) {
    if (key === "$schema" || key === "propertyNames") continue;
    if (key === "additionalProperties" && value === false) continue;
    if ((key === "minimum" || key === "maximum") && Math.abs(value as number) === Number.MAX_SAFE_INTEGER) continue;
    if (key === "x-kubernetes-validations") {
      const rules = (value as CelRule[]).filter(({ since }) => isKnownTo(since, options.kubernetes));
      if (rules.length > 0) result[key] = rules.map(({ rule, message }) => ({ rule, message }));
    } else {
      result[key] = structural(value, options);
    }
  }
  return result;
}

function isKnownTo(since: string, kubernetes: string | undefined): boolean {
  if (kubernetes === undefined) return true;
  const [major = 0, minor = 0] = kubernetes
    .replace(/^v/, "")
    .split(".")
    .map((part) => Number.parseInt(part, 10));
  const [sinceMajor = 0, sinceMinor = 0] = since.split(".").map(Number);
  return major > sinceMajor || (major === sinceMajor && minor >= sinceMinor);
}

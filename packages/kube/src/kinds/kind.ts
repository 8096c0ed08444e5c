/** What our kinds have in common: how a kind is described, and how an object of it becomes a slim record. */
import { AddressError } from "@beyondfabric/packet";
import { z } from "zod";
import { explain, formatPath, ruled } from "./rules.ts";
import type { ValuePath } from "./rules.ts";

export const API_GROUP = "beyondfabric.io";
export const API_VERSION = "v1alpha1";

/** A column of `kubectl get`. */
export interface PrintColumn {
  readonly name: string;
  readonly type: "string" | "integer" | "boolean" | "date";
  readonly jsonPath: string;
  readonly description: string;
  /** 0 is always shown, 1 only with `-o wide`. */
  readonly priority?: 1;
}

/** A column of text that only `-o wide` shows. */
export function wide(name: string, jsonPath: string, description: string): PrintColumn {
  return { name, type: "string", jsonPath, description, priority: 1 };
}

/**
 * A rule in Common Expression Language that the API server evaluates (`x-kubernetes-validations`).
 * `since` is the first Kubernetes minor version whose libraries the rule needs.
 */
export interface CelRule {
  readonly rule: string;
  readonly message: string;
  readonly since: "1.25" | "1.31";
}

/** One kind of ours: where the API serves it, what its spec and status look like, what people see of it. */
export interface Kind<Spec extends z.ZodType = z.ZodType, Status extends z.ZodType = z.ZodType> {
  readonly group: typeof API_GROUP;
  readonly version: typeof API_VERSION;
  readonly plural: string;
  readonly singular: string;
  readonly kind: string;
  readonly listKind: string;
  readonly shortNames: readonly string[];
  readonly namespaced: false;
  readonly description: string;
  readonly spec: Spec;
  readonly status: Status;
  /**
   * Whether status is written apart from spec. Without, both change in one compare-and-swap, and an object whose status
   * breaks the schema is as wrong as one whose spec does.
   */
  readonly hasStatusSubresource: boolean;
  /** Rules about the whole object; rules about a part stand in the part's schema. */
  readonly rules: readonly CelRule[];
  readonly columns: readonly PrintColumn[];
}

type Shared = "group" | "version" | "namespaced" | "listKind" | "singular" | "hasStatusSubresource";

/** The names and the scope that all our kinds share, filled in. */
export function defineKind<Spec extends z.ZodType, Status extends z.ZodType>(
  kind: Omit<Kind<Spec, Status>, Shared> & { readonly hasStatusSubresource?: false },
): Kind<Spec, Status> {
  return {
    hasStatusSubresource: true,
    ...kind,
    group: API_GROUP,
    version: API_VERSION,
    namespaced: false,
    singular: kind.kind.toLowerCase(),
    listKind: `${kind.kind}List`,
  };
}

/** Attaches CEL rules to a part of a schema. They only tell people sooner: parsing repeats what they can say in code. */
export function celRules<Schema extends z.ZodType>(schema: Schema, ...rules: readonly CelRule[]): Schema {
  return schema.meta({ ...schema.meta(), "x-kubernetes-validations": rules });
}

/** Rules for a part whose named fields keep what the object was created with, absence included. */
export function immutable(...fields: readonly string[]): CelRule[] {
  return fields.map((field) => ({
    rule: `has(self.${field}) == has(oldSelf.${field}) && (!has(self.${field}) || self.${field} == oldSelf.${field})`,
    message: `${field} cannot be changed; delete the object and create it anew`,
    since: "1.25",
  }));
}

/** A rule that an object breaks: which object, where in it, what must hold, and what to do about it. */
export interface Violation {
  /** Kind and name, such as `Subnet/default`. */
  readonly object: string;
  /** Path such as `spec.cidrs[0]`. */
  readonly field: string;
  readonly rule: string;
  readonly remedy: string;
}

/** One sentence for Events, conditions and logs. */
export function formatViolation(violation: Violation): string {
  return `${violation.object}: ${violation.field} ${violation.rule}; ${violation.remedy}`;
}

/** What we keep of an object's metadata. */
export interface Identity {
  readonly name: string;
  /** Empty for an object that no API server has stored yet. */
  readonly uid: string;
  readonly resourceVersion: string;
  /** Milliseconds since the epoch; 0 when unknown. */
  readonly created: number;
  readonly generation: number;
  /** When its deletion was asked for, in milliseconds since the epoch; absent unless something still holds it up. */
  readonly deletionTimestamp?: number;
}

export type Parsed<Value> =
  | { readonly ok: true; readonly value: Value }
  | { readonly ok: false; readonly violations: readonly Violation[] };

const MAX_VIOLATIONS = 50;

const DNS_SUBDOMAIN = /^[a-z0-9](?:[-a-z0-9]*[a-z0-9])?(?:\.[a-z0-9](?:[-a-z0-9]*[a-z0-9])?)*$/;

/** A metadata.name: a DNS subdomain (RFC 1123), at most 253 characters. */
export function objectName(description: string) {
  return ruled(
    z.string().min(1).max(253).regex(DNS_SUBDOMAIN).describe(description),
    "must be the name of an object (lower-case letters, digits, '-' and '.')",
    "write the name that kubectl shows",
  );
}

const metadataSchema = z.object({
  name: objectName("Name of the object."),
  uid: ruled(z.string().max(128), "must be a string", "let the API server set it").default(""),
  resourceVersion: ruled(z.string().max(128), "must be a string", "let the API server set it").default(""),
  creationTimestamp: ruled(z.string().nullish(), "must be a time", "let the API server set it"),
  deletionTimestamp: ruled(z.string().nullish(), "must be a time", "let the API server set it"),
  generation: ruled(z.int(), "must be a whole number", "let the API server set it").default(0),
});

/**
 * Reads an object as the API server (or a file) gives it. Never throws: a bad object yields its violations.
 * `build` turns a sound spec into a record and may report what no schema can say. It gets the status of a kind that has it
 * not apart; what agents report elsewhere is for people, does not make a wish wrong, and would take longer to read than
 * all the rest.
 */
export function parseObject<Spec extends z.ZodType, Status extends z.ZodType, Value>(
  kind: Kind<Spec, Status>,
  raw: unknown,
  build: (
    identity: Identity,
    spec: z.output<Spec>,
    offend: Offend,
    status: z.output<Status> | undefined,
  ) => Value | undefined,
): Parsed<Value> {
  const object = (typeof raw === "object" && raw !== null ? raw : {}) as Record<string, unknown>;
  const metadata = metadataSchema.safeParse(object["metadata"] ?? {}, { reportInput: true });
  const spec = kind.spec.safeParse(object["spec"], { reportInput: true });
  const status = kind.hasStatusSubresource ? undefined : kind.status.safeParse(object["status"], { reportInput: true });
  const name = metadata.success ? metadata.data.name : nameOf(object["metadata"]);
  const violations: Violation[] = [];
  const offend: Offend = (path, rule, remedy) => {
    const field = formatPath(path);
    // A value can fail several checks of the one rule that it breaks.
    const isKnown = violations.some((each) => each.field === field && each.rule === rule);
    if (isKnown || violations.length === MAX_VIOLATIONS) return;
    violations.push({ object: `${kind.kind}/${name}`, field, rule, remedy });
  };
  const report = (root: string, schema: z.core.$ZodType, error: z.ZodError): void => {
    for (const issue of error.issues) {
      const { rule, remedy } = explain(schema, issue);
      offend([root, ...(issue.path as ValuePath)], rule, remedy);
    }
  };
  if (!metadata.success) report("metadata", metadataSchema, metadata.error);
  if (!spec.success) report("spec", kind.spec, spec.error);
  if (status?.success === false) report("status", kind.status, status.error);
  if (metadata.success && spec.success) {
    const { uid, resourceVersion, generation, creationTimestamp, deletionTimestamp } = metadata.data;
    const created = Date.parse(creationTimestamp ?? "") || 0;
    const deleted = deletionTimestamp == null ? {} : { deletionTimestamp: Date.parse(deletionTimestamp) || 0 };
    const identity = { name, uid, resourceVersion, generation, created, ...deleted };
    const value = build(identity, spec.data, offend, status?.data);
    if (value !== undefined && violations.length === 0) return { ok: true, value };
  }
  return { ok: false, violations };
}

/**
 * The value that `parse` gives, or undefined after noting that the text at `path` is no address, range or CIDR. Whatever
 * else it throws is passed on.
 */
export function attempt<Value>(parse: () => Value, path: ValuePath, offend: Offend): Value | undefined {
  try {
    return parse();
  } catch (error) {
    if (!(error instanceof AddressError)) throw error;
    offend(path, "cannot be read", error.message);
    return undefined;
  }
}

/** Notes a violation at a path of the object. */
export type Offend = (path: ValuePath, rule: string, remedy: string) => void;

function nameOf(metadata: unknown): string {
  const name = (metadata as { name?: unknown } | null | undefined)?.name;
  return typeof name === "string" && name.length > 0 && name.length <= 253 ? name : "(unnamed)";
}

/**
 * Order in which objects that exclude each other are judged: the older keeps its place, the newer is refused, and every
 * node comes to the same answer.
 */
export function bySeniority(a: Identity, b: Identity): number {
  if (a.created !== b.created) return a.created - b.created;
  return a.name < b.name ? -1 : a.name > b.name ? 1 : 0;
}

/** `status.conditions` after the API conventions, which `kubectl wait` understands. */
export const conditionsSchema = z
  .array(
    z.object({
      type: z.string().min(1).max(316),
      status: z.enum(["True", "False", "Unknown"]),
      reason: z.string().max(1024),
      message: z.string().max(32768),
      lastTransitionTime: z.string().meta({ format: "date-time" }),
      observedGeneration: z.int().min(0).optional(),
    }),
  )
  .max(16)
  .meta({
    description: "Accepted is False, with the reason, when the object breaks a rule that only the agents can check.",
    "x-kubernetes-list-type": "map",
    "x-kubernetes-list-map-keys": ["type"],
  })
  .optional();

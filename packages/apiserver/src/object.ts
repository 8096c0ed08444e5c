/**
 * The envelope that all Kubernetes objects share, and the rules of names and metadata.
 */
import { isObject, textOf, type JsonObject } from "./json.ts";
import { fieldError, type StatusCause } from "./status.ts";
import { ApiError } from "./status.ts";

/** meta.k8s.io/v1 OwnerReference, as far as it is acted upon. */
export interface OwnerReference {
  apiVersion: string;
  kind: string;
  name: string;
  uid: string;
  controller?: boolean;
  blockOwnerDeletion?: boolean;
}

/** meta.k8s.io/v1 ObjectMeta. */
export interface ObjectMeta {
  name?: string;
  generateName?: string;
  namespace?: string;
  uid?: string;
  resourceVersion?: string;
  generation?: number;
  creationTimestamp?: string;
  deletionTimestamp?: string;
  deletionGracePeriodSeconds?: number;
  labels?: Record<string, string>;
  annotations?: Record<string, string>;
  ownerReferences?: OwnerReference[];
  finalizers?: string[];
  managedFields?: unknown[];
  [field: string]: unknown;
}

/** Any Kubernetes object. Stored ones are never changed in place: every change begins with a copy. */
export interface KubeObject {
  apiVersion: string;
  kind: string;
  metadata: ObjectMeta;
  [field: string]: unknown;
}

const LABEL_VALUE = /^(?:[A-Za-z0-9](?:[-A-Za-z0-9_.]*[A-Za-z0-9])?)?$/;
const QUALIFIED_NAME = /^[A-Za-z0-9](?:[-A-Za-z0-9_.]*[A-Za-z0-9])?$/;
const DNS_LABEL = /^[a-z0-9](?:[-a-z0-9]*[a-z0-9])?$/;
const DNS_1035_LABEL = /^[a-z](?:[-a-z0-9]*[a-z0-9])?$/;
const DNS_SUBDOMAIN = /^[a-z0-9](?:[-a-z0-9]*[a-z0-9])?(?:\.[a-z0-9](?:[-a-z0-9]*[a-z0-9])?)*$/;
/** Most bytes of all annotations of an object, keys and values together. */
const MAX_ANNOTATIONS = 256 * 1024;

/** How the names of a kind are checked: as one DNS label, a DNS name, an RFC 1035 label, or a bare path segment. */
export type NameRule = "label" | "label-1035" | "subdomain" | "path-segment";

/** Why the name breaks the rule, or undefined when it does not. */
export function nameProblem(name: string, rule: NameRule): string | undefined {
  switch (rule) {
    case "label":
      if (name.length > 63) return "must be no more than 63 characters";
      return DNS_LABEL.test(name)
        ? undefined
        : "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character";
    case "label-1035":
      if (name.length > 63) return "must be no more than 63 characters";
      return DNS_1035_LABEL.test(name)
        ? undefined
        : "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic character, and end with an alphanumeric character";
    case "subdomain":
      if (name.length > 253) return "must be no more than 253 characters";
      return DNS_SUBDOMAIN.test(name)
        ? undefined
        : "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character";
    case "path-segment":
      if (name === "." || name === "..") return `may not be '${name}'`;
      return /[/%\p{Cc}]/u.test(name) ? "may not contain '/', '%' or control characters" : undefined;
  }
}

/** Why the string is no label key (an optional DNS prefix, a slash, a name), or undefined when it is one. */
export function labelKeyProblem(key: string): string | undefined {
  const slash = key.indexOf("/");
  const prefix = slash < 0 ? undefined : key.slice(0, slash);
  const name = key.slice(slash + 1);
  if (prefix !== undefined && (prefix.length > 253 || !DNS_SUBDOMAIN.test(prefix))) {
    return "prefix part must be a lowercase RFC 1123 subdomain";
  }
  if (name.length > 63) return "name part must be no more than 63 characters";
  return QUALIFIED_NAME.test(name)
    ? undefined
    : "name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character";
}

/** Why the string is no label value, or undefined when it is one. */
export function labelValueProblem(value: string): string | undefined {
  if (value.length > 63) return "must be no more than 63 characters";
  return LABEL_VALUE.test(value)
    ? undefined
    : "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character";
}

/**
 * Checks that a decoded body is a Kubernetes object whose metadata has the declared types.
 * @throws ApiError BadRequest naming the field
 */
export function asKubeObject(body: unknown): KubeObject {
  if (!isObject(body)) throw ApiError.badRequest("the body must be a JSON object");
  const { apiVersion, kind } = body;
  if (typeof kind !== "string" || kind === "") throw ApiError.badRequest("Object 'Kind' is missing in the body");
  if (typeof apiVersion !== "string" || apiVersion === "") {
    throw ApiError.badRequest("Object 'apiVersion' is missing in the body");
  }
  const metadata = body["metadata"] ?? {};
  if (!isObject(metadata)) throw ApiError.badRequest("metadata: must be an object");
  checkMetadataTypes(metadata);
  return { ...body, apiVersion, kind, metadata };
}

function checkMetadataTypes(metadata: JsonObject): void {
  const refuse = (field: string, type: string): never => {
    throw ApiError.badRequest(`metadata.${field}: must be ${type}`);
  };
  for (const field of [
    "name",
    "generateName",
    "namespace",
    "uid",
    "resourceVersion",
    "creationTimestamp",
    "deletionTimestamp",
    "selfLink",
  ]) {
    const value = metadata[field];
    if (value === null || value === undefined) delete metadata[field];
    else if (typeof value !== "string") refuse(field, "a string");
  }
  for (const field of ["generation", "deletionGracePeriodSeconds"]) {
    const value = metadata[field];
    if (value === null || value === undefined) delete metadata[field];
    else if (typeof value !== "number" || !Number.isInteger(value)) refuse(field, "an integer");
  }
  for (const field of ["labels", "annotations"]) {
    const value = metadata[field];
    if (value === null || value === undefined) {
      delete metadata[field];
      continue;
    }
    if (!isObject(value)) return refuse(field, "a map of strings");
    for (const [key, member] of Object.entries(value)) {
      if (member === null) value[key] = "";
      else if (typeof member !== "string") refuse(`${field}[${key}]`, "a string");
    }
  }
  const { finalizers, ownerReferences } = metadata;
  if (finalizers === null || finalizers === undefined) delete metadata["finalizers"];
  else if (!Array.isArray(finalizers) || finalizers.some((item) => typeof item !== "string")) {
    refuse("finalizers", "a list of strings");
  }
  if (ownerReferences === null || ownerReferences === undefined) delete metadata["ownerReferences"];
  else if (!Array.isArray(ownerReferences) || !ownerReferences.every((item) => isObject(item))) {
    refuse("ownerReferences", "a list of objects");
  }
  const { managedFields } = metadata;
  if (managedFields === null || managedFields === undefined) delete metadata["managedFields"];
  else if (!Array.isArray(managedFields)) refuse("managedFields", "a list");
}

/** What breaks the rules in an object's metadata (ValidateObjectMeta); empty when nothing does. */
export function metadataProblems(metadata: ObjectMeta, rule: NameRule): StatusCause[] {
  const causes: StatusCause[] = [];
  const name = metadata.name ?? "";
  if (name === "") causes.push(fieldError.required("metadata.name", "name or generateName is required"));
  else {
    const problem = nameProblem(name, rule);
    if (problem !== undefined) causes.push(fieldError.invalid("metadata.name", name, problem));
  }
  for (const [key, value] of Object.entries(metadata.labels ?? {})) {
    const keyProblem = labelKeyProblem(key);
    if (keyProblem !== undefined) causes.push(fieldError.invalid("metadata.labels", key, keyProblem));
    const valueProblem = labelValueProblem(value);
    if (valueProblem !== undefined) causes.push(fieldError.invalid("metadata.labels", value, valueProblem));
  }
  let size = 0;
  for (const [key, value] of Object.entries(metadata.annotations ?? {})) {
    size += Buffer.byteLength(key) + Buffer.byteLength(value);
    const problem = labelKeyProblem(key.toLowerCase());
    if (problem !== undefined) causes.push(fieldError.invalid("metadata.annotations", key, problem));
  }
  if (size > MAX_ANNOTATIONS) {
    causes.push(fieldError.tooLong("metadata.annotations", `may not be more than ${MAX_ANNOTATIONS} bytes`));
  }
  for (const finalizer of metadata.finalizers ?? []) {
    const problem = labelKeyProblem(finalizer);
    if (problem !== undefined) causes.push(fieldError.invalid("metadata.finalizers", finalizer, problem));
  }
  const references = metadata.ownerReferences ?? [];
  references.forEach((reference, index) => {
    const field = `metadata.ownerReferences[${index}]`;
    for (const part of ["apiVersion", "kind", "name", "uid"] as const) {
      if (textOf(reference[part]) === "") causes.push(fieldError.required(`${field}.${part}`, "must not be empty"));
    }
  });
  if (references.filter((reference) => reference.controller === true).length > 1) {
    causes.push(
      fieldError.invalid(
        "metadata.ownerReferences",
        references.length,
        "Only one reference can have Controller set to true",
      ),
    );
  }
  return causes;
}

/** A time in the form that Kubernetes writes: RFC 3339 without fractions. */
export function timestamp(milliseconds: number): string {
  return `${new Date(milliseconds).toISOString().slice(0, 19)}Z`;
}

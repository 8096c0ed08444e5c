/** What every object of the API says about itself, as far as Services and their endpoints need it. */
import type { Violation } from "@beyondfabric/kube/kinds";
import { FieldReader, isObject, type RawObject } from "./field-reader.ts";

/** On a Service that a proxy of somebody else looks after, and on the slices of it. */
const foreignLabel = "service.kubernetes.io/service-proxy-name";
/** On a Service that is found by DNS alone, and on its slices and Endpoints. */
const headlessLabel = "service.kubernetes.io/headless";

export interface ObjectIdentity {
  readonly namespace: string;
  readonly name: string;
  readonly uid: string;
  /** See `ServiceRecord.created`. */
  readonly created: number;
  readonly labels: RawObject;
  /** Whose business it is by its labels. Labels that cannot be read could say anything, and are taken for `foreign`. */
  readonly business: "ours" | "headless" | "foreign";
}

export interface IdentifiedObject {
  readonly fields: FieldReader;
  readonly object: RawObject;
  /** Absent when the object has no usable name or namespace: no API server stores that. */
  readonly identity?: ObjectIdentity;
}

/** Elements of all lists of one object. What etcd stores (1.5 MiB) has room for fewer. */
const maxElements = 100_000;

const namePattern = /^[a-z0-9](?:[-a-z0-9.]{0,251}[a-z0-9])?$/;

/** Younger than everything that has a date. */
const undated = Number.MAX_SAFE_INTEGER;

export function identifyObject(kind: string, raw: unknown): IdentifiedObject {
  const object = isObject(raw) ? raw : {};
  const metadata = isObject(object["metadata"]) ? object["metadata"] : {};
  const name = objectName(metadata["name"]);
  const namespace = objectName(metadata["namespace"]);
  const fields = new FieldReader(`${kind}/${namespace ?? "(no namespace)"}/${name ?? "(unnamed)"}`, maxElements);
  if (name === undefined || namespace === undefined) {
    fields.offend("metadata", "has no name or namespace", "read objects from an API server");
    return { fields, object };
  }
  const labels = fields.object("metadata.labels", metadata["labels"], "the object is left to others");
  const uid = boundedText(metadata["uid"], 128) ?? "";
  const created = Date.parse(boundedText(metadata["creationTimestamp"], 40) ?? "");
  const identity = {
    namespace,
    name,
    uid,
    created: Number.isNaN(created) ? undated : created,
    labels: labels ?? {},
    business: businessOf(labels),
  };
  return { fields, object, identity };
}

function businessOf(labels: RawObject | undefined): ObjectIdentity["business"] {
  // kube-proxy too asks only whether they are there, whatever their value.
  if (labels === undefined || Object.hasOwn(labels, foreignLabel)) return "foreign";
  return Object.hasOwn(labels, headlessLabel) ? "headless" : "ours";
}

/** The name of an object: without a slash, so that two names together are unambiguous. */
export function objectName(value: unknown): string | undefined {
  return typeof value === "string" && namePattern.test(value) ? value : undefined;
}

export function boundedText(value: unknown, most: number): string | undefined {
  return typeof value === "string" && value.length > 0 && value.length <= most ? value : undefined;
}

/** What reading gives of every kind. */
export interface ParsedObject {
  /** What could not be honoured; empty for a sound object. */
  readonly violations: readonly Violation[];
}

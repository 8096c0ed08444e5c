/**
 * CustomResourceDefinitions: their own rules, and the resources that they bring.
 */
import { childObject, clone, isObject, listOf, numberOf, objectOf, objectsOf, textOf, textsOf } from "./json.ts";
import { nameProblem, timestamp, type KubeObject } from "./object.ts";
import {
  compareVersions,
  resourceKey,
  type Catalogue,
  type CustomVersion,
  type PrinterColumn,
  type Resource,
} from "./resources.ts";
import { applyDefaults, prune, structuralProblems, validate } from "./schema/structural.ts";
import { brokenRules } from "./schema/rules.ts";
import { fieldError, type StatusCause } from "./status.ts";
import type { Store } from "./store.ts";
import type { Strategy } from "./kinds/strategy.ts";
import { parseJsonPath } from "./table/json-path.ts";

/** Held while objects of the kind exist. */
export const CLEANUP_FINALIZER = "customresourcecleanup.apiextensions.k8s.io";

const COLUMN_TYPES = ["integer", "number", "string", "boolean", "date"];

/** Keeps the catalogue in step with the stored definitions. */
export class CustomResources {
  readonly #store: Store;
  readonly #catalogue: Catalogue;
  readonly #strategies = new WeakMap<CustomVersion, Strategy>();
  /** The behaviour of CustomResourceDefinition objects themselves. */
  readonly strategy: Strategy;

  constructor(store: Store, catalogue: Catalogue) {
    this.#store = store;
    this.#catalogue = catalogue;
    this.strategy = {
      prepareCreate: (definition) => {
        complete(definition);
        definition.metadata.finalizers = [...(definition.metadata.finalizers ?? []), CLEANUP_FINALIZER];
        definition["status"] = acceptedStatus(definition, {});
      },
      prepareUpdate: (definition, old) => {
        complete(definition);
        definition["status"] = acceptedStatus(definition, objectOf(old["status"]));
      },
      validate: (definition) => this.#validate(definition),
      validateUpdate: (definition, old) => {
        const before = objectOf(old["spec"]);
        const after = objectOf(definition["spec"]);
        return ["group", "scope"].flatMap((field) =>
          before[field] === after[field]
            ? []
            : [fieldError.invalid(`spec.${field}`, after[field], "field is immutable")],
        );
      },
    };
  }

  /** Serves what is stored already, then follows changes. */
  start(): void {
    const key = "customresourcedefinitions.apiextensions.k8s.io";
    for (const { object } of this.#store.list(key)) this.#serve(object);
    this.#store.subscribe(key, (change) => {
      if (change.type === "DELETED") this.#catalogue.remove(change.current.key);
      else this.#serve(change.current.object);
    });
  }

  /** The behaviour of a custom resource in a version. */
  strategyOf(resource: Resource, version: string): Strategy | undefined {
    const custom = resource.custom?.get(version);
    if (custom === undefined) return undefined;
    let strategy = this.#strategies.get(custom);
    if (strategy === undefined) {
      strategy = customStrategy(custom);
      this.#strategies.set(custom, strategy);
    }
    return strategy;
  }

  #serve(definition: KubeObject): void {
    const resource = resourceOf(definition);
    // Stored definitions are valid; a broken one must still not take a built-in resource's place.
    const present = this.#catalogue.get(resourceKey(resource.group, resource.plural));
    if (present === undefined || present.custom !== undefined) this.#catalogue.set(resource);
  }

  #validate(definition: KubeObject): StatusCause[] {
    const causes: StatusCause[] = [];
    const spec = objectOf(definition["spec"]);
    const names = objectOf(spec["names"]);
    const group = textOf(spec["group"]);
    const plural = textOf(names["plural"]);
    if (group === "") causes.push(fieldError.required("spec.group"));
    else if (nameProblem(group, "subdomain") !== undefined || !group.includes(".")) {
      causes.push(fieldError.invalid("spec.group", group, "should be a domain with at least one dot"));
    }
    if (plural === "") causes.push(fieldError.required("spec.names.plural"));
    else {
      const problem = nameProblem(plural, "label-1035");
      if (problem !== undefined) causes.push(fieldError.invalid("spec.names.plural", plural, problem));
    }
    if (textOf(names["kind"]) === "") causes.push(fieldError.required("spec.names.kind"));
    if (definition.metadata.name !== `${plural}.${group}`) {
      causes.push(
        fieldError.invalid("metadata.name", definition.metadata.name, 'must be spec.names.plural+"."+spec.group'),
      );
    }
    const present = this.#catalogue.get(resourceKey(group, plural));
    if (present !== undefined && present.custom === undefined) {
      causes.push(fieldError.forbidden("spec.names.plural", `${plural}.${group} is a built-in resource`));
    }
    const scopes = ["Cluster", "Namespaced"];
    if (!scopes.includes(textOf(spec["scope"])))
      causes.push(fieldError.notSupported("spec.scope", spec["scope"], scopes));
    const conversion = objectOf(spec["conversion"])["strategy"];
    if (conversion !== "None") {
      causes.push(fieldError.notSupported("spec.conversion.strategy", conversion, ["None"]));
    }
    causes.push(...versionProblems(spec["versions"]));
    return causes;
  }
}

function versionProblems(versions: unknown): StatusCause[] {
  const causes: StatusCause[] = [];
  const list = listOf(versions);
  if (list.length === 0) return [fieldError.required("spec.versions", "must have at least one version")];
  const names = new Set<string>();
  list.forEach((version, index) => {
    const field = `spec.versions[${index}]`;
    if (!isObject(version)) return void causes.push(fieldError.type(field, version, "must be an object"));
    const name = textOf(version["name"]);
    const problem = name === "" ? "must not be empty" : nameProblem(name, "label-1035");
    if (problem !== undefined) causes.push(fieldError.invalid(`${field}.name`, name, problem));
    if (names.has(name)) causes.push(fieldError.duplicate(`${field}.name`, name));
    names.add(name);
    causes.push(
      ...structuralProblems(objectOf(version["schema"])["openAPIV3Schema"], `${field}.schema.openAPIV3Schema`),
    );
    objectsOf(version["additionalPrinterColumns"]).forEach((item, at) => {
      const place = `${field}.additionalPrinterColumns[${at}]`;
      if (textOf(item["name"]) === "") causes.push(fieldError.required(`${place}.name`));
      if (!COLUMN_TYPES.includes(textOf(item["type"]))) {
        causes.push(fieldError.notSupported(`${place}.type`, item["type"], COLUMN_TYPES));
      }
      const path = textOf(item["jsonPath"]);
      if (path === "") causes.push(fieldError.required(`${place}.jsonPath`));
      else if (parseJsonPath(path) === undefined) {
        causes.push(fieldError.invalid(`${place}.jsonPath`, path, "is not a JSONPath that is understood"));
      }
    });
  });
  const stored = objectsOf(versions).filter((version) => version["storage"] === true);
  if (stored.length !== 1) {
    causes.push(
      fieldError.invalid("spec.versions", stored.length, "must have exactly one version marked as storage version"),
    );
  }
  return causes;
}

function complete(definition: KubeObject): void {
  const spec = childObject(definition, "spec");
  const names = childObject(spec, "names");
  const kind = textOf(names["kind"]);
  if (textOf(names["singular"]) === "") names["singular"] = kind.toLowerCase();
  if (textOf(names["listKind"]) === "") names["listKind"] = `${kind}List`;
  childObject(spec, "conversion")["strategy"] ??= "None";
}

/** The status of an accepted definition: served at once, since there is nobody to ask. */
function acceptedStatus(definition: KubeObject, before: { [field: string]: unknown }): { [field: string]: unknown } {
  const spec = objectOf(definition["spec"]);
  const stored = objectsOf(spec["versions"]).find((version) => version["storage"] === true);
  const now = timestamp(Date.now());
  const condition = (type: string, reason: string, message: string): unknown =>
    objectsOf(before["conditions"]).find((item) => item["type"] === type) ?? {
      type,
      status: "True",
      lastTransitionTime: now,
      reason,
      message,
    };
  return {
    conditions: [
      condition("NamesAccepted", "NoConflicts", "no conflicts found"),
      condition("Established", "InitialNamesAccepted", "the initial names have been accepted"),
    ],
    acceptedNames: clone(spec["names"]),
    storedVersions: [...new Set([...textsOf(before["storedVersions"]), textOf(stored?.["name"])])],
  };
}

/** The resource that a definition describes. */
function resourceOf(definition: KubeObject): Resource {
  const spec = objectOf(definition["spec"]);
  const names = objectOf(spec["names"]);
  const versions = objectsOf(spec["versions"]);
  const custom = new Map<string, CustomVersion>();
  for (const version of versions) {
    if (version["served"] !== true) continue;
    custom.set(textOf(version["name"]), {
      schema: objectOf(objectOf(version["schema"])["openAPIV3Schema"]),
      columns: objectsOf(version["additionalPrinterColumns"]).map(printerColumn),
      status: isObject(objectOf(version["subresources"])["status"]),
    });
  }
  const stored = versions.find((version) => version["storage"] === true);
  return {
    group: textOf(spec["group"]),
    version: textOf(stored?.["name"]),
    versions: [...custom.keys()].sort(compareVersions),
    plural: textOf(names["plural"]),
    singular: textOf(names["singular"]),
    kind: textOf(names["kind"]),
    namespaced: spec["scope"] === "Namespaced",
    shortNames: textsOf(names["shortNames"]),
    categories: textsOf(names["categories"]),
    hasStatus: [...custom.values()].some((version) => version.status),
    subresources: [],
    nameRule: "subdomain",
    fields: versions.flatMap((version) =>
      objectsOf(version["selectableFields"]).map((field) => textOf(field["jsonPath"]).replace(/^\./, "")),
    ),
    generation: true,
    stored: true,
    custom,
  };
}

function printerColumn(item: { [field: string]: unknown }): PrinterColumn {
  return {
    name: textOf(item["name"]),
    type: textOf(item["type"]),
    jsonPath: textOf(item["jsonPath"]),
    format: textOf(item["format"]),
    description: textOf(item["description"], textOf(item["name"])),
    priority: numberOf(item["priority"]),
  };
}

function customStrategy(custom: CustomVersion): Strategy {
  const { schema, status } = custom;
  return {
    prepareCreate(object) {
      if (status) delete object["status"];
      prune(object, schema, "", true);
      applyDefaults(object, schema);
    },
    prepareUpdate(object, old) {
      if (status) {
        if (old["status"] === undefined) delete object["status"];
        else object["status"] = clone(old["status"]);
      }
      prune(object, schema, "", true);
      applyDefaults(object, schema);
    },
    validate(object, old) {
      const causes = validate(object, schema, true);
      // Rules may rely on the types that the schema promises.
      return causes.length > 0 ? causes : brokenRules(object, old, schema);
    },
    validateStatus(object, old) {
      prune(object, schema, "", true);
      applyDefaults(object, schema);
      const causes = validate(object, schema, true);
      return causes.length > 0 ? causes : brokenRules(object, old, schema);
    },
  };
}

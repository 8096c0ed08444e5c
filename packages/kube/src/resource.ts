/** Where the API serves a kind, and which of its objects are meant. */

export interface Resource {
  /** Empty for the core group. */
  readonly group: string;
  readonly version: string;
  readonly plural: string;
  readonly kind: string;
  readonly namespaced: boolean;
}

export interface Selection {
  /** Absent: all namespaces. */
  readonly namespace?: string;
  /** In the string form, such as `app=web,tier in (a, b)`. */
  readonly labelSelector?: string;
  /** Such as `spec.nodeName=node-1`. */
  readonly fieldSelector?: string;
}

/**
 * The path of all objects of a kind, or of those in one namespace.
 * @throws TypeError when the caller gives no name that an object can have
 */
export function collectionPath(resource: Resource, namespace?: string): string {
  const root = resource.group === "" ? `/api/${resource.version}` : `/apis/${resource.group}/${resource.version}`;
  const scope = resource.namespaced && namespace !== undefined ? `/namespaces/${segment(resource, namespace)}` : "";
  return `${root}${scope}/${resource.plural}`;
}

/**
 * The path of one object.
 * @throws TypeError when the caller gives no name that an object can have
 */
export function objectPath(
  resource: Resource,
  name: string | undefined,
  namespace?: string,
  subresource?: string,
): string {
  const path = `${namespacePath(resource, namespace)}/${segment(resource, name)}`;
  return subresource === undefined ? path : `${path}/${subresource}`;
}

/**
 * {@link collectionPath} for an object of its own: a namespaced kind needs its namespace.
 * @throws TypeError when the caller gives no name that an object can have
 */
export function namespacePath(resource: Resource, namespace: string | undefined): string {
  if (resource.namespaced && namespace === undefined) {
    throw new TypeError(`a ${resource.kind} lives in a namespace and none is given; give one`);
  }
  return collectionPath(resource, namespace);
}

export function selectionQuery({ labelSelector, fieldSelector }: Selection): Record<string, string> {
  return {
    ...(labelSelector === undefined ? {} : { labelSelector }),
    ...(fieldSelector === undefined ? {} : { fieldSelector }),
  };
}

/** One segment of a path. `.` and `..` would be resolved away, and lead to another resource. */
function segment(resource: Resource, name: string | undefined): string {
  if (name === undefined || name === "" || name === "." || name === ".." || name.includes("/")) {
    throw new TypeError(`${resource.kind}: ${JSON.stringify(name)} is no name of an object`);
  }
  return encodeURIComponent(name);
}

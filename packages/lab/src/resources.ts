/** A kind of object as the API server addresses it. */
export interface Resource {
  /** Empty for the core group. */
  readonly group: string;
  readonly version: string;
  readonly plural: string;
  readonly kind: string;
  readonly namespaced: boolean;
}

export const podResource: Resource = { group: "", version: "v1", plural: "pods", kind: "Pod", namespaced: true };
export const nodeResource: Resource = { group: "", version: "v1", plural: "nodes", kind: "Node", namespaced: false };
export const namespaceResource: Resource = {
  group: "",
  version: "v1",
  plural: "namespaces",
  kind: "Namespace",
  namespaced: false,
};
export const eventResource: Resource = { group: "", version: "v1", plural: "events", kind: "Event", namespaced: true };

/**
 * The columns that `kubectl get` shows, per built-in kind.
 */
import { isObject, listOf, numberOf, objectOf, objectsOf, textOf, textsOf, valueAt, type JsonObject } from "../json.ts";
import type { KubeObject } from "../object.ts";
import { age } from "./duration.ts";
import { podCells, podColumns } from "./pod.ts";

/** meta.k8s.io/v1 TableColumnDefinition. */
export interface Column {
  name: string;
  type: string;
  format: string;
  description: string;
  /** 0: always shown; more: only with `-o wide`. */
  priority: number;
}

/** How a kind is printed: its columns, and the cells of one object. */
export interface Printer {
  columns: Column[];
  cells: (object: KubeObject, now: number) => unknown[];
}

/** A column of text. */
export function column(name: string, options: Partial<Column> = {}): Column {
  return { name, type: "string", format: "", description: name, priority: 0, ...options };
}

const NAME = column("Name", { format: "name" });
const AGE = column("Age");
const wide = { priority: 1 };
const NONE = "<none>";

function ageCell(object: KubeObject, now: number): string {
  return age(object.metadata.creationTimestamp, now);
}

function orNone(items: readonly string[], separator = ","): string {
  return items.length === 0 ? NONE : items.join(separator);
}

/** `a=b,c=d` of a selector's matchLabels and expressions. */
function selectorText(selector: unknown): string {
  if (!isObject(selector)) return NONE;
  const terms = Object.entries(objectOf(selector["matchLabels"])).map(([key, value]) => `${key}=${String(value)}`);
  for (const expression of objectsOf(selector["matchExpressions"])) {
    const key = textOf(expression["key"]);
    const values = textsOf(expression["values"]).join(",");
    const operator = textOf(expression["operator"]);
    if (operator === "Exists") terms.push(key);
    else if (operator === "DoesNotExist") terms.push(`!${key}`);
    else terms.push(`${key} ${operator.toLowerCase()} (${values})`);
  }
  return orNone(terms);
}

function mapText(map: unknown): string {
  return orNone(Object.entries(objectOf(map)).map(([key, value]) => `${key}=${String(value)}`));
}

function containerColumns(object: KubeObject): [string, string] {
  const containers = objectsOf(valueAt(object, ["spec", "template", "spec", "containers"]));
  return [
    containers.map((container) => textOf(container["name"])).join(","),
    containers.map((container) => textOf(container["image"])).join(","),
  ];
}

const containerHeads = [column("Containers", wide), column("Images", wide), column("Selector", wide)];

function workloadTail(object: KubeObject): string[] {
  return [...containerColumns(object), selectorText(valueAt(object, ["spec", "selector"]))];
}

const number = { type: "integer" };

function status(object: KubeObject, field: string): number {
  return numberOf(objectOf(object["status"])[field]);
}

function spec(object: KubeObject): JsonObject {
  return objectOf(object["spec"]);
}

function nodeAddress(node: KubeObject, type: string): string {
  const found = objectsOf(objectOf(node["status"])["addresses"]).find((address) => address["type"] === type);
  return found === undefined ? NONE : textOf(found["address"], NONE);
}

function nodeStatus(node: KubeObject): string {
  const ready = objectsOf(objectOf(node["status"])["conditions"]).find((condition) => condition["type"] === "Ready");
  const words = [ready === undefined ? "Unknown" : ready["status"] === "True" ? "Ready" : "NotReady"];
  if (spec(node)["unschedulable"] === true) words.push("SchedulingDisabled");
  return words.join(",");
}

function nodeRoles(node: KubeObject): string {
  const roles = new Set<string>();
  for (const [key, value] of Object.entries(node.metadata.labels ?? {})) {
    if (key.startsWith("node-role.kubernetes.io/")) roles.add(key.slice("node-role.kubernetes.io/".length));
    else if (key === "kubernetes.io/role" && value !== "") roles.add(value);
  }
  roles.delete("");
  return orNone([...roles].sort());
}

function serviceExternal(service: KubeObject): string {
  const { type } = spec(service);
  const external = textsOf(spec(service)["externalIPs"]);
  if (type === "ExternalName") return textOf(spec(service)["externalName"]);
  if (type !== "LoadBalancer") return orNone(external);
  const ingress = objectsOf(valueAt(service, ["status", "loadBalancer", "ingress"]));
  const addresses = ingress.map((item) => textOf(item["ip"], textOf(item["hostname"])));
  return [...addresses, ...external].length === 0 ? "<pending>" : [...addresses, ...external].join(",");
}

function servicePorts(service: KubeObject): string {
  const ports = objectsOf(spec(service)["ports"]).map((port) => {
    const nodePort = numberOf(port["nodePort"]);
    return `${numberOf(port["port"])}${nodePort > 0 ? `:${nodePort}` : ""}/${textOf(port["protocol"])}`;
  });
  return orNone(ports);
}

function endpointsText(endpoints: KubeObject): string {
  const all: string[] = [];
  for (const subset of objectsOf(endpoints["subsets"])) {
    const ports = objectsOf(subset["ports"]);
    for (const address of objectsOf(subset["addresses"])) {
      const ip = textOf(address["ip"]);
      const host = ip.includes(":") ? `[${ip}]` : ip;
      if (ports.length === 0) all.push(ip);
      for (const port of ports) all.push(`${host}:${numberOf(port["port"])}`);
    }
  }
  return all.length > 3 ? `${all.slice(0, 3).join(",")} + ${all.length - 3} more...` : orNone(all);
}

function eventSource(event: KubeObject): string {
  const component = textOf(valueAt(event, ["source", "component"]), textOf(event["reportingComponent"]));
  const host = textOf(valueAt(event, ["source", "host"]));
  return host === "" ? component : `${component}, ${host}`;
}

function eventTime(event: KubeObject, field: string): unknown {
  return event[field] ?? event["eventTime"];
}

function sliceEndpoints(slice: KubeObject): string {
  const all = objectsOf(slice["endpoints"]).flatMap((endpoint) => textsOf(endpoint["addresses"]));
  return all.length > 3
    ? `${all.slice(0, 3).join(",")} + ${all.length - 3} more...`
    : all.length === 0
      ? "<unset>"
      : all.join(",");
}

function slicePorts(slice: KubeObject): string {
  const all = objectsOf(slice["ports"]).map((port) =>
    port["port"] === undefined ? "*" : String(numberOf(port["port"])),
  );
  return all.length === 0 ? "<unset>" : all.slice(0, 3).join(",");
}

function keyCount(object: KubeObject, ...fields: string[]): number {
  return fields.reduce((sum, field) => sum + Object.keys(objectOf(object[field])).length, 0);
}

/** Printers by resource key. Resources that are not listed show name and age. */
export const printers: ReadonlyMap<string, Printer> = new Map<string, Printer>([
  ["pods", { columns: podColumns, cells: podCells }],
  [
    "nodes",
    {
      columns: [
        NAME,
        column("Status"),
        column("Roles"),
        AGE,
        column("Version"),
        column("Internal-IP", wide),
        column("External-IP", wide),
        column("OS-Image", wide),
        column("Kernel-Version", wide),
        column("Container-Runtime", wide),
      ],
      cells: (node, now) => {
        const info = objectOf(objectOf(node["status"])["nodeInfo"]);
        return [
          node.metadata.name,
          nodeStatus(node),
          nodeRoles(node),
          ageCell(node, now),
          textOf(info["kubeletVersion"]),
          nodeAddress(node, "InternalIP"),
          nodeAddress(node, "ExternalIP"),
          textOf(info["osImage"]) || "<unknown>",
          textOf(info["kernelVersion"]) || "<unknown>",
          textOf(info["containerRuntimeVersion"]) || "<unknown>",
        ];
      },
    },
  ],
  [
    "namespaces",
    {
      columns: [NAME, column("Status"), AGE],
      cells: (item, now) => [item.metadata.name, textOf(objectOf(item["status"])["phase"]), ageCell(item, now)],
    },
  ],
  [
    "events",
    {
      columns: [
        column("Last Seen"),
        column("Type"),
        column("Reason"),
        column("Object"),
        column("Subobject", wide),
        column("Source", wide),
        column("Message"),
        column("First Seen", wide),
        column("Count", wide),
        column("Name", { format: "name", priority: 1 }),
      ],
      cells: (event, now) => {
        const about = objectOf(event["involvedObject"]);
        return [
          age(eventTime(event, "lastTimestamp"), now),
          textOf(event["type"]),
          textOf(event["reason"]),
          `${textOf(about["kind"]).toLowerCase()}/${textOf(about["name"])}`,
          textOf(about["fieldPath"]),
          eventSource(event),
          textOf(event["message"]).trim(),
          age(eventTime(event, "firstTimestamp"), now),
          Math.max(numberOf(event["count"]), 1),
          event.metadata.name,
        ];
      },
    },
  ],
  [
    "services",
    {
      columns: [
        NAME,
        column("Type"),
        column("Cluster-IP"),
        column("External-IP"),
        column("Port(s)"),
        AGE,
        column("Selector", wide),
      ],
      cells: (service, now) => [
        service.metadata.name,
        textOf(spec(service)["type"]),
        textOf(spec(service)["clusterIP"], NONE),
        serviceExternal(service),
        servicePorts(service),
        ageCell(service, now),
        mapText(spec(service)["selector"]),
      ],
    },
  ],
  [
    "endpoints",
    {
      columns: [NAME, column("Endpoints"), AGE],
      cells: (item, now) => [item.metadata.name, endpointsText(item), ageCell(item, now)],
    },
  ],
  [
    "endpointslices.discovery.k8s.io",
    {
      columns: [NAME, column("AddressType"), column("Ports"), column("Endpoints"), AGE],
      cells: (slice, now) => [
        slice.metadata.name,
        textOf(slice["addressType"]),
        slicePorts(slice),
        sliceEndpoints(slice),
        ageCell(slice, now),
      ],
    },
  ],
  [
    "configmaps",
    {
      columns: [NAME, column("Data"), AGE],
      cells: (item, now) => [item.metadata.name, keyCount(item, "data", "binaryData"), ageCell(item, now)],
    },
  ],
  [
    "secrets",
    {
      columns: [NAME, column("Type"), column("Data"), AGE],
      cells: (item, now) => [item.metadata.name, textOf(item["type"]), keyCount(item, "data"), ageCell(item, now)],
    },
  ],
  [
    "serviceaccounts",
    {
      columns: [NAME, column("Secrets"), AGE],
      cells: (item, now) => [item.metadata.name, listOf(item["secrets"]).length, ageCell(item, now)],
    },
  ],
  [
    "leases.coordination.k8s.io",
    {
      columns: [NAME, column("Holder"), AGE],
      cells: (item, now) => [item.metadata.name, textOf(spec(item)["holderIdentity"]), ageCell(item, now)],
    },
  ],
  [
    "networkpolicies.networking.k8s.io",
    {
      columns: [NAME, column("Pod-Selector"), AGE],
      cells: (item, now) => [item.metadata.name, selectorText(spec(item)["podSelector"]), ageCell(item, now)],
    },
  ],
  [
    "customresourcedefinitions.apiextensions.k8s.io",
    {
      columns: [NAME, column("Created At", { type: "date" })],
      cells: (item) => [item.metadata.name, item.metadata.creationTimestamp],
    },
  ],
  [
    "priorityclasses.scheduling.k8s.io",
    {
      columns: [NAME, column("Value", number), column("Global-Default", { type: "boolean" }), AGE],
      cells: (item, now) => [
        item.metadata.name,
        numberOf(item["value"]),
        item["globalDefault"] === true,
        ageCell(item, now),
      ],
    },
  ],
  [
    "deployments.apps",
    {
      columns: [NAME, column("Ready"), column("Up-to-date"), column("Available"), AGE, ...containerHeads],
      cells: (item, now) => [
        item.metadata.name,
        `${status(item, "readyReplicas")}/${numberOf(spec(item)["replicas"])}`,
        status(item, "updatedReplicas"),
        status(item, "availableReplicas"),
        ageCell(item, now),
        ...workloadTail(item),
      ],
    },
  ],
  [
    "replicasets.apps",
    {
      columns: [NAME, column("Desired"), column("Current"), column("Ready"), AGE, ...containerHeads],
      cells: (item, now) => [
        item.metadata.name,
        numberOf(spec(item)["replicas"]),
        status(item, "replicas"),
        status(item, "readyReplicas"),
        ageCell(item, now),
        ...workloadTail(item),
      ],
    },
  ],
  [
    "statefulsets.apps",
    {
      columns: [NAME, column("Ready"), AGE, column("Containers", wide), column("Images", wide)],
      cells: (item, now) => [
        item.metadata.name,
        `${status(item, "readyReplicas")}/${numberOf(spec(item)["replicas"])}`,
        ageCell(item, now),
        ...containerColumns(item),
      ],
    },
  ],
  [
    "daemonsets.apps",
    {
      columns: [
        NAME,
        column("Desired"),
        column("Current"),
        column("Ready"),
        column("Up-to-date"),
        column("Available"),
        column("Node Selector"),
        AGE,
        ...containerHeads,
      ],
      cells: (item, now) => [
        item.metadata.name,
        status(item, "desiredNumberScheduled"),
        status(item, "currentNumberScheduled"),
        status(item, "numberReady"),
        status(item, "updatedNumberScheduled"),
        status(item, "numberAvailable"),
        mapText(valueAt(item, ["spec", "template", "spec", "nodeSelector"])),
        ageCell(item, now),
        ...workloadTail(item),
      ],
    },
  ],
  [
    "rolebindings.rbac.authorization.k8s.io",
    {
      columns: [NAME, column("Role"), AGE],
      cells: (item, now) => [item.metadata.name, roleText(item), ageCell(item, now)],
    },
  ],
  [
    "clusterrolebindings.rbac.authorization.k8s.io",
    {
      columns: [NAME, column("Role"), AGE],
      cells: (item, now) => [item.metadata.name, roleText(item), ageCell(item, now)],
    },
  ],
  ["roles.rbac.authorization.k8s.io", createdAt()],
  ["clusterroles.rbac.authorization.k8s.io", createdAt()],
]);

function createdAt(): Printer {
  return {
    columns: [NAME, column("Created At")],
    cells: (item) => [item.metadata.name, item.metadata.creationTimestamp],
  };
}

function roleText(binding: KubeObject): string {
  const role = objectOf(binding["roleRef"]);
  return `${textOf(role["kind"])}/${textOf(role["name"])}`;
}

/** Name and age. */
export const defaultPrinter: Printer = {
  columns: [NAME, AGE],
  cells: (item, now) => [item.metadata.name, ageCell(item, now)],
};

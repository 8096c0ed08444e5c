/**
 * The recorded state of a cluster of any size: nodes, address blocks, namespaces and running pods as a real API server
 * would hold them, with everything that makes a pod object several KB large. Deterministic: the same size gives the
 * same objects.
 */
import { createHash } from "node:crypto";

/** A Kubernetes object that is written through the API; `status` goes to the status subresource. */
export interface Manifest {
  readonly apiVersion: string;
  readonly kind: string;
  readonly metadata: Readonly<Record<string, unknown>> & { readonly name: string; readonly namespace?: string };
  readonly spec?: object;
  readonly status?: object;
}

/** How large, and where it begins. */
export interface ClusterSize {
  readonly pods: number;
  readonly podsPerNode: number;
}

/** The subnet that all pods live in. */
export const CLUSTER_CIDRS = ["10.244.0.0/16", "fd00:244::/64"] as const;

const BLOCK = 64;
/** Blocks below are left to the nodes that really run. */
const FIRST_BLOCK = 32;
export const NAMESPACES = 25;
const CREATED = "2026-01-01T00:00:00Z";

/** Number of nodes that a cluster of this size has, the real ones not counted. */
export function nodeCount(size: ClusterSize): number {
  return Math.ceil(size.pods / size.podsPerNode);
}

function uid(seed: string): string {
  const digits = createHash("sha256").update(seed).digest("hex");
  return [
    digits.slice(0, 8),
    digits.slice(8, 12),
    digits.slice(12, 16),
    digits.slice(16, 20),
    digits.slice(20, 32),
  ].join("-");
}

/** Addresses of recorded pod number `at`, IPv4 and IPv6. */
export function recordedAddresses(at: number, podsPerNode: number): [string, string] {
  return addressesAt((FIRST_BLOCK + Math.floor(at / podsPerNode)) * BLOCK + 2 + (at % podsPerNode));
}

/** Addresses of an offset into the subnet, IPv4 and IPv6. */
function addressesAt(offset: number): [string, string] {
  return [`10.244.${offset >> 8}.${offset & 255}`, `fd00:244::${offset.toString(16)}`];
}

function blockNames(offset: number): { cidr: string; name: string }[] {
  const [ipv4] = addressesAt(offset);
  const last = offset.toString(16).padStart(4, "0");
  return [
    { cidr: `${ipv4}/26`, name: `${ipv4.replaceAll(".", "-")}-26` },
    { cidr: `fd00:244::${offset.toString(16)}/122`, name: `fd00-0244-0000-0000-0000-0000-0000-${last}-122` },
  ];
}

/** What exists before any node: the network, its subnet and the namespaces. */
export function clusterFoundation(): Manifest[] {
  const api = "beyondfabric.io/v1alpha1";
  const namespaces = Array.from({ length: NAMESPACES }, (_, at): Manifest => {
    const labels = { "kubernetes.io/metadata.name": namespaceName(at), team: `team-${at % 5}` };
    return { apiVersion: "v1", kind: "Namespace", metadata: { name: namespaceName(at), labels } };
  });
  return [
    {
      apiVersion: api,
      kind: "Network",
      metadata: { name: "overlay" },
      spec: { type: "Overlay", encapsulation: "VXLAN" },
    },
    {
      apiVersion: api,
      kind: "Subnet",
      metadata: { name: "default" },
      spec: {
        network: "overlay",
        cidrs: [...CLUSTER_CIDRS],
        default: true,
        // Running agents claim from here, so that what they draw is never a block of the recorded cluster.
        ranges: ["10.244.192.0-10.244.255.255", "fd00:244::ff00:0:0-fd00:244::ff00:ffff:ffff"],
      },
    },
    ...namespaces,
  ];
}

/** Namespace number `at`; numbers wrap. */
export function namespaceName(at: number): string {
  return `bench-${at % NAMESPACES}`;
}

function nodeName(at: number): string {
  return `recorded-${at}`;
}

/** One recorded node and the blocks that it owns. The API server gives the node its UID: whoever writes adds it to the blocks. */
export function recordedNode(at: number): Manifest[] {
  const name = nodeName(at);
  const offset = (FIRST_BLOCK + at) * BLOCK;
  const address = `10.10.${8 + (at >> 8)}.${at & 255}`;
  const [gateway4, gateway6] = addressesAt(offset + 1);
  const node: Manifest = {
    apiVersion: "v1",
    kind: "Node",
    metadata: {
      name,
      labels: { "kubernetes.io/hostname": name, "kubernetes.io/os": "linux" },
      annotations: {
        "beyondfabric.io/tunnel-address": address,
        "beyondfabric.io/gateway-addresses": `${gateway4},${gateway6}`,
      },
    },
    spec: {},
    status: {
      addresses: [
        { type: "InternalIP", address },
        { type: "Hostname", address: name },
      ],
      conditions: [{ type: "Ready", status: "True", reason: "KubeletReady", lastTransitionTime: CREATED }],
    },
  };
  const blocks = blockNames(offset).map((block): Manifest => ({
    apiVersion: "beyondfabric.io/v1alpha1",
    kind: "AddressBlock",
    metadata: { name: block.name },
    spec: { subnet: "default", cidr: block.cidr, node: name },
  }));
  return [node, ...blocks];
}

/** Recorded pod number `at` of a cluster with `podsPerNode` pods a node (at most 60). */
export function recordedPod(at: number, podsPerNode: number): Manifest {
  const node = Math.floor(at / podsPerNode);
  const [ipv4, ipv6] = recordedAddresses(at, podsPerNode);
  const app = `service-${Math.floor(at / 10)}`;
  const name = `${app}-${uid(app).slice(0, 8)}-${uid(`pod ${at}`).slice(0, 5)}`;
  const condition = (type: string) => ({ type, status: "True", lastProbeTime: null, lastTransitionTime: CREATED });
  const environment = Array.from({ length: 12 }, (_, variable) => ({
    name: `SETTING_${variable}`,
    value: `value-${variable}-of-${app}`,
  }));
  const token = {
    name: "kube-api-access-x7k2p",
    mountPath: "/var/run/secrets/kubernetes.io/serviceaccount",
    readOnly: true,
  };
  return {
    apiVersion: "v1",
    kind: "Pod",
    metadata: {
      name,
      namespace: namespaceName(Math.floor(at / 10)),
      labels: { app, "pod-template-hash": uid(app).slice(0, 8), tier: at % 3 === 0 ? "front" : "back" },
      annotations: {
        "kubernetes.io/config.seen": CREATED,
        "prometheus.io/scrape": "true",
        "prometheus.io/port": "9090",
        "checksum/config": createHash("sha256").update(app).digest("hex"),
      },
      ownerReferences: [
        {
          apiVersion: "apps/v1",
          kind: "ReplicaSet",
          name: `${app}-${uid(app).slice(0, 8)}`,
          uid: uid(`replica set ${app}`),
          controller: true,
          blockOwnerDeletion: true,
        },
      ],
    },
    spec: {
      nodeName: nodeName(node),
      serviceAccountName: "default",
      schedulerName: "default-scheduler",
      restartPolicy: "Always",
      dnsPolicy: "ClusterFirst",
      terminationGracePeriodSeconds: 30,
      securityContext: { runAsNonRoot: true, runAsUser: 1000, fsGroup: 1000 },
      tolerations: ["not-ready", "unreachable"].map((taint) => ({
        key: `node.kubernetes.io/${taint}`,
        operator: "Exists",
        effect: "NoExecute",
        tolerationSeconds: 300,
      })),
      volumes: [
        { name: "config", configMap: { name: `${app}-config`, defaultMode: 420 } },
        { name: token.name, emptyDir: {} },
      ],
      containers: ["main", "sidecar"].map((container) => ({
        name: container,
        image: `registry.example/${app}/${container}:1.2.${at % 10}`,
        imagePullPolicy: "IfNotPresent",
        env: environment,
        ports: [{ name: "http", containerPort: container === "main" ? 8080 : 9090, protocol: "TCP" }],
        resources: { requests: { cpu: "100m", memory: "128Mi" }, limits: { cpu: "500m", memory: "256Mi" } },
        volumeMounts: [{ name: "config", mountPath: "/etc/config" }, token],
        readinessProbe: {
          httpGet: { path: "/ready", port: 8080, scheme: "HTTP" },
          periodSeconds: 10,
          timeoutSeconds: 1,
        },
        livenessProbe: { httpGet: { path: "/live", port: 8080, scheme: "HTTP" }, periodSeconds: 10, timeoutSeconds: 1 },
        terminationMessagePath: "/dev/termination-log",
        terminationMessagePolicy: "File",
      })),
    },
    status: {
      phase: "Running",
      qosClass: "Burstable",
      startTime: CREATED,
      hostIP: `10.10.${8 + (node >> 8)}.${node & 255}`,
      podIP: ipv4,
      podIPs: [{ ip: ipv4 }, { ip: ipv6 }],
      conditions: ["Initialized", "Ready", "ContainersReady", "PodScheduled"].map(condition),
      containerStatuses: ["main", "sidecar"].map((container) => ({
        name: container,
        image: `registry.example/${app}/${container}:1.2.${at % 10}`,
        imageID: `sha256:${createHash("sha256").update(container).digest("hex")}`,
        containerID: `containerd://${createHash("sha256").update(`${at} ${container}`).digest("hex")}`,
        ready: true,
        started: true,
        restartCount: 0,
        state: { running: { startedAt: CREATED } },
        lastState: {},
      })),
    },
  };
}

/** The manifests that take a cluster from `from` pods to `size.pods`: new nodes with their blocks, then new pods. */
export function* clusterGrowth(from: number, size: ClusterSize): Generator<Manifest, void, void> {
  for (let node = Math.ceil(from / size.podsPerNode); node < nodeCount(size); node++) yield* recordedNode(node);
  for (let pod = from; pod < size.pods; pod++) yield recordedPod(pod, size.podsPerNode);
}

/** What `GET /status` of a supervisor answers. */
export interface LabStatus {
  readonly name: string;
  readonly controlPlane: string;
  readonly kubeconfig: string;
  readonly directory: string;
  readonly components: readonly ComponentStatus[];
  readonly nodes: readonly {
    readonly name: string;
    readonly ready: boolean;
    readonly problem?: string;
    readonly namespace: string;
    readonly management: readonly string[];
    readonly business: readonly string[];
    readonly pods: number;
    readonly components: readonly ComponentStatus[];
  }[];
  readonly hosts: readonly {
    readonly name: string;
    readonly namespace: string;
    readonly addresses: readonly string[];
    /** Absent: untagged, or the router, which is on all of them. */
    readonly vlan?: number;
  }[];
}

/** One process of a lab; `exits` counts how often it ended without being asked to. */
export interface ComponentStatus {
  readonly name: string;
  readonly state: "running" | "stopped" | "backoff";
  readonly pid: number | null;
  readonly exits: number;
}

/** The status as people read it. */
export function formatStatus(status: LabStatus): string {
  const lines = [
    `lab ${status.name}: ${status.controlPlane} control plane, kubeconfig ${status.kubeconfig}`,
    componentLine(status.components),
  ];
  for (const node of status.nodes) {
    lines.push(
      `${node.name}  ${node.ready ? "ready" : `NOT READY: ${node.problem ?? ""}`}  ${node.pods} pods  ${[...node.management, ...node.business].join(" ")}`,
    );
    lines.push(componentLine(node.components));
  }
  for (const { name, vlan, addresses } of status.hosts) {
    lines.push(`${name}  outside the cluster${vlan === undefined ? "" : `, VLAN ${vlan}`}  ${addresses.join(" ")}`);
  }
  return lines.join("\n");
}

function componentLine(components: readonly ComponentStatus[]): string {
  return `  ${components.map((item) => `${item.name}: ${item.state}${item.pid === null ? "" : ` ${item.pid}`}${item.exits === 0 ? "" : ` (ended ${item.exits} times)`}`).join(", ")}`;
}

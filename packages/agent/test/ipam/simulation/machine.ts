/** A machine: what outlives its agent. Its database, its containers, its kubelet. */
import type { Ip } from "@beyondfabric/packet";
import type { AddressMemory } from "../../../src/ipam/own-blocks.ts";
import type { PodObject } from "./simulated-api.ts";

/** An interface with its addresses: from here on until it goes, the pod uses them. */
export interface Port {
  readonly pod: PodObject;
  readonly addresses: readonly Ip[];
  readonly isClaimed: boolean;
  readonly created: number;
  /** The Node that the agent lived by when it made it. */
  readonly nodeUid: string;
}

/** What the kubelet knows of a pod that it has begun with. */
export interface Container {
  readonly pod: PodObject;
  state: "starting" | "running" | "ending";
}

export class Machine {
  readonly name: string;
  isOn = true;
  isConnected = true;
  /** What OVSDB holds. */
  memory: (AddressMemory & { readonly nodeUid: string }) | undefined;
  readonly ports = new Map<string, Port>();
  readonly containers = new Map<string, Container>();

  constructor(name: string) {
    this.name = name;
  }

  /** Power is cut: what ran is gone; what was on the disk may be gone too. */
  cutPower(isDiskLost: boolean): void {
    this.isOn = false;
    this.containers.clear();
    this.ports.clear();
    if (isDiskLost) this.memory = undefined;
  }
}

/**
 * Reads what an audit of addresses looks at: claims with their history and blocks with what their owners published, which no
 * watch keeps, and pods, from the API server and not from a cache. Page by page, each made small before the next is read.
 */
import { isNotFound, podResource, type KubeClient, type RequestOptions } from "@beyondfabric/kube";
import {
  addressBlockKind,
  ipAddressKind,
  ipAddressName,
  parseAddressBlock,
  parseAddressBlockStatus,
  parseIpAddress,
  SUBNET_LABEL,
  subnetLabel,
  type AddressBlock,
  type IpAddressRecord,
  type Subnet,
} from "@beyondfabric/kube/kinds";
import type { Ip } from "@beyondfabric/packet";
import type { AuditBlock, AuditPod } from "../ipam/audit.ts";
import type { UnreadableObject } from "../ipam/audit-findings.ts";
import { auditPodRecord } from "./records.ts";

/** What breaks its rules is told beside what can be read. */
export interface AddressObjects {
  readonly claims: readonly IpAddressRecord[];
  readonly blocks: readonly AuditBlock[];
  readonly unreadable: readonly UnreadableObject[];
}

export interface AddressFactReaderOptions {
  readonly client: KubeClient;
  /** Blocks that could contain an address, read from the API server. */
  readonly blocksAround: (subnet: Subnet, address: Ip) => Promise<readonly AddressBlock[]>;
}

/** Small pages: parsing one keeps the agent from everything else. */
const pageSize = 100;
const patience: RequestOptions = { timeout: 15_000 };

export class AddressFactReader {
  readonly #options: AddressFactReaderOptions;

  constructor(options: AddressFactReaderOptions) {
    this.#options = options;
  }

  /** Every claim and block, of one subnet if it is given. */
  async objects(subnet?: string): Promise<AddressObjects> {
    const { client } = this.#options;
    const unreadable: UnreadableObject[] = [];
    const ofSubnet = subnet === undefined ? {} : { labelSelector: `${SUBNET_LABEL}=${subnetLabel(subnet)}` };
    const claim = (raw: unknown): IpAddressRecord | undefined => {
      const parsed = parseIpAddress(raw);
      if (!parsed.ok) unreadable.push({ violations: parsed.violations });
      return parsed.ok ? parsed.value : undefined;
    };
    const block = (raw: unknown): AuditBlock | undefined => {
      const parsed = parseAddressBlock(raw);
      if (!parsed.ok) unreadable.push({ violations: parsed.violations });
      if (!parsed.ok || (subnet !== undefined && parsed.value.subnet !== subnet)) return undefined;
      return { block: parsed.value, status: parseAddressBlockStatus(raw) };
    };
    const { records: claims } = await client.listAll(ipAddressKind, claim, { ...ofSubnet, pageSize }, patience);
    const { records: blocks } = await client.listAll(addressBlockKind, block, { pageSize }, patience);
    return { claims, blocks, unreadable };
  }

  /** What there is about one address. */
  async about(address: Ip, subnet: Subnet | undefined): Promise<AddressObjects> {
    const { client, blocksAround } = this.#options;
    const unreadable: UnreadableObject[] = [];
    const raw = await orAbsent(client.get(ipAddressKind, ipAddressName(address), undefined, patience));
    const claim = raw === undefined ? undefined : parseIpAddress(raw);
    if (claim?.ok === false) unreadable.push({ violations: claim.violations });
    const around = subnet === undefined ? [] : await blocksAround(subnet, address);
    const blocks: AuditBlock[] = [];
    for (const { name } of around) {
      const raw = await orAbsent(client.get(addressBlockKind, name, undefined, patience));
      const parsed = raw === undefined ? undefined : parseAddressBlock(raw);
      if (parsed?.ok === true) blocks.push({ block: parsed.value, status: parseAddressBlockStatus(raw) });
    }
    return { claims: claim?.ok === true ? [claim.value] : [], blocks, unreadable };
  }

  /** Every pod that has, or is to get, addresses of its own. */
  async pods(): Promise<AuditPod[]> {
    return (await this.#options.client.listAll(podResource, auditPodRecord, { pageSize }, patience)).records;
  }
}

async function orAbsent(request: Promise<unknown>): Promise<unknown> {
  try {
    return await request;
  } catch (error) {
    if (isNotFound(error)) return undefined;
    throw error;
  }
}

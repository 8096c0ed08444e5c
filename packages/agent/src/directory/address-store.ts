/**
 * Claims in the Kubernetes API: creating is claiming, and every other write names the version that was judged. All reads ask
 * the API server and no cache.
 */
import {
  isAlreadyExists,
  isConflict,
  isNotFound,
  Semaphore,
  type KubeClient,
  type RequestOptions,
} from "@beyondfabric/kube";
import {
  formatViolation,
  ipAddressKind,
  ipAddressManifest,
  ipAddressName,
  ipAddressPatch,
  OWNER_LABEL,
  parseIpAddress,
  SUBNET_LABEL,
  subnetLabel,
  type AddressClaim,
  type IpAddressRecord,
} from "@beyondfabric/kube/kinds";
import { cidrContains, cidrSize, ipFromBigInt, ipToBigInt, type Cidr, type Ip } from "@beyondfabric/packet";
import { AgentError } from "../errors.ts";

/** With more claims in a subnet than fit into a page, a block of at most so many addresses is read one by one. */
const mostSingleReads = 128n;
const pageSize = 500;
/** Labels are no index: for each list the API server reads all claims of the cluster. */
const listsAtOnce = 3;
/** How long one may take (ms). */
const listMilliseconds = 20_000;

/** Each call throws what the API server says, except for what its result tells. */
export class AddressStore {
  readonly #client: KubeClient;
  readonly #options: RequestOptions;
  readonly #lists = new Semaphore(listsAtOnce);

  /** @param options for every request */
  constructor(client: KubeClient, options: RequestOptions = {}) {
    this.#client = client;
    this.#options = options;
  }

  /** Undefined when the address has an object already. */
  async create(claim: AddressClaim): Promise<IpAddressRecord | undefined> {
    try {
      return read(await this.#client.create(ipAddressKind, ipAddressManifest(claim), this.#options));
    } catch (error) {
      if (isAlreadyExists(error)) return undefined;
      throw error;
    }
  }

  async get(address: Ip): Promise<IpAddressRecord | undefined> {
    try {
      return read(await this.#client.get(ipAddressKind, ipAddressName(address), undefined, this.#options));
    } catch (error) {
      if (isNotFound(error)) return undefined;
      throw error;
    }
  }

  /** Writes the record if it is still the version that it was; undefined when it is not, or is gone. */
  async update(record: IpAddressRecord): Promise<IpAddressRecord | undefined> {
    try {
      const name = ipAddressName(record.address);
      return read(await this.#client.patch(ipAddressKind, name, ipAddressPatch(record), this.#options));
    } catch (error) {
      if (isNotFound(error) || isConflict(error)) return undefined;
      throw error;
    }
  }

  /** Whether this call removed it: it does only if the record is still the version that it was. */
  async delete({ address, uid, resourceVersion }: IpAddressRecord): Promise<boolean> {
    try {
      const preconditions = { uid, resourceVersion };
      await this.#client.delete(ipAddressKind, ipAddressName(address), { ...this.#options, preconditions });
      return true;
    } catch (error) {
      if (isNotFound(error) || isConflict(error)) return false;
      throw error;
    }
  }

  /** Claims of an owner, by the digest that they carry as a label. */
  async listOwner(ownerDigest: string): Promise<IpAddressRecord[]> {
    const selection = { labelSelector: `${OWNER_LABEL}=${ownerDigest}` };
    return await this.#listAll(selection);
  }

  /** Claims of a subnet. */
  async listSubnet(subnet: string): Promise<IpAddressRecord[]> {
    return await this.#listAll(ofSubnet(subnet));
  }

  async #listAll(selection: { readonly labelSelector: string }): Promise<IpAddressRecord[]> {
    const options = { ...this.#options, timeout: listMilliseconds };
    return await this.#lists.run(async () => {
      const { records } = await this.#client.listAll(ipAddressKind, readable, selection, options);
      return records;
    });
  }

  /** Claims inside a prefix of a subnet. */
  async listInside(cidr: Cidr, subnet: string): Promise<IpAddressRecord[]> {
    const page = await this.#client.list(ipAddressKind, { ...ofSubnet(subnet), limit: pageSize }, this.#options);
    const isComplete = (page.metadata?.continue ?? "") === "";
    if (!isComplete && cidrSize(cidr) <= mostSingleReads) return this.#readEach(cidr);
    const records = isComplete
      ? (page.items ?? []).map(readable).filter((record) => record !== undefined)
      : await this.listSubnet(subnet);
    return records.filter(({ address }) => cidrContains(cidr, address));
  }

  async #readEach(cidr: Cidr): Promise<IpAddressRecord[]> {
    const first = ipToBigInt(cidr.address);
    const addresses = Array.from({ length: Number(cidrSize(cidr)) }, (_, index) =>
      ipFromBigInt(first + BigInt(index), cidr.family),
    );
    const found = await Promise.all(addresses.map((address) => this.get(address)));
    return found.filter((record) => record !== undefined);
  }
}

function ofSubnet(subnet: string): { labelSelector: string } {
  return { labelSelector: `${SUBNET_LABEL}=${subnetLabel(subnet)}` };
}

/** Undefined for an object that breaks rules: the watch says so on the object. */
function readable(raw: unknown): IpAddressRecord | undefined {
  const parsed = parseIpAddress(raw);
  return parsed.ok ? parsed.value : undefined;
}

/** An object that somebody else wrote and that breaks rules holds its address all the same: nobody may claim it. */
function read(raw: unknown): IpAddressRecord {
  const parsed = parseIpAddress(raw);
  if (parsed.ok) return parsed.value;
  throw new AgentError("AGENT_API_REQUEST", parsed.violations.map(formatViolation).join("; "));
}

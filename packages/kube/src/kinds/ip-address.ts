/**
 * IPAddress: one claimed address; creating the object is the claim. It has no status subresource: holder, grant and
 * history change in one compare-and-swap, or whoever held the address in between would be missing from the history.
 */
import { hash } from "node:crypto";
import { cidrContains, formatCidr, ipToObjectName, parseCidr, parseIp } from "@beyondfabric/packet";
import type { Cidr, Ip, Mac } from "@beyondfabric/packet";
import { z } from "zod";
import { API_GROUP, API_VERSION, attempt, celRules, defineKind, immutable, objectName } from "./kind.ts";
import { parseObject, wide } from "./kind.ts";
import type { Identity, Offend, Parsed } from "./kind.ts";
import { ruled } from "./rules.ts";
import { formatTimestamp, parseTimestamp, timestamp } from "./timestamp.ts";

/** Label with the name of the subnet, for lists of one subnet's addresses. */
export const SUBNET_LABEL = `${API_GROUP}/subnet`;
/** Label with the {@link ownerDigest}, for consistent lists of one owner's addresses. */
export const OWNER_LABEL = `${API_GROUP}/owner`;

/** What an object keeps of earlier holders; the oldest go first. */
export const MAX_HISTORY = 32;

const LEAVE = "leave claims to the agents; to free the address, delete the object";

function text(description: string, most: number, least = 1) {
  return ruled(
    z.string().min(least).max(most).describe(description),
    `must be text of ${least} to ${most} characters`,
    LEAVE,
  );
}

const mac = ruled(
  z
    .string()
    .max(17)
    .regex(/^[0-9a-f]{2}(:[0-9a-f]{2}){5}$/)
    .describe("MAC address of the pod's interface."),
  "must be six lower-case hex pairs joined by ':'",
  LEAVE,
);

// Texts that may be empty have no default: Kubernetes 1.20 takes a default of "" for null, and refuses the definition.
const ownerSchema = ruled(
  z
    .object({
      apiVersion: text("apiVersion of the owner.", 317),
      kind: text("Kind of the owner, such as StatefulSet.", 63),
      namespace: objectName("Namespace of the owner."),
      name: objectName("Name of the owner."),
      uid: text("UID of the owner, empty when it is not known.", 128, 0).optional(),
      slot: text(
        "Name of the pod, when each pod of the owner keeps an address of its own (StatefulSet); empty when pods follow one another.",
        253,
        0,
      ).optional(),
    })
    .describe("Whose identity the address is. Absent: nobody's."),
  "must be {apiVersion, kind, namespace, name, uid, slot}",
  LEAVE,
);

const holderShape = {
  namespace: objectName("Namespace of the pod."),
  pod: objectName("Name of the pod."),
  podUid: text("UID of the pod.", 128),
  node: objectName("Node that the pod is on."),
};

const holderSchema = ruled(
  z
    .object({ ...holderShape, nodeUid: text("UID of that Node.", 128), mac })
    .describe("The pod that has the address. Absent: none."),
  "must be {namespace, pod, podUid, node, nodeUid, mac}",
  LEAVE,
);

const specSchema = ruled(
  celRules(
    z.object({
      address: ruled(
        z
          .string()
          .max(45)
          .regex(/^[0-9a-f.:]+$/)
          .describe("The address in canonical text (IPv6: RFC 5952). The object is named after it."),
        "must be an address in canonical text",
        "write for example 10.0.0.5 or fd00::5",
      ),
      subnet: objectName("The Subnet that the address belongs to."),
      pool: objectName("The IPPool that it was drawn from. Absent: none.").optional(),
      retention: ruled(
        z
          .enum(["Fixed", "Sticky", "Pool"])
          .describe(
            "What becomes of the address when its pod goes: Fixed and Sticky stay with their owner, Pool is free for anybody.",
          ),
        "must be Fixed, Sticky or Pool",
        "choose one of the three",
      ),
      owner: ownerSchema.optional(),
      holder: holderSchema.optional(),
    }),
    ...immutable("address", "subnet"),
    {
      rule: "isIP(self.address) && string(ip(self.address)) == self.address",
      message: "address must be in canonical text, such as 10.0.0.5 or fd00::5",
      since: "1.31",
    },
  ),
  "must be the claim's specification",
  LEAVE,
);

const statusSchema = ruled(
  z.object({
    phase: ruled(
      z
        .enum(["Pending", "Bound", "Retained", "Released"])
        .describe(
          "Pending: held, and the owner of the block around it has not granted it yet. Bound: a pod uses it. Retained: kept for its owner. Released: free for anybody.",
        ),
      "must be Pending, Bound, Retained or Released",
      LEAVE,
    ),
    since: timestamp("Since when the phase holds."),
    grant: ruled(
      z
        .object({
          block: text("CIDR of the AddressBlock around the address.", 43),
          nodeUid: text("UID of the Node that owns that block.", 128),
        })
        .describe("The promise of a block's owner not to hand the address out."),
      "must be {block, nodeUid}",
      LEAVE,
    ).optional(),
    refusal: ruled(
      z
        .object({ nodeUid: text("UID of the Node that refuses.", 128), message: text("Why.", 1024) })
        .describe("Why a block's owner does not grant the address."),
      "must be {nodeUid, message}",
      LEAVE,
    ).optional(),
    reclaimAt: timestamp(
      "When a retained address becomes free, because its owner is gone or too small for it.",
    ).optional(),
    history: ruled(
      z
        .array(
          z.object({
            ...holderShape,
            mac,
            from: timestamp("When the pod got the address."),
            until: timestamp("When it lost it."),
            reason: text("Why it lost it.", 256),
          }),
        )
        .max(MAX_HISTORY)
        .describe("Earlier holders, newest last."),
      `must be a list of at most ${MAX_HISTORY} earlier holders`,
      LEAVE,
    ).default([]),
  }),
  "must be the claim's status",
  LEAVE,
);

export const ipAddressKind = defineKind({
  plural: "ipaddresses",
  kind: "IPAddress",
  shortNames: ["bfip"],
  description:
    "One claimed address: who holds it, whose identity it is, who had it before. Creating the object is the claim.",
  spec: specSchema,
  status: statusSchema,
  hasStatusSubresource: false,
  rules: [
    {
      rule: "self.spec.address.contains(':') || self.metadata.name == self.spec.address.replace('.', '-')",
      message: "the name must be the address with '.' written as '-'",
      since: "1.25",
    },
    {
      rule: "!self.spec.address.contains(':') || self.metadata.name.size() == 39 && !self.metadata.name.contains('.') && isIP(self.metadata.name.replace('-', ':')) && isIP(self.spec.address) && ip(self.metadata.name.replace('-', ':')) == ip(self.spec.address)",
      message: "the name must be the address as eight groups of four digits joined by '-'",
      since: "1.31",
    },
    {
      rule: "has(self.spec.holder) == (self.status.phase == 'Pending' || self.status.phase == 'Bound')",
      message: "an address has a holder exactly while it is Pending or Bound",
      since: "1.25",
    },
    {
      rule: "self.status.phase != 'Retained' || has(self.spec.owner)",
      message: "a Retained address is kept for an owner",
      since: "1.25",
    },
    {
      rule: "!has(self.status.grant) || !has(self.status.refusal) && self.status.phase != 'Released'",
      message: "a grant stands beside no refusal, and ends when the address is Released",
      since: "1.25",
    },
    {
      rule: "!has(self.status.reclaimAt) || self.status.phase == 'Retained'",
      message: "only a Retained address has a time at which it is released",
      since: "1.25",
    },
  ],
  columns: [
    { name: "Address", type: "string", jsonPath: ".spec.address", description: "The address" },
    { name: "Namespace", type: "string", jsonPath: ".spec.holder.namespace", description: "Namespace of the pod" },
    { name: "Pod", type: "string", jsonPath: ".spec.holder.pod", description: "The pod that has it" },
    { name: "Node", type: "string", jsonPath: ".spec.holder.node", description: "The node that the pod is on" },
    { name: "Owner Kind", type: "string", jsonPath: ".spec.owner.kind", description: "Kind of the owner" },
    { name: "Owner", type: "string", jsonPath: ".spec.owner.name", description: "Whose identity it is" },
    { name: "Phase", type: "string", jsonPath: ".status.phase", description: "Pending, Bound, Retained or Released" },
    { name: "Since", type: "date", jsonPath: ".status.since", description: "Since when the phase holds" },
    wide("MAC", ".spec.holder.mac", "MAC address of the pod's interface"),
    wide("Subnet", ".spec.subnet", "The subnet it belongs to"),
    wide("Pool", ".spec.pool", "The pool that it was drawn from"),
    wide("Retention", ".spec.retention", "What becomes of it when its pod goes"),
    wide("Owner Namespace", ".spec.owner.namespace", "Namespace of the owner"),
    wide("Slot", ".spec.owner.slot", "The pod of the owner that it is kept for"),
  ],
});

/** Whose identity an address is. */
export interface AddressOwner {
  readonly apiVersion: string;
  readonly kind: string;
  readonly namespace: string;
  readonly name: string;
  /** Empty when it is not known. */
  readonly uid: string;
  /** The pod's name for owners whose pods keep an address each; empty for owners whose pods follow one another. */
  readonly slot: string;
}

/** The pod that has an address. */
export interface AddressHolder {
  readonly namespace: string;
  readonly pod: string;
  readonly podUid: string;
  readonly node: string;
  readonly nodeUid: string;
  readonly mac: Mac;
}

/** A pod that had an address; times in milliseconds since the epoch. */
export interface HistoryEntry {
  readonly namespace: string;
  readonly pod: string;
  readonly podUid: string;
  readonly node: string;
  readonly mac: Mac;
  readonly from: number;
  readonly until: number;
  readonly reason: string;
}

export type AddressRetention = "Fixed" | "Sticky" | "Pool";
export type AddressPhase = "Pending" | "Bound" | "Retained" | "Released";

/** What an IPAddress says, whichever version of the object it is. All times are milliseconds since the epoch. */
export interface AddressClaim {
  readonly address: Ip;
  readonly subnet: string;
  readonly pool: string | undefined;
  readonly retention: AddressRetention;
  readonly owner: AddressOwner | undefined;
  /** There exactly while the phase is Pending or Bound. */
  readonly holder: AddressHolder | undefined;
  readonly phase: AddressPhase;
  readonly since: number;
  readonly grant: { readonly block: Cidr; readonly nodeUid: string } | undefined;
  readonly refusal: { readonly nodeUid: string; readonly message: string } | undefined;
  readonly reclaimAt: number | undefined;
  /** At most {@link MAX_HISTORY}, newest last. */
  readonly history: readonly HistoryEntry[];
}

/** A claim as the API server stores it. */
export interface IpAddressRecord extends Identity, AddressClaim {}

/** The object that claims an address when it is created. */
export interface IpAddressManifest {
  readonly apiVersion: `${typeof API_GROUP}/${typeof API_VERSION}`;
  readonly kind: "IPAddress";
  readonly metadata: { readonly name: string; readonly labels: Readonly<Record<string, string>> };
  readonly spec: z.input<typeof specSchema>;
  readonly status: z.input<typeof statusSchema>;
}

/** The one name that the object of an address can have, which is what makes creating it a claim. */
export function ipAddressName(address: Ip): string {
  return ipToObjectName(address);
}

/** Of kind, namespace, name and slot, not of the UID: an owner that is made anew finds its addresses again. */
export function ownerDigest(owner: Pick<AddressOwner, "kind" | "namespace" | "name" | "slot">): string {
  const { kind, namespace, name, slot } = owner;
  return hash("sha256", [kind, namespace, name, slot].join("/"), "hex").slice(0, 32);
}

/** The value of {@link SUBNET_LABEL}: the subnet's name, or its digest when the name is longer than a label can be. */
export function subnetLabel(subnet: string): string {
  return subnet.length <= 63 ? subnet : hash("sha256", subnet, "hex").slice(0, 32);
}

/** The object to create for a claim. */
export function ipAddressManifest(claim: AddressClaim): IpAddressManifest {
  const { address, subnet, owner } = claim;
  const labels = { [SUBNET_LABEL]: subnetLabel(subnet), ...present({ [OWNER_LABEL]: owner && ownerDigest(owner) }) };
  return {
    apiVersion: `${API_GROUP}/${API_VERSION}`,
    kind: "IPAddress",
    metadata: { name: ipAddressName(address), labels },
    spec: present(specOf(claim)) as IpAddressManifest["spec"],
    status: present(statusOf(claim)) as IpAddressManifest["status"],
  };
}

/**
 * The JSON merge patch (RFC 7386) that turns the stored object into `record` if it is still the version that was read:
 * the API server answers 409 when it is not. Unlike replacing it keeps the annotations and labels of others.
 */
export function ipAddressPatch(record: IpAddressRecord): Record<string, unknown> {
  const { uid, resourceVersion, owner } = record;
  return {
    metadata: { uid, resourceVersion, labels: { [OWNER_LABEL]: owner ? ownerDigest(owner) : null } },
    spec: orNull(specOf(record)),
    status: orNull(statusOf(record)),
  };
}

/** Reads an IPAddress object; what is wrong with it comes back as violations. */
export function parseIpAddress(raw: unknown): Parsed<IpAddressRecord> {
  return parseObject(ipAddressKind, raw, (identity, spec, offend, status): IpAddressRecord | undefined => {
    const address = readAddress(identity, spec.address, offend);
    if (address === undefined || status === undefined) return undefined;
    checkPhase(spec, status, offend);
    return {
      ...identity,
      address,
      subnet: spec.subnet,
      pool: spec.pool,
      retention: spec.retention,
      owner: spec.owner && { ...spec.owner, uid: spec.owner.uid ?? "", slot: spec.owner.slot ?? "" },
      holder: spec.holder,
      phase: status.phase,
      since: parseTimestamp(status.since),
      grant: readGrant(status.grant, address, offend),
      refusal: status.refusal,
      reclaimAt: status.reclaimAt === undefined ? undefined : parseTimestamp(status.reclaimAt),
      history: status.history.map((entry) => ({
        ...entry,
        from: parseTimestamp(entry.from),
        until: parseTimestamp(entry.until),
      })),
    };
  });
}

type Spec = z.output<typeof specSchema>;
type Status = z.output<typeof statusSchema>;

function readAddress(identity: Identity, text: string, offend: Offend): Ip | undefined {
  const path = ["spec", "address"];
  const address = attempt(() => parseIp(text), path, offend);
  if (address === undefined) return undefined;
  if (address !== text) offend(path, `is ${text}, which is not canonical`, `delete the object, and write ${address}`);
  const name = ipAddressName(address);
  if (identity.name !== name) {
    const remedy = "delete the object: one whose name differs claims nothing";
    offend(["metadata", "name"], `must be ${name}, after spec.address`, remedy);
  }
  return address;
}

function readGrant(grant: Status["grant"], address: Ip, offend: Offend): AddressClaim["grant"] {
  if (grant === undefined) return undefined;
  const path = ["status", "grant", "block"];
  const block = attempt(() => parseCidr(grant.block), path, offend);
  if (block === undefined) return undefined;
  if (!cidrContains(block, address)) offend(path, `is ${grant.block}, which does not contain ${address}`, LEAVE);
  return { block, nodeUid: grant.nodeUid };
}

/** The object's CEL rules once more, for API servers that do not evaluate them. */
function checkPhase(spec: Spec, status: Status, offend: Offend): void {
  const { phase, grant, refusal, reclaimAt } = status;
  const isHeld = phase === "Pending" || phase === "Bound";
  if (isHeld !== (spec.holder !== undefined)) {
    offend(["spec", "holder"], `${isHeld ? "is missing from" : "does not go with"} a claim that is ${phase}`, LEAVE);
  }
  if (phase === "Retained" && spec.owner === undefined) {
    offend(["spec", "owner"], "is missing from a claim that is Retained, kept for its owner", LEAVE);
  }
  if (grant !== undefined && phase === "Released") {
    offend(["status", "grant"], "does not go with a claim that is Released", LEAVE);
  }
  if (grant !== undefined && refusal !== undefined) {
    offend(["status", "refusal"], "does not go with a grant", LEAVE);
  }
  if (reclaimAt !== undefined && phase !== "Retained") {
    offend(["status", "reclaimAt"], `does not go with a claim that is ${phase}`, LEAVE);
  }
}

type Fields<Value> = { readonly [Field in keyof Value]-?: Value[Field] | undefined };

/** Some builds of Kubernetes 1.20 take an empty text in a custom resource for null, and refuse it: it is left out. */
function unlessEmpty(value: string): string | undefined {
  return value === "" ? undefined : value;
}

/** Every field, undefined when the claim has it not. Objects are written out whole, so that merging replaces them. */
function specOf({ address, subnet, pool, retention, owner, holder }: AddressClaim): Fields<z.input<typeof specSchema>> {
  return {
    address,
    subnet,
    pool,
    retention,
    owner: owner && {
      apiVersion: owner.apiVersion,
      kind: owner.kind,
      namespace: owner.namespace,
      name: owner.name,
      uid: unlessEmpty(owner.uid),
      slot: unlessEmpty(owner.slot),
    },
    holder: holder && {
      namespace: holder.namespace,
      pod: holder.pod,
      podUid: holder.podUid,
      node: holder.node,
      nodeUid: holder.nodeUid,
      mac: holder.mac,
    },
  };
}

function statusOf(claim: AddressClaim): Fields<z.input<typeof statusSchema>> {
  const { phase, since, grant, refusal, reclaimAt, history } = claim;
  return {
    phase,
    since: formatTimestamp(since),
    grant: grant && { block: formatCidr(grant.block), nodeUid: grant.nodeUid },
    refusal: refusal && { nodeUid: refusal.nodeUid, message: refusal.message },
    reclaimAt: reclaimAt === undefined ? undefined : formatTimestamp(reclaimAt),
    history: history.map(({ namespace, pod, podUid, node, mac, from, until, reason }) => ({
      namespace,
      pod,
      podUid,
      node,
      mac,
      from: formatTimestamp(from),
      until: formatTimestamp(until),
      reason,
    })),
  };
}

function present(fields: Readonly<Record<string, unknown>>): Record<string, unknown> {
  return Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== undefined));
}

/** What is absent is removed by a merge patch only when it is null, in whichever object it is. */
function orNull(fields: object): Record<string, unknown> {
  const values = Object.entries(fields).map(([field, value]: [string, unknown]): [string, unknown] => {
    const isObject = typeof value === "object" && value !== null && !Array.isArray(value);
    return [field, isObject ? orNull(value) : (value ?? null)];
  });
  return Object.fromEntries(values);
}

/** The paths of the local API about addresses: what is asked, checked before anybody answers. */
import { isIp, parseIp, type Ip } from "@beyondfabric/packet";
import { z } from "zod";
import type { AddressSelection } from "../ipam/audit.ts";
import type { RepairStep } from "../ipam/audit-findings.ts";
import { asking, jsonAnswer, RequestError, type Route } from "./route.ts";
import type {
  AddressCheckReply,
  AddressesReply,
  AddressHistoryReply,
  AddressRepairReply,
  AddressReply,
} from "./types.ts";

/** Which addresses to list. */
export interface AddressListQuery extends AddressSelection {
  /** Addresses that could be handed out, instead of those that are taken. */
  readonly free: boolean;
  /** At most so many. */
  readonly limit: number;
}

/** Whose history to tell. */
export type AddressHistoryQuery =
  | { readonly address: Ip }
  | { readonly pod: { readonly namespace: string; readonly name: string } };

export interface AddressSource {
  account(address: Ip): Promise<AddressReply>;
  list(query: AddressListQuery): Promise<AddressesReply>;
  history(query: AddressHistoryQuery): Promise<AddressHistoryReply>;
  check(): Promise<AddressCheckReply>;
  repair(steps: readonly RepairStep[]): Promise<AddressRepairReply>;
}

const defaultLimit = 1000;
/** Rows of one answer: so many cost some megabytes, and more are asked for subnet by subnet. */
export const maxLimit = 100_000;
/** Steps of one request; what is left is found again. */
const maxSteps = 500;

const repairRequest = z.object({
  steps: z
    .array(
      z.object({
        action: z.enum(["release", "reclaim", "delete"]),
        kind: z.enum(["IPAddress", "AddressBlock"]),
        name: z.string().min(1).max(253),
        uid: z.string().min(1).max(128),
        resourceVersion: z.string().min(1).max(128),
      }),
    )
    .max(maxSteps),
});

export function addressRoutes(source: AddressSource): [string, Route][] {
  return [
    [
      "/v1/addresses",
      asking(async ({ searchParams }) => {
        const text = (name: string): string | undefined => searchParams.get(name) ?? undefined;
        const [subnet, namespace, owner] = [text("subnet"), text("namespace"), text("owner")];
        return jsonAnswer(
          await source.list({
            ...(subnet === undefined ? {} : { subnet }),
            ...(namespace === undefined ? {} : { namespace }),
            ...(owner === undefined ? {} : { owner: ownerIn(owner) }),
            free: flag("free", text("free")),
            limit: limitIn(text("limit")),
          }),
        );
      }),
    ],
    ["/v1/addresses/account", asking(async (url) => jsonAnswer(await source.account(addressIn(url))))],
    [
      "/v1/addresses/history",
      asking(async (url) => {
        const pod = url.searchParams.get("pod");
        return jsonAnswer(await source.history(pod === null ? { address: addressIn(url) } : { pod: podIn(pod) }));
      }),
    ],
    ["/v1/addresses/check", asking(async () => jsonAnswer(await source.check()))],
    [
      "/v1/addresses/repair",
      {
        method: "POST",
        answer: async (_, body) => {
          const request = repairRequest.safeParse(body);
          if (!request.success) {
            const { path, message } = request.error.issues[0]!;
            throw new RequestError(
              `${path.join(".") || "the body"}: ${message}; send the steps as the check gave them`,
            );
          }
          return jsonAnswer(await source.repair(request.data.steps));
        },
      },
    ],
  ];
}

function addressIn({ searchParams }: URL): Ip {
  const text = searchParams.get("address") ?? "";
  if (!isIp(text)) throw new RequestError(`address is ${quoted(text)}, which is none; write for example 10.0.0.5`);
  return parseIp(text);
}

function podIn(text: string): { namespace: string; name: string } {
  const [namespace, name, ...more] = text.split("/");
  if (!namespace || !name || more.length > 0) {
    throw new RequestError(`pod is ${quoted(text)}; write NAMESPACE/NAME, for example default/web-0`);
  }
  return { namespace, name };
}

function ownerIn(text: string): { kind: string; name: string } {
  const [kind, name, ...more] = text.split("/");
  if (!kind || !name || more.length > 0) {
    throw new RequestError(`owner is ${quoted(text)}; write KIND/NAME, for example StatefulSet/db`);
  }
  return { kind, name };
}

function flag(name: string, text: string | undefined): boolean {
  if (text === undefined || text === "false") return false;
  if (text === "true") return true;
  throw new RequestError(`${name} is ${quoted(text)}; write true or false`);
}

function limitIn(text: string | undefined): number {
  if (text === undefined) return defaultLimit;
  const limit = /^[1-9][0-9]{0,5}$/.test(text) ? Number(text) : Number.POSITIVE_INFINITY;
  if (limit > maxLimit) throw new RequestError(`limit is ${quoted(text)}; write a number from 1 to ${maxLimit}`);
  return limit;
}

function quoted(text: string): string {
  return JSON.stringify(text.slice(0, 100));
}

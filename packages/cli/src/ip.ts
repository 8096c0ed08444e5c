/** `fabricctl ip ...`: the questions about addresses, and what becomes of the answers. */
import type { AddressCheckReply, RepairStep } from "@beyondfabric/agent/api";
import { isIp } from "@beyondfabric/packet";
import { InvalidArgumentError, Option } from "commander";
import {
  addressCheckReply,
  addressesReply,
  addressHistoryReply,
  addressRepairReply,
  addressReply,
} from "./address-reply.ts";
import { formatAccount, formatAddresses, formatCheck, formatHistory, formatPlan, formatRepair } from "./addresses.ts";
import { findingsLeft, json, type Asked, type Commands } from "./commands.ts";

/** Reading a large cluster takes longer than a look at one node (ms). */
const patience = { timeout: 120_000 };

export function addIpCommands(commands: Commands): void {
  const { ask, tell, surroundings } = commands;
  const { out, paint, now, name } = surroundings;
  const view = ({ output }: Asked) => ({ wide: output === "wide", now: now(), paint });
  const ip = commands.group("ip", "addresses: who has and had them, which are free, what is wrong");

  ip.command("get", "who has an address, or why nobody has", async (asked, [address]) => {
    const reply = await ask(`/v1/addresses/account${query({ address })}`, addressReply, asked, patience);
    return asked.output === "json" ? json(reply) : formatAccount(reply.account, view(asked));
  }).argument("<address>", "for example 10.0.0.5 or fd00::5", addressText);

  ip.command("list", "addresses that somebody has or that are kept; or those that are free", async (asked, _, own) => {
    const { subnet, owner, namespace, free, limit } = own;
    const path = `/v1/addresses${query({ subnet, owner, namespace, free: free === true ? "true" : undefined, limit })}`;
    const reply = await ask(path, addressesReply, asked, patience);
    return asked.output === "json" ? json(reply) : formatAddresses(reply, view(asked));
  })
    .option("--subnet <name>", "only of this Subnet")
    .option("--owner <kind/name>", "only those of this owner, for example StatefulSet/db", ownerName)
    .option("--namespace <name>", "only those of pods and owners of this namespace")
    .addOption(new Option("--free", "those that could be handed out").conflicts(["owner", "namespace"]))
    .option("--limit <number>", "at most so many (default 1000)", limitText);

  ip.command("history", "who has and had an address, or which addresses a pod has and had", async (asked, [whose]) => {
    const of = isIp(whose!) ? { address: whose } : { pod: whose!.includes("/") ? whose : `default/${whose!}` };
    const reply = await ask(`/v1/addresses/history${query(of)}`, addressHistoryReply, asked, patience);
    return asked.output === "json" ? json(reply) : formatHistory(reply, of.address ?? of.pod!, view(asked));
  }).argument("<address|[namespace/]pod>", "an address, or a pod by its name", addressOrPod);

  ip.command("check", "leaks, duplicates and strangers; ends with 3 while there are any", async (asked, _, own) => {
    const reply = await ask("/v1/addresses/check", addressCheckReply, asked, patience);
    const isJson = asked.output === "json";
    const steps = reply.findings.flatMap(({ repair = [] }) => repair);
    if (!isJson) out(`${formatCheck(reply, paint)}\n`);
    const isWanted = own["repair"] === true && steps.length > 0;
    if (isWanted && !isJson) out(`\n${formatPlan(reply.findings.filter(({ repair }) => repair !== undefined))}\n`);
    if (!isWanted || !(own["yes"] === true || (!isJson && (await surroundings.confirm?.("repair?")) === true))) {
      const code = reply.findings.length === 0 ? 0 : findingsLeft;
      if (isJson) return { text: json(reply), code };
      return { text: isWanted ? `nothing was repaired; ${name} ip check --repair --yes does it` : "", code };
    }
    const { results } = await tell("/v1/addresses/repair", { steps }, addressRepairReply, asked, patience);
    const done = new Set(results.filter(({ state }) => state === "done").map(({ step }) => keyOf(step)));
    const code = isAllRepaired(reply, done) ? 0 : findingsLeft;
    return { text: isJson ? json({ ...reply, results }) : `\n${formatRepair({ results }, paint)}`, code };
  })
    .option("--repair", "do what can be done by itself, after showing it")
    .option("--yes", "with --repair: do not ask");
}

function isAllRepaired({ findings }: AddressCheckReply, done: ReadonlySet<string>): boolean {
  return findings.every(({ repair }) => repair?.every((step) => done.has(keyOf(step))) === true);
}

function keyOf({ action, kind, name }: RepairStep): string {
  return `${action} ${kind}/${name}`;
}

function query(parameters: Readonly<Record<string, unknown>>): string {
  const given = Object.entries(parameters).filter((each): each is [string, string] => typeof each[1] === "string");
  return given.length === 0 ? "" : `?${new URLSearchParams(given).toString()}`;
}

function addressText(text: string): string {
  if (!isIp(text)) throw new InvalidArgumentError("write an address, for example 10.0.0.5 or fd00::5.");
  return text;
}

function addressOrPod(text: string): string {
  if (isIp(text) || /^[^/\s]+(\/[^/\s]+)?$/.test(text)) return text;
  throw new InvalidArgumentError("write an address or [NAMESPACE/]POD, for example 10.0.0.5 or default/web-0.");
}

function ownerName(text: string): string {
  if (/^[^/\s]+\/[^/\s]+$/.test(text)) return text;
  throw new InvalidArgumentError("write KIND/NAME, for example StatefulSet/db.");
}

function limitText(text: string): string {
  if (/^[1-9][0-9]{0,5}$/.test(text)) return text;
  throw new InvalidArgumentError("write a number from 1 to 100000.");
}

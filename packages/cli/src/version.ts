/** `fabricctl version`: who talks to whom, for reports. */
import { readFileSync } from "node:fs";
import type { VersionReply } from "@beyondfabric/agent/api";
import { visible } from "./terminal.ts";

/** The version of this program. */
export function ownVersion(): string {
  const manifest = JSON.parse(readFileSync(new URL("../package.json", import.meta.url), "utf8")) as { version: string };
  return manifest.version;
}

export function formatVersion(reply: VersionReply): string {
  return [
    ["fabric-node", `${reply.version} on ${reply.node}`],
    ["OVS", `${reply.ovs ?? "unknown"}, OpenFlow ${reply.openflow}`],
    ["runtime", reply.runtime],
  ]
    .map(([name, text]) => `${name!.padEnd(11)}   ${visible(text!)}`)
    .join("\n");
}

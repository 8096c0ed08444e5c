import { VERSION } from "../codec.ts";
import { errorName } from "../tables/errors.ts";
import type { ErrorBody, HelloBody } from "../tables/messages.ts";
import { ChannelError } from "./errors.ts";

/** What this side says first (OpenFlow 1.5 section 7.5.1): the one version it speaks, as a bitmap too. */
export const helloMessage = { type: "hello", versions: [VERSION] } as const;

/** OFPET_HELLO_FAILED with OFPHFC_INCOMPATIBLE, and a sentence for the switch's log (section 7.5.4.1). */
export function helloRefusal(reason: string): ErrorBody & { readonly type: "error" } {
  return { type: "error", errorType: 0, errorCode: 0, data: Buffer.from(reason) };
}

const NAMES: readonly (string | undefined)[] = [undefined, "1.0", "1.1", "1.2", "1.3", "1.4", "1.5"];

function versionName(version: number): string {
  return NAMES[version] ?? `version ${version}`;
}

/** Judges the switch's hello (section 6.3.1). Throws `OPENFLOW_VERSION` that names both sides' versions. */
export function negotiate(hello: HelloBody): void {
  if (hello.versions.includes(VERSION)) return;
  const theirs =
    hello.versions.length === 0 ? "no version at all" : `OpenFlow ${hello.versions.map(versionName).join(", ")}`;
  throw new ChannelError(
    "OPENFLOW_VERSION",
    `the switch speaks ${theirs}, this side OpenFlow ${versionName(VERSION)} only; add OpenFlow15 to the bridge's protocols ` +
      "(ovs-vsctl add bridge BRIDGE protocols OpenFlow15)",
  );
}

/** The switch refused our hello: its own words, when it gave any (section 7.5.4.1: `data` is text). */
export function helloRefused(body: ErrorBody): ChannelError {
  const said = Buffer.from(body.data.subarray(0, 200))
    .toString("latin1")
    .replaceAll(/[^\x20-\x7e]/g, ".");
  return new ChannelError(
    "OPENFLOW_VERSION",
    `the switch refused OpenFlow ${versionName(VERSION)}, the only version this side speaks: ${errorName(body)}` +
      `${said === "" ? "" : ` (${said})`}; add OpenFlow15 to the bridge's protocols`,
  );
}

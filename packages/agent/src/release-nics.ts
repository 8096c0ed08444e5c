/**
 * Gives the NICs that this node's bridges took back to the node: addresses and routes move to the NIC, then its bridge goes.
 * For a node from which the agent is taken away; while one runs, it would take them again.
 */
import { connect } from "node:net";
import { RouteSocket } from "@beyondfabric/link";
import { OvsdbClient } from "@beyondfabric/ovsdb";
import type { AgentConfig } from "./config.ts";
import { AgentError } from "./errors.ts";
import { HostNetwork } from "./host/network.ts";
import { readLocalState, writeLocalState } from "./local-state.ts";
import type { Logger } from "./log.ts";
import {
  hostInterfaceName,
  monitoredTables,
  removeUplinks,
  retiredUplinks,
  type SwitchTables,
} from "./switch/database.ts";

/** A NIC that is the node's again. */
export interface ReleasedNic {
  readonly nic: string;
  readonly bridge: string;
  /** With prefix length. */
  readonly addresses: readonly string[];
}

const patience = { timeoutMs: 10_000 };

/**
 * A second run finds nothing to do; one after a failure half-way finishes.
 * @throws AgentError `AGENT_RUNNING` while an agent answers on its socket; OvsdbError when the database does not answer
 */
export async function releaseNics(
  { ovs, api }: Pick<AgentConfig, "ovs" | "api">,
  logger: Logger,
): Promise<ReleasedNic[]> {
  if (await isAnswered(api.socket)) {
    throw new AgentError(
      "AGENT_RUNNING",
      `fabric-node runs on this node (${api.socket} answers) and would take the NICs again; stop it first`,
    );
  }
  const database = new OvsdbClient({ address: ovs.database, logger });
  const cache = database.monitor<SwitchTables>(monitoredTables);
  const kernel = RouteSocket.open();
  try {
    await database.start(patience);
    const remembered = readLocalState(cache, ovs.bridge);
    const host = new HostNetwork(kernel, logger);
    const released: ReleasedNic[] = [];
    const taken = retiredUplinks(cache, { bridge: ovs.bridge, uplinks: [] });
    // Before the addresses are there: what is told to leave the NICs' frames alone would leave the node's own alone too.
    if (taken.length > 0) await host.hearNics(hostInterfaceName);
    for (const { nic, bridge } of taken) {
      if (nic === undefined) continue;
      const addresses = await host.releaseUplink(nic, bridge, remembered?.uplinks[nic]);
      released.push({ nic, bridge, addresses });
    }
    const bridges = taken.map(({ bridge }) => bridge);
    await database.transactWithRetry<SwitchTables>((current) => removeUplinks(current, ovs.bridge, bridges));
    // What the bridges had is the NICs' own affair from now on: an agent that starts again finds it there.
    await database.transactWithRetry<SwitchTables>((current) => {
      const state = readLocalState(current, ovs.bridge);
      return state === undefined ? undefined : writeLocalState(current, ovs.bridge, { ...state, uplinks: {} });
    });
    return released;
  } finally {
    await database.stop();
    await kernel.close();
  }
}

async function isAnswered(socket: string): Promise<boolean> {
  return await new Promise((resolve) => {
    const connection = connect(socket);
    connection.once("connect", () => {
      connection.destroy();
      resolve(true);
    });
    connection.once("error", () => resolve(false));
  });
}

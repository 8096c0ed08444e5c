/**
 * Row types of the database Open_vSwitch, for the tables and columns that a node's agent uses; ovs-vswitchd.conf.db(5)
 * says what each means. A row of a cache has only the columns that were monitored.
 */

type Strings = Readonly<Record<string, string>>;

/** The one row of table Open_vSwitch. */
export interface OpenVswitchRow {
  readonly _uuid: string;
  readonly bridges: readonly string[];
  readonly next_cfg: number;
  /** Follows `next_cfg` when ovs-vswitchd has applied the configuration. */
  readonly cur_cfg: number;
  readonly other_config: Strings;
  readonly external_ids: Strings;
  readonly ovs_version?: string;
  readonly db_version?: string;
  readonly datapath_types: readonly string[];
  readonly iface_types: readonly string[];
  readonly dpdk_initialized: boolean;
}

export interface BridgeRow {
  readonly _uuid: string;
  readonly name: string;
  readonly datapath_type: string;
  readonly fail_mode?: "standalone" | "secure";
  readonly protocols: readonly string[];
  /** UUIDs of `Port` rows. */
  readonly ports: readonly string[];
  /** UUIDs of `Controller` rows. */
  readonly controller: readonly string[];
  readonly other_config: Strings;
  readonly external_ids: Strings;
  readonly status: Strings;
  /** Table number (as text) to the UUID of a `Flow_Table` row. */
  readonly flow_tables: Strings;
  readonly datapath_id?: string;
  readonly datapath_version: string;
  readonly mcast_snooping_enable: boolean;
  readonly stp_enable: boolean;
  readonly rstp_enable: boolean;
}

export interface PortRow {
  readonly _uuid: string;
  readonly name: string;
  /** UUIDs of `Interface` rows; more than one is a bond. */
  readonly interfaces: readonly string[];
  readonly tag?: number;
  readonly trunks: readonly number[];
  readonly vlan_mode?: "access" | "dot1q-tunnel" | "native-tagged" | "native-untagged" | "trunk";
  readonly qos?: string;
  readonly other_config: Strings;
  readonly external_ids: Strings;
}

export interface InterfaceRow {
  readonly _uuid: string;
  readonly name: string;
  readonly type: string;
  readonly options: Strings;
  readonly other_config: Strings;
  readonly external_ids: Strings;
  /** The OpenFlow port number; -1 when the switch could not create the port, absent before it tried. */
  readonly ofport?: number;
  readonly ofport_request?: number;
  readonly error?: string;
  readonly mac?: string;
  readonly mac_in_use?: string;
  readonly mtu_request?: number;
  readonly mtu?: number;
  readonly ifindex?: number;
  readonly status: Strings;
  readonly admin_state?: "up" | "down";
  readonly link_state?: "up" | "down";
  readonly ingress_policing_rate: number;
  readonly ingress_policing_burst: number;
  /** Counters by name; refreshed by the switch every few seconds, so monitor it only when needed. */
  readonly statistics: Readonly<Record<string, number>>;
}

export interface FlowTableRow {
  readonly _uuid: string;
  readonly name?: string;
  /** Fields whose prefixes the classifier keeps tries of; at most three. */
  readonly prefixes: readonly string[];
  readonly flow_limit?: number;
  readonly overflow_policy?: "refuse" | "evict";
  readonly external_ids: Strings;
}

export interface ControllerRow {
  readonly _uuid: string;
  readonly target: string;
  readonly is_connected: boolean;
  readonly status: Strings;
  readonly external_ids: Strings;
}

/** Table names to row types, for `OvsdbClient.monitor`. */
export interface OpenVswitchTables {
  readonly Open_vSwitch: OpenVswitchRow;
  readonly Bridge: BridgeRow;
  readonly Port: PortRow;
  readonly Interface: InterfaceRow;
  readonly Flow_Table: FlowTableRow;
  readonly Controller: ControllerRow;
}

/** Offload settings of an interface, by SIOCETHTOOL (linux/ethtool.h, linux/sockios.h). */
import { EACCES, ENODEV, EOPNOTSUPP, EPERM, ioctlInPool, nativeMemory } from "./libc.ts";
import { LinkError } from "./errors.ts";
import { checkLinkName } from "./rtnetlink.ts";

const SIOCETHTOOL = 0x8946;
const ETHTOOL_GTXCSUM = 0x16;
const ETHTOOL_STXCSUM = 0x17;
const ETHTOOL_GSG = 0x18;
const ETHTOOL_GTSO = 0x1e;
const IFREQ_BYTES = 40;
const VALUE_OFFSET = 64;

/** What the driver does for an interface's transmit path. */
export interface Offloads {
  readonly transmitChecksum: boolean;
  readonly scatterGather: boolean;
  readonly tcpSegmentation: boolean;
}

async function ethtoolValue(descriptor: number, name: string, command: number, value: number): Promise<number> {
  checkLinkName(name);
  // One block holds both structures, because the first points to the second and neither may move meanwhile.
  const memory = nativeMemory(VALUE_OFFSET + 8);
  try {
    memory.bytes.write(name, 0, 15, "utf8");
    memory.bytes.writeBigUInt64LE(memory.address + BigInt(VALUE_OFFSET), 16);
    memory.bytes.writeUInt32LE(command, VALUE_OFFSET);
    memory.bytes.writeUInt32LE(value, VALUE_OFFSET + 4);
    const { value: outcome, errno } = await ioctlInPool(descriptor, SIOCETHTOOL, memory.bytes.subarray(0, IFREQ_BYTES));
    if (outcome < 0) {
      const code =
        errno === ENODEV
          ? "LINK_NOT_FOUND"
          : errno === EOPNOTSUPP
            ? "LINK_UNSUPPORTED"
            : errno === EPERM || errno === EACCES
              ? "LINK_NOT_PERMITTED"
              : "LINK_SYSTEM_CALL";
      throw new LinkError(code, `cannot ask the driver of interface ${name} about its offloads`, {
        object: name,
        errno,
      });
    }
    return memory.bytes.readUInt32LE(VALUE_OFFSET + 4);
  } finally {
    memory.free();
  }
}

/** See RouteSocket.disableTransmitChecksum; `descriptor` is any socket of the interface's namespace. */
export async function disableTransmitChecksum(descriptor: number, name: string): Promise<void> {
  await ethtoolValue(descriptor, name, ETHTOOL_STXCSUM, 0);
}

/** See RouteSocket.offloads. */
export async function readOffloads(descriptor: number, name: string): Promise<Offloads> {
  return {
    transmitChecksum: (await ethtoolValue(descriptor, name, ETHTOOL_GTXCSUM, 0)) !== 0,
    scatterGather: (await ethtoolValue(descriptor, name, ETHTOOL_GSG, 0)) !== 0,
    tcpSegmentation: (await ethtoolValue(descriptor, name, ETHTOOL_GTSO, 0)) !== 0,
  };
}

/** Entries for the crowded scenarios: addresses from 198.18.0.0/15, which RFC 2544 sets aside for benchmarks. */

/** Entry lines for `ovs-ofctl add-flows`, one address pair each, without time-outs. At most 131,072. */
export function unusedEntries(count: number): string {
  if (count > 1 << 17) throw new RangeError(`${count} entries do not fit into 198.18.0.0/15; ask for at most 131072`);
  const lines: string[] = [];
  for (let at = 0; at < count; at++) {
    const address = `198.${18 + (at >> 16)}.${(at >> 8) & 255}.${at & 255}`;
    lines.push(`priority=1000,ip,nw_src=${address},nw_dst=198.19.255.254,actions=drop`);
  }
  return lines.join("\n");
}

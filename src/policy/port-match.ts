// Ports of a rule as what one iptables rule can match: all of one protocol, up to 15 numbers, or named ports.
import { POLICY_PROTOCOLS } from "./snapshot.ts";
import type { PolicyPort, PolicyProtocol } from "./snapshot.ts";
import type { PortName } from "./sets.ts";

/** Both ends inclusive. */
export type PortRange = readonly [from: number, to: number];

export type PortMatch =
  | { readonly kind: "any" }
  /** No ranges: every port of the protocol. */
  | { readonly kind: "numbers"; readonly protocol: PolicyProtocol; readonly ranges: readonly PortRange[] }
  | { readonly kind: "named"; readonly names: readonly PortName[] };

const LAST_PORT = 65_535;

/** Absent ports match every protocol; an empty list matches nothing. Equal port lists give equal matches. */
export function matchesOfPorts(ports: readonly PolicyPort[] | undefined): readonly PortMatch[] {
  if (ports === undefined) return [{ kind: "any" }];
  const numbers = POLICY_PROTOCOLS.flatMap((protocol): readonly PortMatch[] => {
    const ranges = ports.flatMap((port): readonly PortRange[] =>
      port.kind === "numbers" && port.protocol === protocol ? [[port.from, port.to]] : [],
    );
    if (ranges.length === 0) return [];
    const merged = mergeRanges(ranges);
    const isAll = merged[0]?.[0] === 0 && merged[0][1] === LAST_PORT;
    return [{ kind: "numbers", protocol, ranges: isAll ? [] : merged }];
  });
  const names = ports.flatMap((port) => (port.kind === "named" ? port : []));
  return names.length === 0 ? numbers : [...numbers, { kind: "named", names: uniqueNames(names) }];
}

function uniqueNames(ports: readonly PortName[]): readonly PortName[] {
  const byText = new Map(ports.map(({ protocol, name }) => [`${protocol}/${name}`, { protocol, name }]));
  return [...byText].sort(([a], [b]) => (a < b ? -1 : 1)).map(([, name]) => name);
}

/** Sorted, disjoint and not adjacent. */
export function mergeRanges(ranges: readonly PortRange[]): readonly PortRange[] {
  const merged: PortRange[] = [];
  for (const [from, to] of [...ranges].sort((a, b) => a[0] - b[0] || a[1] - b[1])) {
    const last = merged.at(-1);
    if (last !== undefined && from <= last[1] + 1)
      merged[merged.length - 1] = [last[0], Math.max(last[1], to)];
    else merged.push([from, to]);
  }
  return merged;
}

/** Equal for equal matches. */
export function formatPortMatch(match: PortMatch): string {
  switch (match.kind) {
    case "any":
      return "";
    case "numbers":
      return `${match.protocol}:${match.ranges.map(formatRange).join(",")}`;
    case "named":
      return match.names.map(({ protocol, name }) => `${protocol}/${name}`).join(",");
  }
}

function formatRange([from, to]: PortRange): string {
  return from === to ? String(from) : `${from}:${to}`;
}

/** `XT_MULTI_PORTS` of linux/netfilter/xt_multiport.h; a range takes two. */
const MULTIPORT_SLOTS = 15;

/** Arguments after the protocol, one list per iptables rule that is needed; spelled as iptables-save prints them. */
export function portArguments(
  protocol: PolicyProtocol,
  ranges: readonly PortRange[],
): readonly (readonly string[])[] {
  if (ranges.length === 0) return [[]];
  return chunkRanges(ranges).map((chunk) => {
    const text = chunk.map(formatRange).join(",");
    return chunk.length === 1
      ? ["-m", protocol.toLowerCase(), "--dport", text]
      : ["-m", "multiport", "--dports", text];
  });
}

function chunkRanges(ranges: readonly PortRange[]): readonly (readonly PortRange[])[] {
  const chunks: PortRange[][] = [];
  let free = 0;
  for (const range of ranges) {
    const slots = range[0] === range[1] ? 1 : 2;
    if (slots > free) {
      chunks.push([]);
      free = MULTIPORT_SLOTS;
    }
    chunks.at(-1)?.push(range);
    free -= slots;
  }
  return chunks;
}

// Ports as iptables can match them: merged, split at fifteen values, every number kept.
import * as fc from "fast-check";
import { expect, test } from "vitest";
import {
  formatPortMatch,
  matchesOfPorts,
  mergeRanges,
  portArguments,
} from "../../../src/policy/port-match.ts";
import type { PolicyPort } from "../../../src/policy/snapshot.ts";

const numbers = (from: number, to = from, protocol: "TCP" | "UDP" | "SCTP" = "TCP"): PolicyPort => ({
  kind: "numbers",
  protocol,
  from,
  to,
});

test.for<{ name: string; ports: readonly PolicyPort[] | undefined; expected: readonly string[] }>([
  { name: "absent: anything", ports: undefined, expected: [""] },
  { name: "empty: nothing", ports: [], expected: [] },
  {
    name: "neighbours and overlaps join",
    ports: [numbers(81), numbers(80), numbers(90, 99), numbers(95, 120)],
    expected: ["TCP:80:81,90:120"],
  },
  { name: "all ports swallow others", ports: [numbers(0, 65_535), numbers(80)], expected: ["TCP:"] },
  {
    name: "protocols stay apart",
    ports: [numbers(7, 7, "SCTP"), numbers(7, 7, "UDP"), numbers(7)],
    expected: ["TCP:7", "UDP:7", "SCTP:7"],
  },
  {
    name: "names are a match of their own",
    ports: [
      { kind: "named", protocol: "UDP", name: "dns" },
      numbers(80),
      { kind: "named", protocol: "TCP", name: "dns" },
      { kind: "named", protocol: "UDP", name: "dns" },
    ],
    expected: ["TCP:80", "TCP/dns,UDP/dns"],
  },
])("$name", ({ ports, expected }) => {
  expect(matchesOfPorts(ports).map(formatPortMatch)).toEqual(expected);
});

test.for<{ name: string; ranges: readonly [number, number][]; expected: readonly string[] }>([
  { name: "every port", ranges: [], expected: [""] },
  { name: "one port", ranges: [[80, 80]], expected: ["-m sctp --dport 80"] },
  { name: "one range", ranges: [[80, 90]], expected: ["-m sctp --dport 80:90"] },
  {
    name: "a range takes two of fifteen",
    ranges: Array.from({ length: 8 }, (_, i) => [10 * i + 1, 10 * i + 2]),
    expected: ["-m multiport --dports 1:2,11:12,21:22,31:32,41:42,51:52,61:62", "-m sctp --dport 71:72"],
  },
])("$name", ({ ranges, expected }) => {
  expect(portArguments("SCTP", ranges).map((words) => words.join(" "))).toEqual(expected);
});

test("no rule has more than fifteen values, and together they match what was asked", () => {
  const range = fc
    .tuple(fc.nat(300), fc.nat(3))
    .map(([from, length]): [number, number] => [from, from + length]);
  fc.assert(
    fc.property(fc.array(range, { minLength: 1, maxLength: 60 }), fc.nat(310), (ranges, probe) => {
      const lists = portArguments("TCP", mergeRanges(ranges)).map((words) => words.at(-1)?.split(",") ?? []);
      for (const list of lists)
        expect(list.flatMap((text) => text.split(":")).length).toBeLessThanOrEqual(15);
      const matches = lists.flat().some((text) => {
        const [from = 0, to = from] = text.split(":").map(Number);
        return from <= probe && probe <= to;
      });
      expect(matches).toBe(ranges.some(([from, to]) => from <= probe && probe <= to));
    }),
  );
});

import { describe, expect, test } from "vitest";
import { parsePing, planCells } from "../../../lab/plan-matrix.ts";
import type { Cell, CellResult } from "../../../lab/plan-matrix.ts";
import { PLAIN, renderFailures, renderMatrix, renderNodes } from "../../../lab/render.ts";

const NODES = [
  { name: "n1", address: "192.0.2.11" },
  { name: "n2", address: "192.0.2.12" },
] as const;
const PODS = NODES.map((node, i) => ({ name: `${node.name}-p1`, ip: `10.244.${i + 1}.2`, mtu: 1450, node }));

describe("planCells", () => {
  test("each pod to the others, to every node, and to outside as its node", () => {
    const cells = planCells(PODS, NODES, "203.0.113.2");
    expect(cells.map(({ from, to }) => `${from} -> ${to}`)).toEqual([
      "n1-p1 -> n2-p1",
      "n1-p1 -> n1",
      "n1-p1 -> n2",
      "n1-p1 -> outside",
      "n2-p1 -> n1-p1",
      "n2-p1 -> n1",
      "n2-p1 -> n2",
      "n2-p1 -> outside",
    ]);
    expect(cells[0]).toEqual({
      from: "n1-p1",
      to: "n2-p1",
      kind: "pod",
      address: "10.244.2.2",
      // 20 bytes of IPv4 and 8 of ICMP fill the MTU.
      payloadBytes: 1422,
    });
    expect(cells.at(-1)).toMatchObject({ address: "203.0.113.2", expectedSource: "192.0.2.12" });
  });
});

describe("parsePing", () => {
  test.each([
    {
      name: "an answer",
      output: "1430 bytes from 10.244.2.2: icmp_seq=1 ttl=62 time=0.212 ms\n",
      expected: { rttMs: 0.212 },
    },
    { name: "silence", output: "1 packets transmitted, 0 received\n", expected: { problem: "no answer" } },
    {
      name: "a router that refuses",
      output: "From 10.244.1.1 icmp_seq=1 Destination Host Unreachable\n",
      expected: { problem: "From 10.244.1.1 icmp_seq=1 Destination Host Unreachable" },
    },
    {
      name: "a link that is too narrow",
      output: "ping: local error: message too long, mtu=1450\n",
      expected: { problem: "ping: local error: message too long, mtu=1450" },
    },
    {
      name: "no route",
      output: "ping: connect: Network is unreachable\n",
      expected: { problem: "ping: connect: Network is unreachable" },
    },
  ])("$name", ({ output, expected }) => {
    expect(parsePing(output)).toEqual(expected);
  });
});

describe("rendering", () => {
  const judge = (cell: Cell): CellResult => {
    if (cell.from === "n2-p1" && cell.to === "n1-p1") {
      return { ...cell, ok: false, problem: "ping -s 1422 10.244.1.2: no answer, 2 tries" };
    }
    const seen = cell.expectedSource === undefined ? {} : { sourceSeen: cell.expectedSource };
    return { ...cell, ok: true, rttMs: 0.126, ...seen };
  };
  const matrix = { cells: planCells(PODS, NODES, "203.0.113.2").map(judge), ok: false };

  test("a matrix with round-trip times, a failure, and the source seen outside", () => {
    expect(renderMatrix(matrix, PLAIN)).toBe(
      [
        "  ms     n1-p1  n2-p1  n1    n2    outside",
        "  n1-p1  -      0.13   0.13  0.13  0.13 as 192.0.2.11",
        "  n2-p1  FAIL   -      0.13  0.13  0.13 as 192.0.2.12",
        "",
      ].join("\n"),
    );
  });

  test("a matrix wider than the terminal has one character per cell", () => {
    expect(renderMatrix(matrix, PLAIN, 40)).toBe(
      ["         columns: n1-p1 n2-p1 n1 n2 outside", "  n1-p1  -....", "  n2-p1  X-...", ""].join("\n"),
    );
  });

  test("failures say what was tried", () => {
    expect(renderFailures(matrix)).toBe(
      "  n2-p1 -> n1-p1 (10.244.1.2): ping -s 1422 10.244.1.2: no answer, 2 tries\n",
    );
  });

  test("of many failures the first are shown and the rest is counted", () => {
    const failed = Array.from({ length: 20 }, (_, i): CellResult => ({
      from: "a",
      to: `b${i}`,
      kind: "pod",
      address: "10.0.0.1",
      payloadBytes: 1422,
      ok: false,
    }));
    expect(renderFailures({ cells: failed, ok: false })).toMatch(
      /b11 \(10\.0\.0\.1\): failed\n {2}and 8 more\n$/,
    );
  });

  test("nodes", () => {
    const row = {
      name: "n1",
      publicIp: "192.0.2.11",
      subnet: "10.244.1.1/24",
      backend: "vxlan",
      mtu: "1450",
    };
    expect(renderNodes([{ ...row, pods: ["n1-p1=10.244.1.2"] }], PLAIN)).toBe(
      [
        "  NODE  PUBLIC IP   SUBNET         BACKEND  MTU   PODS",
        "  n1    192.0.2.11  10.244.1.1/24  vxlan    1450  n1-p1=10.244.1.2",
        "",
      ].join("\n"),
    );
  });
});

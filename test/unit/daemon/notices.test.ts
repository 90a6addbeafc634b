// What operators are told beyond the log, and how often.
import { describe, expect, test } from "vitest";
import type { Notice } from "../../../src/daemon/connect-store.ts";
import { checkHost } from "../../../src/daemon/host-checks.ts";
import type { NodeAgent } from "../../../src/daemon/node-agent.ts";
import { NoticeBoard } from "../../../src/daemon/notice-board.ts";
import {
  planFailureNotices,
  planLeftoverNotices,
  planMtuNotices,
  planPeerNotices,
  planRevertNotices,
} from "../../../src/daemon/plan-notices.ts";
import type { MtuFacts } from "../../../src/daemon/plan-notices.ts";
import type { ForeignRoute } from "../../../src/host/uplink.ts";
import type { Lease } from "../../../src/ipam/lease.ts";
import { parseCidr } from "../../../src/net/cidr.ts";
import { parseIp } from "../../../src/net/ip.ts";
import { memoryLogger } from "../../support/memory-logger.ts";

const lease = (n: number): Lease => ({
  nodeName: `n${n}`,
  subnet: parseCidr(`10.244.${n}.0/24`),
  backendType: "vxlan",
});
const book = (count: number) =>
  new Map(Array.from({ length: count }, (_, i) => [`10.244.${i + 1}.0/24`, lease(i + 1)]));
const unreached = (n: number, problem: string) =>
  ({ subnetKey: `10.244.${n}.0/24`, how: "unreachable", problem }) as const;

describe("peers", () => {
  test("each by its name, with the cure", () => {
    expect(
      planPeerNotices([{ subnetKey: "10.244.2.0/24", how: "vxlan" }, unreached(1, "why; cure")], book(2)),
    ).toEqual([
      {
        type: "Warning",
        reason: "PeerUnreachable",
        message: "no route to pods of node n1 (10.244.1.0/24): why; cure",
      },
    ]);
  });

  test("those whose Node cannot be read", () => {
    const skipped = [{ key: "node n9", reason: "its podCIDR is no good; cure" }];
    expect(planPeerNotices([], book(0), skipped)).toEqual([
      {
        type: "Warning",
        reason: "PeerIgnored",
        message: "no route to pods of node n9: its podCIDR is no good; cure",
      },
    ]);
  });

  test("many are one notice", () => {
    const reach = Array.from({ length: 50 }, (_, i) => unreached(i + 1, "why"));
    expect(planPeerNotices(reach, book(50))).toEqual([
      expect.objectContaining({
        message: expect.stringMatching(/^50 nodes are not reached.*node n1 /) as string,
      }),
    ]);
  });
});

test("rows that the kernel refuses: the first of each table", () => {
  const outcome = { desired: 2, created: 0, replaced: 0, removed: 0 };
  const repaired = { created: 0, replaced: 0, removed: 0 };
  const failed = [
    { key: "a", reason: "no" },
    { key: "b", reason: "no" },
  ];
  expect(
    planFailureNotices({
      tables: [
        { table: "routes", ...outcome, repaired, failed },
        { table: "links", ...outcome, repaired, failed: [] },
      ],
    } as unknown as Parameters<typeof planFailureNotices>[0]),
  ).toEqual([
    { type: "Warning", reason: "HostSetupFailed", message: "cannot set up routes: a: no (and 1 more)" },
  ]);
});

describe("rows that others change", () => {
  const NOW = Date.UTC(2026, 0, 1);
  const repair = (minutesAgo: number, table = "firewall") => ({
    at: new Date(NOW - minutesAgo * 60_000).toISOString(),
    table,
    created: 1,
    replaced: 0,
    removed: 0,
  });

  test.each([
    ["once in a while", [repair(1), repair(30), repair(60)], 0],
    ["in different tables", [repair(1), repair(2, "routes"), repair(3, "links")], 0],
    ["again and again", [repair(1), repair(2), repair(3)], 1],
  ])("%s", (_, repairs, count) => {
    const notices = planRevertNotices(repairs, NOW);
    expect(notices).toHaveLength(count);
    for (const { message } of notices)
      expect(message).toMatch(/keeps changing firewall rows.*second network manager/);
  });
});

describe("routes that no lease explains", () => {
  const route = (dst: string, changes: Partial<ForeignRoute> = {}): ForeignRoute => ({
    dst: parseCidr(dst),
    via: parseIp("192.0.2.9"),
    dev: "eth0",
    metric: 0,
    fromBoot: true,
    ...changes,
  });
  const notices = (...routes: readonly ForeignRoute[]): readonly Notice[] =>
    planLeftoverNotices({
      uplink: { name: "eth0" },
      routes,
      self: lease(1),
      leases: book(3),
      networks: [parseCidr("10.244.0.0/16")],
    });

  test("as Go flannel leaves them for a node that has gone: told, with the command", () => {
    expect(notices(route("10.244.9.0/24"))).toEqual([
      {
        type: "Warning",
        reason: "RouteUnexplained",
        message: expect.stringMatching(
          /^packets to 10\.244\.9\.0\/24 go to 192\.0\.2\.9, .*ip route del 10\.244\.9\.0\/24 via 192\.0\.2\.9$/,
        ) as string,
      },
    ]);
  });
  const { fromBoot: _, ...deliberate } = route("10.244.9.0/24");
  const { via: __, ...direct } = route("10.244.9.0/24");
  test.each([
    ["a node that is there", route("10.244.2.0/24")],
    ["our own subnet", route("10.244.1.0/24")],
    ["another network", route("10.99.9.0/24")],
    ["more or less than a node's subnet", route("10.244.8.0/22")],
    ["the other family", route("fd00::/24")],
    ["another interface", route("10.244.9.0/24", { dev: "eth1" })],
    ["somewhere by a protocol of its own", deliberate],
    ["a link", direct],
  ])("not those to %s", (_name, each) => {
    expect(notices(each)).toEqual([]);
  });
});

describe("MTU", () => {
  const port = (name: string, mtu: number, master = "cni0") => ({
    name,
    index: 9,
    mtu,
    up: true,
    master,
    addresses: [],
  });
  const address = (ip: string) => ({
    ip: parseIp(ip),
    prefixLength: 24,
    scope: "global" as const,
    dynamic: false,
    temporary: false,
    deprecated: false,
  });
  const bridge = (name: string, ip: string) => ({
    name,
    index: 5,
    mtu: 1450,
    up: true,
    addresses: [address(ip)],
  });
  const facts = (changes: Partial<MtuFacts>): MtuFacts => ({
    uplink: { name: "eth0", mtu: 1500 },
    interfaces: [bridge("cni0", "10.244.1.1"), port("veth1", 1450)],
    self: lease(1),
    podMtu: 1450,
    outerMtu: undefined,
    ...changes,
  });

  test.each<[string, Partial<MtuFacts>, readonly RegExp[]]>([
    ["all fits", {}, []],
    ["a configured MTU that the uplink carries", { outerMtu: 1500 }, []],
    [
      "a configured MTU that it does not carry",
      { outerMtu: 9000 },
      [/9000 bytes out \(Backend.MTU\), but eth0 carries 1500: .* set Backend.MTU to 1500 or less/],
    ],
    [
      "pods from before the uplink's MTU went down",
      {
        podMtu: 1350,
        interfaces: [
          bridge("cni0", "10.244.1.1"),
          port("veth1", 1450),
          port("veth2", 1350),
          port("veth3", 1450),
        ],
      },
      [/^2 pods .*veth1: 1450.*than the network has now \(1350\): .* delete these pods/],
    ],
    [
      "ports of a bridge that is not the pods'",
      { interfaces: [bridge("br0", "192.0.2.1"), port("veth1", 9000, "br0")] },
      [],
    ],
  ])("%s", (_, changes, expected) => {
    const notices = planMtuNotices(facts(changes));
    expect(notices.map(({ reason }) => reason)).toEqual(expected.map(() => "MTUMismatch"));
    for (const [index, pattern] of expected.entries()) expect(notices[index]?.message).toMatch(pattern);
  });
});

describe("the host", () => {
  const check = (missing: readonly string[], hasDataPath = true) =>
    checkHost({ families: [4, 6], hasDataPath }, (file) => !missing.includes(file)).map(
      ({ reason }) => reason,
    );

  test("has all", () => expect(check([])).toEqual([]));
  test("has no br_netfilter", () => {
    expect(check(["/proc/sys/net/bridge/bridge-nf-call-ip6tables"])).toEqual(["BridgeNetfilterMissing"]);
    expect(check(["/proc/sys/net/bridge/bridge-nf-call-ip6tables"], false)).toEqual([]);
  });
  test("lacks a CNI plugin", () => expect(check(["/opt/cni/bin/portmap"])).toEqual(["CNIPluginMissing"]));
  test("cannot be seen from a container", () => expect(check(["/opt/cni/bin"])).toEqual([]));
});

test("the board says a thing at once, again after half an hour, and logs the host's state once", () => {
  const said: Notice[] = [];
  const log = memoryLogger();
  let now = 0;
  let found: readonly Notice[] = [{ type: "Warning", reason: "R", message: "m" }];
  const board = new NoticeBoard(
    { families: [4], hasDataPath: true, backend: { podMtu: () => 1350 }, networks: [] },
    { notify: (notice) => void said.push(notice), log, now: () => now, checkHost: () => found },
  );
  const agent = (mtu: number) =>
    ({
      reach: [unreached(1, "why")],
      leases: book(1),
      repairs: { recent: [], total: 0 },
      node: { uplink: { name: "eth0", mtu } },
      facts: { interfaces: [], routes: [] },
      self: lease(1),
    }) as unknown as NodeAgent;
  const pass = (mtu: number): readonly string[] => {
    said.length = 0;
    board.afterPass(agent(mtu));
    board.lookAtHost();
    return said.map(({ reason }) => reason);
  };
  expect(pass(1500)).toEqual(["PeerUnreachable", "R"]);
  now += 60_000;
  expect(pass(1500)).toEqual([]);
  expect(pass(1400)).toEqual(["MTUChanged"]);
  now += 31 * 60_000;
  expect(pass(1400)).toEqual(["PeerUnreachable", "R"]);
  expect(log.lines).toHaveLength(1);
  found = [];
  pass(1400);
  found = [{ type: "Warning", reason: "R", message: "m" }];
  pass(1400);
  expect(log.lines).toHaveLength(2);
});

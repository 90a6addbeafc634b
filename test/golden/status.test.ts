// The text of `status`, one file per situation, reviewed as documentation.
import { describe, expect, it } from "vitest";
import { renderStatus } from "../../src/cli/status-render.ts";
import type { StatusReport } from "../../src/daemon/status-report.ts";

const NOW = Date.parse("2026-11-21T12:00:00Z");

const READY: StatusReport = {
  version: "0.1.0",
  pid: 4711,
  startedAt: "2026-11-21T08:48:00Z",
  ready: true,
  store: { kind: "etcd", connected: true },
  network: { ipv4: "10.244.0.0/16", backend: "vxlan" },
  lease: { subnet: "10.244.1.0/24", publicIp: "192.0.2.11", expiresAt: "2026-11-22T11:05:00Z" },
  uplink: { name: "eth0", mtu: 1500, addresses: ["192.0.2.11"] },
  podMtu: 1450,
  iptables: "nft",
  peers: [
    {
      nodeName: "192.0.2.12",
      subnet: "10.244.2.0/24",
      publicIp: "192.0.2.12",
      backendType: "vxlan",
      how: "vxlan",
    },
    {
      nodeName: "192.0.2.13",
      subnet: "10.244.30.0/24",
      publicIp: "192.0.2.13",
      backendType: "vxlan",
      how: "direct",
    },
  ],
  skippedLeases: [],
  tables: [
    { table: "links", desired: 1, failed: [] },
    { table: "routes", desired: 2, failed: [] },
  ],
  lastPass: { at: "2026-11-21T11:59:48Z", durationMs: 34, changed: 5, failed: 0 },
  repairs: [],
  repairsTotal: 0,
  processesStarted: 42,
};

const TROUBLED: StatusReport = {
  ...READY,
  unexplainedRoutes: [
    "packets to 10.244.9.0/24 go to 192.0.2.19, by a route that is not ours; ip route del 10.244.9.0/24 via 192.0.2.19",
  ],
  store: {
    kind: "etcd",
    connected: false,
    problem: "https://192.0.2.1:2379: connection refused; is etcd running?",
  },
  lease: { subnet: "10.244.1.0/24", subnet6: "fd00:10:244:1::/64", publicIp: "192.0.2.11" },
  network: { ipv4: "10.244.0.0/16", ipv6: "fd00:10:244::/56", backend: "host-gw" },
  uplink: { name: "eth0", mtu: 1500, addresses: ["192.0.2.11", "2001:db8::11"] },
  peers: [
    {
      nodeName: "node-b",
      subnet: "10.244.2.0/24",
      subnet6: "fd00:10:244:2::/64",
      publicIp: "192.0.2.12",
      backendType: "host-gw",
      how: "direct",
    },
    {
      nodeName: "node-c\u001b[2J\nREADY",
      subnet: "10.244.3.0/24",
      publicIp: "198.51.100.7",
      backendType: "host-gw",
      how: "unreachable",
      problem:
        "198.51.100.7 is not on the link of eth0; use vxlan with DirectRouting for nodes behind a router",
    },
  ],
  skippedLeases: [{ key: "/coreos.com/network/subnets/x", reason: "not a subnet key; delete it" }],
  tables: [
    { table: "links", desired: 0, failed: [] },
    {
      table: "routes",
      desired: 2,
      failed: [{ key: "10.244.2.0/24", reason: "RTNETLINK answers: Network is unreachable" }],
    },
  ],
  lastPass: { at: "2026-11-21T11:57:00Z", durationMs: 3, changed: 0, failed: 1 },
  repairs: [
    { at: "2026-11-21T11:00:00Z", table: "routes", created: 2, replaced: 0, removed: 1 },
    { at: "2026-11-19T09:00:00Z", table: "links", created: 0, replaced: 1, removed: 0 },
  ],
  repairsTotal: 23,
};

const STARTING: StatusReport = {
  version: "0.1.0",
  pid: 4711,
  startedAt: "2026-11-21T11:59:59.500Z",
  ready: false,
  notReadyReason: "waiting for the network configuration: etcd has none under /coreos.com/network/config",
  store: { kind: "etcd", connected: true },
  peers: [],
  skippedLeases: [],
  tables: [],
  repairs: [],
  repairsTotal: 0,
  processesStarted: 0,
};

const ON_KUBERNETES: StatusReport = {
  ...READY,
  store: { kind: "kubernetes", connected: true },
  lease: { subnet: "10.244.1.0/24", publicIp: "192.0.2.11" },
  peers: [
    {
      nodeName: "worker-2",
      subnet: "10.244.2.0/24",
      publicIp: "192.0.2.12",
      backendType: "vxlan",
      how: "vxlan",
    },
  ],
  skippedLeases: [
    { key: "node worker-3", reason: "annotation flannel.alpha.coreos.com/public-ip is absent; see its log" },
  ],
};

const WITH_POLICY: StatusReport = {
  ...READY,
  ready: false,
  notReadyReason:
    "the kernel module br_netfilter is not loaded, so network policy between pods of this node cannot be enforced",
  policy: {
    enforced: false,
    problems: [
      "the kernel module br_netfilter is not loaded, so network policy between pods of this node cannot be enforced; run modprobe br_netfilter on the node and name it in /etc/modules-load.d/",
    ],
    source: { connected: true },
    pods: 120,
    namespaces: 4,
    policies: 7,
    attachments: 30,
    waiting: 1,
    isolatedPods: 12,
    rows: { chainsAndJumps: 31, sets: 22, members: 310 },
    repairsTotal: 3,
    skipped: [{ key: "policies default/web", reason: "spec.ingress[0].ports[0].port: 0 is out of range" }],
  },
};

const PROBED: StatusReport = {
  ...READY,
  probes: {
    transport: "raw-socket",
    intervalSeconds: 5,
    actualIntervalSeconds: 20,
    sent: 1000,
    answered: 990,
  },
  peers: [
    {
      ...READY.peers[0]!,
      probes: [
        probe("underlay", { rttMs: 0.412, fullBytes: 1500, passesBytes: 1500 }),
        probe("overlay", {
          rttMs: 0.533,
          fullBytes: 1450,
          passesBytes: 1350,
          condition: "black hole",
          problem:
            "overlay: black hole: packets of more than 1350 bytes to 10.244.2.0 vanish, though 1450 should pass",
        }),
      ],
    },
    {
      ...READY.peers[1]!,
      probes: [
        probe("underlay", {
          rttMs: 12.345,
          fullBytes: 1500,
          loss: 0.25,
          condition: "lossy",
          problem: "underlay: 25% of the last 20 packets were lost",
        }),
        probe("underlay", { rttMs: 1, fullBytes: 1500, family: 6 }),
        probe("overlay", {
          condition: "no answer",
          fullBytes: 1450,
          loss: 1,
          problem: "overlay: no answer from 10.244.30.0 to ICMP echo: let UDP port 8472 through",
        }),
      ],
    },
  ],
};

type PathStatus = NonNullable<StatusReport["peers"][number]["probes"]>[number];

function probe(
  via: PathStatus["via"],
  rest: Partial<PathStatus> & Pick<PathStatus, "fullBytes">,
): PathStatus {
  return { via, family: 4, address: "192.0.2.12", condition: "ok", loss: 0, echoes: 20, ...rest };
}

describe("status", () => {
  it.each([
    ["ready", READY],
    ["on-kubernetes", ON_KUBERNETES],
    ["troubled", TROUBLED],
    ["probed", PROBED],
    ["policed", WITH_POLICY],
    ["starting", STARTING],
  ])("of a node that is %s", async (name, report) => {
    await expect(renderStatus(report, NOW)).toMatchFileSnapshot(`status-${name}.txt`);
  });

  it("is quick for thousands of peers", () => {
    const [peer] = READY.peers;
    if (peer === undefined) throw new Error("no peer");
    const peers = Array.from({ length: 5000 }, () => peer);
    expect(renderStatus({ ...READY, peers }, NOW).split("\n")).toHaveLength(5018);
  });
});

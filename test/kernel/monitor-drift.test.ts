// The real monitor on the real kernel: what changes by hand is reported as drift of the right tables, our writes are not.
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { createHostApplier } from "../../src/host/apply.ts";
import type { HostApplier } from "../../src/host/apply.ts";
import { mergeHostStates } from "../../src/host/state.ts";
import type { HostState } from "../../src/host/state.ts";
import type { TableName } from "../../src/host/kernel-table.ts";
import type { SpawnLines } from "../../src/kernel/exec.ts";
import { driftOf, indexForDrift } from "../../src/kernel/drift.ts";
import type { DriftIndex } from "../../src/kernel/drift.ts";
import { readHostFacts } from "../../src/kernel/host-facts.ts";
import { startMonitor } from "../../src/kernel/monitor.ts";
import type { Monitor } from "../../src/kernel/monitor.ts";
import type { KernelEvent } from "../../src/kernel/monitor-codec.ts";
import { createNetTables } from "../../src/kernel/tables.ts";
import { SILENT_LOGGER } from "../../src/net/logger.ts";
import { createFakeKernel } from "../support/fake-kernel-table.ts";
import { createOverlayNode, OWNERSHIP } from "../support/overlay-node.ts";
import type { OverlayNode } from "../support/overlay-node.ts";
import { overlayPlan } from "../support/overlay-plan.ts";
import { waitFor } from "../support/wait.ts";

const MARKER = "02:00:00:aa:aa:aa";

let node: OverlayNode;
let applier: HostApplier;
let monitor: Monitor;
let stop: AbortController;
let index: DriftIndex | undefined;
let events: KernelEvent[];
/** Of the monitor's children. */
let pids: number[];
let drifted: Set<TableName | "uplink">;

beforeEach(async () => {
  node = await createOverlayNode();
  const net = createNetTables({ ownership: OWNERSHIP, exec: node.exec, sysctlFiles: node.sysctlFiles });
  applier = createHostApplier({ ...net, firewall: createFakeKernel().tables.firewall });
  stop = new AbortController();
  events = [];
  pids = [];
  drifted = new Set();
  index = undefined;
  monitor = startMonitor(
    { signal: stop.signal, onEvent: remember },
    { spawnLines: spawnAndRemember, log: SILENT_LOGGER },
  );
  await monitor.listening;
});

afterEach(async () => {
  stop.abort();
  await monitor.ended;
  await node.remove();
});

const spawnAndRemember: SpawnLines = (...args) => {
  const child = node.spawnLines(...args);
  if (child.pid !== undefined) pids.push(child.pid);
  return child;
};

function remember(event: KernelEvent): void {
  events.push(event);
  if (index === undefined) return;
  const { tables, uplink } = driftOf(event, index);
  for (const table of tables) drifted.add(table);
  if (uplink) drifted.add("uplink");
}

/** As the daemon does it: facts, then the index, then the writes. */
async function apply(desired: HostState) {
  const facts = await readHostFacts({ ownership: OWNERSHIP, exec: node.exec });
  index = indexForDrift(desired, { ownership: OWNERSHIP, uplink: "eth0", facts });
  const report = await applier.apply(desired);
  expect(report.tables.flatMap((table) => table.failed)).toEqual([]);
  return report;
}

/** Events come in order, so when the marker has come, everything before it has. */
async function settle(): Promise<ReadonlySet<string>> {
  await node.run(
    `ip neigh replace 192.0.2.254 lladdr ${MARKER} dev eth0-peer nud permanent`,
    "ip neigh del 192.0.2.254 dev eth0-peer",
  );
  await waitFor("the marker event", () =>
    events.some((event) => event.kind === "neighbor" && event.mac === MARKER),
  );
  events = [];
  return drifted;
}

const PLAN = overlayPlan({ peers: 3, families: [4, 6], direct: 1 });

describe("our own writes", () => {
  it("cause no drift, whatever they change", async () => {
    await apply(PLAN);
    await apply(overlayPlan({ peers: 5, families: [4, 6], direct: 2 }));
    await apply(overlayPlan({ peers: 2, families: [4, 6], direct: 0 }));
    await apply(
      mergeHostStates(PLAN, { sysctls: [{ key: "net/ipv6/conf/flannel.1/accept_ra", value: "2" }] }),
    );
    expect(await settle()).toEqual(new Set());
  });

  it("cause no drift when a thousand peers come at once", async () => {
    await apply(overlayPlan({ peers: 1000, families: [4], direct: 0 }));
    expect(await settle()).toEqual(new Set());
  });
});

describe("a change by hand", () => {
  const cases: readonly { name: string; commands: readonly string[]; expected: readonly string[] }[] = [
    { name: "route deleted", commands: ["ip route del 10.244.2.0/24"], expected: ["routes"] },
    { name: "IPv6 route deleted", commands: ["ip -6 route del fd00:244:0:2::/64"], expected: ["routes"] },
    {
      name: "direct route deleted",
      commands: ["ip route del 10.244.4.0/24"],
      expected: ["routes"],
    },
    {
      name: "route taken over by another program",
      commands: ["ip route replace 10.244.2.0/24 via 192.0.2.9 dev eth0 proto static"],
      expected: ["routes"],
    },
    {
      name: "route of ours added that is not planned",
      commands: ["ip route add 10.244.99.0/24 via 192.0.2.9 dev eth0 proto 250"],
      expected: ["routes"],
    },
    {
      name: "neighbor deleted",
      commands: ["ip neigh del 10.244.2.0 dev flannel.1"],
      expected: ["neighbors"],
    },
    {
      name: "neighbor with another MAC",
      commands: ["ip neigh replace 10.244.2.0 lladdr 02:00:00:00:99:99 dev flannel.1 nud permanent"],
      expected: ["neighbors"],
    },
    {
      name: "FDB entry deleted",
      commands: ["bridge fdb del 02:00:00:04:00:02 dev flannel.1 dst 192.0.2.2 self"],
      expected: ["fdb"],
    },
    {
      name: "FDB entry with another remote",
      commands: ["bridge fdb replace 02:00:00:04:00:02 dev flannel.1 dst 192.0.2.99 self permanent"],
      expected: ["fdb"],
    },
    {
      name: "address deleted",
      commands: ["ip address del 10.244.1.0/32 dev flannel.1"],
      expected: ["addresses", "neighbors", "routes"],
    },
    {
      name: "address added in our network",
      commands: ["ip address add 10.244.77.0/32 dev flannel.1"],
      expected: ["addresses"],
    },
    {
      name: "MTU changed",
      commands: ["ip link set flannel.1 mtu 1300"],
      expected: ["addresses", "fdb", "links", "neighbors", "routes", "sysctls"],
    },
    {
      name: "MAC changed",
      commands: ["ip link set flannel.1 address 02:00:00:00:99:99"],
      expected: ["addresses", "fdb", "links", "neighbors", "routes", "sysctls"],
    },
    {
      name: "device flapped",
      commands: ["ip link set flannel.1 down", "ip link set flannel.1 up"],
      expected: ["addresses", "fdb", "links", "neighbors", "routes", "sysctls"],
    },
    {
      name: "IPv6 device flapped",
      commands: ["ip link set flannel-v6.1 down", "ip link set flannel-v6.1 up"],
      expected: ["addresses", "fdb", "links", "neighbors", "routes", "sysctls"],
    },
    {
      name: "device deleted",
      commands: ["ip link del flannel.1"],
      expected: ["addresses", "fdb", "links", "neighbors", "routes", "sysctls"],
    },
    {
      name: "uplink flapped",
      // The kernel drops global IPv6 addresses with the link; whoever gave the address gives it again.
      commands: [
        "ip link set eth0 down",
        "ip link set eth0 up",
        "ip address add 2001:db8::1/64 dev eth0 nodad",
      ],
      expected: ["routes", "uplink"],
    },
    {
      name: "uplink address added",
      commands: ["ip address add 192.0.2.77/24 dev eth0"],
      expected: ["uplink"],
    },
    {
      name: "uplink address removed",
      commands: ["ip address del 2001:db8::1/64 dev eth0"],
      expected: ["uplink", "routes"],
    },
    {
      name: "uplink route added",
      commands: ["ip route add default via 192.0.2.254"],
      expected: ["uplink"],
    },
    {
      name: "uplink MTU changed",
      commands: ["ip link set eth0 mtu 1600"],
      expected: ["links", "routes", "uplink"],
    },
  ];

  for (const { name, commands, expected } of cases) {
    it(`is reported and repaired: ${name}`, async () => {
      await apply(PLAN);
      await settle();
      await node.run(...commands);
      const found = await settle();
      expect([...found].toSorted()).toEqual([...expected].toSorted());

      applier.invalidate([...found].filter((table) => table !== "uplink") as TableName[]);
      const repair = await apply(PLAN);
      const hasRepaired = repair.tables.some(
        ({ repaired }) => repaired.created + repaired.replaced + repaired.removed > 0,
      );
      const isOurs = !name.startsWith("uplink");
      if (isOurs && name !== "IPv6 device flapped") expect(hasRepaired).toBe(true);
      applier.invalidate();
      const check = await apply(PLAN);
      const changed = check.tables.map((table) => table.created + table.replaced + table.removed);
      expect(changed).toEqual(changed.map(() => 0));
    });
  }
});

describe("what does not concern us", () => {
  it("causes no drift: pods coming and going, other devices, routes and neighbors", async () => {
    await apply(PLAN);
    await settle();
    await node.run(
      "ip link add cni0 type bridge",
      "ip address add 10.244.1.1/24 dev cni0",
      "ip link set cni0 up",
    );
    for (const pod of ["a", "b", "c"]) {
      await node.run(
        `ip link add veth-${pod} type veth peer name pod-${pod}`,
        `ip link set veth-${pod} master cni0 up`,
        `ip link set pod-${pod} up`,
        `ip neigh replace 10.244.1.9 lladdr 02:00:00:00:00:77 dev cni0`,
        `ip link del veth-${pod}`,
      );
    }
    await node.run(
      "ip link add vxlan9 type vxlan id 9 dev eth0 dstport 4789",
      "bridge fdb add 02:00:00:00:00:97 dev vxlan9 dst 192.0.2.9 self permanent",
      "ip link set vxlan9 up",
      "ip link del vxlan9",
      "ip route add 198.51.100.0/24 dev cni0",
      "ip neigh add 192.0.2.200 lladdr 02:00:00:00:00:99 dev eth0",
      "ip neigh add 10.244.2.9 lladdr 02:00:00:00:00:99 dev flannel.1 nud stale",
      "ip route add 10.244.2.0/24 via 192.0.2.9 dev eth0 table 100",
    );
    expect(await settle()).toEqual(new Set());
  });
});

describe("the monitor", () => {
  it("says that everything may have changed when its child dies, and goes on with a new one", async () => {
    await apply(PLAN);
    await settle();
    const [pid = 0] = pids;
    process.kill(pid);
    await waitFor("the restart", () => events.some((event) => event.kind === "everything"));
    expect(pids).toHaveLength(2);
    drifted.clear();
    await node.run("ip route del 10.244.2.0/24");
    expect(await settle()).toEqual(new Set(["routes"]));
  });

  it("stops its child", async () => {
    stop.abort();
    await monitor.ended;
    const [pid = 0] = pids;
    expect(() => process.kill(pid, 0)).toThrow("ESRCH");
  });
});

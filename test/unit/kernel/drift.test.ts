// Events against a plan: the cases that the real kernel does not produce on demand.
import { describe, expect, it } from "vitest";
import type { HostFacts } from "../../../src/host/uplink.ts";
import { driftOf, indexForDrift } from "../../../src/kernel/drift.ts";
import type { DriftIndex } from "../../../src/kernel/drift.ts";
import { parseMonitorLine } from "../../../src/kernel/monitor-codec.ts";
import { parseCidr } from "../../../src/net/cidr.ts";
import { parseIp } from "../../../src/net/ip.ts";
import { OWNERSHIP } from "../../support/overlay-node.ts";
import { overlayPlan } from "../../support/overlay-plan.ts";

const PLAN = overlayPlan({ peers: 2, families: [4, 6], direct: 1 });
const ETH0: HostFacts = {
  interfaces: [
    {
      name: "eth0",
      index: 3,
      mtu: 1500,
      up: true,
      addresses: [
        {
          ip: parseIp("192.0.2.1"),
          prefixLength: 24,
          scope: "global",
          dynamic: true,
          temporary: false,
          deprecated: false,
        },
      ],
    },
  ],
  routes: [{ dst: parseCidr("0.0.0.0/0"), via: parseIp("192.0.2.254"), dev: "eth0", metric: 100 }],
};
const KNOWN = indexForDrift(PLAN, { ownership: OWNERSHIP, uplink: "eth0", facts: ETH0 });

/** "routes neighbors uplink", as the line reports it. */
function drift(line: string, index: DriftIndex = KNOWN): string {
  const event = parseMonitorLine(line);
  if (event === undefined) throw new Error(`no event: ${line}`);
  const { tables, uplink } = driftOf(event, index);
  return [...tables, ...(uplink ? ["uplink"] : [])].join(" ");
}

const ETH0_LINE =
  "3: eth0@if7: <BROADCAST,UP,LOWER_UP> mtu 1500 qdisc noqueue state UP group 0 \\    link/[1] 02:00:00:00:00:aa brd x";

describe("FDB entries that Go flannel made, permanent but not NOARP", () => {
  it("are right when planned", () => {
    expect(drift("192.0.2.2 dev flannel.1 lladdr 02:00:00:04:00:02 PERMANENT")).toBe("");
  });
  it("are missed when deleted", () => {
    expect(drift("Deleted 192.0.2.2 dev flannel.1 lladdr 02:00:00:04:00:02 PERMANENT")).toBe("fdb");
  });
  it("may be a neighbor or an FDB entry when not planned", () => {
    expect(drift("192.0.2.9 dev flannel.1 lladdr 02:00:00:00:00:09 PERMANENT")).toBe("neighbors fdb");
  });
});

describe("the uplink", () => {
  for (const { name, line, expected } of [
    { name: "as known", line: ETH0_LINE, expected: "" },
    { name: "down", line: ETH0_LINE.replace("UP,LOWER_UP", "MULTICAST"), expected: "routes uplink" },
    { name: "with another MTU", line: ETH0_LINE.replace("1500", "9000"), expected: "links routes uplink" },
    { name: "deleted", line: `Deleted ${ETH0_LINE}`, expected: "routes uplink" },
    {
      name: "lease renewed",
      line: "3: eth0    inet 192.0.2.1/24 brd 192.0.2.255 scope 0 dynamic eth0",
      expected: "",
    },
    {
      name: "address gone",
      line: "Deleted 3: eth0    inet 192.0.2.1/24 scope 0 eth0",
      expected: "routes uplink",
    },
    { name: "new address", line: "3: eth0    inet 192.0.2.7/24 scope 0 eth0", expected: "uplink" },
    { name: "unknown address gone", line: "Deleted 3: eth0    inet 192.0.2.7/24 scope 0 eth0", expected: "" },
    { name: "route as known", line: "default via 192.0.2.254 dev eth0 proto 16 metric 100", expected: "" },
    {
      name: "route gone",
      line: "Deleted default via 192.0.2.254 dev eth0 proto 16 metric 100",
      expected: "uplink",
    },
    { name: "new route", line: "default via 192.0.2.253 dev eth0 proto 16 metric 50", expected: "uplink" },
    { name: "unknown route gone", line: "Deleted 198.51.100.0/24 via 192.0.2.9 dev eth0", expected: "" },
  ]) {
    it(name, () => expect(drift(line)).toBe(expected));
  }

  it("coming up after it was known to be down has lost its routes", () => {
    const [eth0] = ETH0.interfaces;
    if (eth0 === undefined) throw new Error("no interface");
    const facts = { ...ETH0, interfaces: [{ ...eth0, up: false }] };
    expect(drift(ETH0_LINE, indexForDrift(PLAN, { ownership: OWNERSHIP, uplink: "eth0", facts }))).toBe(
      "routes uplink",
    );
  });

  it("of which nothing is known is always reported", () => {
    const index = indexForDrift(PLAN, { ownership: OWNERSHIP, uplink: "eth0" });
    expect(drift("3: eth0    inet 192.0.2.1/24 scope 0 eth0", index)).toBe("uplink");
    expect(drift("default via 192.0.2.254 dev eth0", index)).toBe("uplink");
  });
});

describe("rows of ours", () => {
  for (const { name, line, expected } of [
    {
      name: "a route as planned",
      line: "10.244.2.0/24 via 10.244.2.0 dev flannel.1 proto 250 onlink",
      expected: "",
    },
    {
      name: "a route that was not ours is deleted at a planned destination",
      line: "Deleted 10.244.2.0/24 via 192.0.2.2 dev eth0 proto 250",
      expected: "",
    },
    {
      name: "a direct route of a Go flannel instead of ours",
      line: "10.244.3.0/24 via 192.0.2.3 dev eth0",
      expected: "routes",
    },
    {
      name: "another instance's route",
      line: "10.250.3.0/24 via 192.0.2.3 dev eth1 proto 250",
      expected: "",
    },
    {
      name: "a learnt neighbor",
      line: "10.244.77.0 dev flannel.1 lladdr 02:00:00:00:00:09 STALE",
      expected: "",
    },
    {
      name: "a planned neighbor no longer permanent",
      line: "10.244.2.0 dev flannel.1 lladdr 02:00:00:04:00:02 STALE",
      expected: "neighbors",
    },
    { name: "a link-local address", line: "4: flannel.1    inet6 fe80::1/64 scope 253", expected: "" },
    {
      name: "an IPv4 address of others",
      line: "4: flannel.1    inet 198.51.100.1/24 scope 0 flannel.1",
      expected: "",
    },
  ]) {
    it(name, () => expect(drift(line)).toBe(expected));
  }
});

it("reports everything when events were lost", () => {
  const { tables, uplink } = driftOf({ kind: "everything", reason: "test" }, KNOWN);
  expect(tables).toHaveLength(7);
  expect(uplink).toBe(true);
});

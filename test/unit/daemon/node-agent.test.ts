// The running daemon over fakes: what it does about the host must not depend on how the store is.
import { expect, test } from "vitest";
import { createBackend } from "../../../src/backends/registry.ts";
import { NodeAgent } from "../../../src/daemon/node-agent.ts";
import { ownershipOf } from "../../../src/host/ownership.ts";
import type { HostState } from "../../../src/host/state.ts";
import type { HostFacts } from "../../../src/host/uplink.ts";
import type { Lease } from "../../../src/ipam/lease.ts";
import type { SubnetManager } from "../../../src/ipam/subnet-manager.ts";
import { parseCidr } from "../../../src/net/cidr.ts";
import { parseIp } from "../../../src/net/ip.ts";
import { lease, networkConfig, NODE, UPLINK } from "../../support/backend-inputs.ts";
import { memoryLogger } from "../../support/memory-logger.ts";
import { waitFor } from "../../support/wait.ts";

/** eth0 with this address on 192.0.2.0/24. */
function factsWith(address: string): HostFacts {
  const flags = { dynamic: false, temporary: false, deprecated: false };
  const addresses = [{ ip: parseIp(address), prefixLength: 24, scope: "global", ...flags } as const];
  const routes = UPLINK.routes.filter(({ dst }) => !dst.includes(":"));
  return { interfaces: [{ name: "eth0", index: 2, mtu: 1500, up: true, addresses }], routes };
}

function createAgent(
  updateLease: (lease: Lease) => Promise<void>,
  during: {
    readonly apply?: (agent: NodeAgent) => void;
    readonly becomeReady?: (agent: NodeAgent) => void;
  } = {},
) {
  const files: (string | undefined)[] = [];
  const applied: HostState[] = [];
  let facts = factsWith("192.0.2.1");
  const config = networkConfig("vxlan");
  const agent: NodeAgent = new NodeAgent(
    {
      config,
      backend: createBackend(config),
      wish: { families: [4], ifaces: ["eth0"], ifaceRegexes: [] },
      plan: {
        ipMasq: false,
        randomFully: false,
        forwardRules: false,
        blackhole: false,
        chainPrefix: "FLANNEL-",
      },
      ownership: ownershipOf([parseCidr("10.244.0.0/16")], ["flannel.1"]),
      self: lease(1, "vxlan"),
      node: NODE,
      facts,
    },
    {
      applier: {
        apply: (desired) => {
          applied.push(desired);
          during.apply?.(agent);
          return Promise.resolve({ tables: [] });
        },
        invalidate: () => undefined,
      },
      readFacts: () => Promise.resolve(facts),
      manager: { updateLease, health: () => ({ connected: true, skipped: [] }) } as unknown as SubnetManager,
      log: memoryLogger(),
      now: () => 0,
      request: () => undefined,
      becomeReady: ({ subnet }) => {
        files.push(subnet);
        during.becomeReady?.(agent);
        return Promise.resolve();
      },
    },
  );
  agent.onLeaseEvent({ type: "snapshot", leases: [lease(1, "vxlan"), lease(2, "vxlan")] });
  return {
    agent,
    applied,
    files,
    moveTo: (address: string) => {
      facts = factsWith(address);
    },
  };
}

// Found end to end: etcd's connection had the address that went, and for seconds no route was put back.
test("a new uplink address is programmed at once, though the store is silent", async () => {
  const { agent, applied, moveTo } = createAgent(() => new Promise(() => undefined));
  await agent.pass({ full: false });
  moveTo("192.0.2.77");
  const complete = await agent.pass({ full: true });
  expect(applied.at(-1)?.links[0]).toMatchObject({ local: "192.0.2.77" });
  // Not done until the peers know.
  expect(complete).toBe(false);
});

test("a change is published once while the store is silent, again after a failure, and with what it is by then", async () => {
  const asked: unknown[] = [];
  let answer: { resolve: () => void; reject: (error: Error) => void } | undefined;
  const { agent, moveTo } = createAgent(
    ({ publicIp }) =>
      new Promise((resolve, reject) => {
        asked.push(publicIp);
        answer = { resolve, reject };
      }),
  );
  await agent.pass({ full: false });
  expect(asked).toEqual([]);
  moveTo("192.0.2.77");
  await agent.pass({ full: true });
  await agent.pass({ full: false });
  expect(asked).toEqual(["192.0.2.77"]);
  moveTo("192.0.2.78");
  await agent.pass({ full: true });
  answer?.reject(new Error("no quorum"));
  const passUntil = (count: number) =>
    waitFor("the lease to be published", async () => {
      await agent.pass({ full: false });
      return asked.length === count;
    });
  await passUntil(2);
  expect(asked).toEqual(["192.0.2.77", "192.0.2.78"]);
  answer?.resolve();
  await waitFor("the pass to be complete", () => agent.pass({ full: false }));
  expect(asked).toHaveLength(2);
});

// Found under load: subnet.env named the new subnet while the device still had the old one.
test.each(["apply", "becomeReady"] as const)(
  "another subnet that comes while a pass is at %s is not what runtimes read until the host has it",
  async (moment) => {
    const other = lease(3, "vxlan");
    let given = false;
    const give = (agent: NodeAgent): void => {
      if (!given) agent.onOwnLease(other);
      given = true;
    };
    const { agent, files } = createAgent(() => Promise.resolve(), { [moment]: give });
    expect(await agent.pass({ full: false })).toBe(false);
    expect(agent.ready).toBe(false);
    expect(files).toEqual(moment === "apply" ? [] : [lease(1, "vxlan").subnet]);
    expect(await agent.pass({ full: false })).toBe(true);
    expect(agent.ready).toBe(true);
    expect(files.at(-1)).toBe(other.subnet);
  },
);

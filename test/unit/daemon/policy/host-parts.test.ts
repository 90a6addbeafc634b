// The parts of the policy agent that look at the host: the bridge's switches, our own node, what the kernel can do.
import { describe, expect, it } from "vitest";
import { createBridgeSwitches } from "../../../../src/daemon/policy/bridge-switches.ts";
import { chooseFamilies, chooseSettings } from "../../../../src/daemon/policy/choose-settings.ts";
import { createOwnNode } from "../../../../src/daemon/policy/own-node.ts";
import type { NodeEvent } from "../../../../src/daemon/policy/own-node.ts";
import type { KernelTable } from "../../../../src/host/kernel-table.ts";
import type { FirewallRow } from "../../../../src/host/state.ts";
import { parseIp } from "../../../../src/net/ip.ts";
import { memoryLogger } from "../../../support/memory-logger.ts";

const SWITCH = "net/bridge/bridge-nf-call-iptables";

function errorOf(code: string): Error {
  return Object.assign(new Error(code), { code });
}

describe("the bridge's switches", () => {
  function start(values: Map<string, string>, refuse?: string) {
    const loaded: string[] = [];
    const switches = createBridgeSwitches(
      { families: [4] },
      {
        exec: (command) => {
          loaded.push(command);
          return Promise.resolve({ exitCode: 1, stdout: "", stderr: "" });
        },
        files: {
          read: (key) => {
            const value = values.get(key);
            return value === undefined ? Promise.reject(errorOf("ENOENT")) : Promise.resolve(`${value}\n`);
          },
          write: (key, value) => {
            if (refuse !== undefined) return Promise.reject(errorOf(refuse));
            values.set(key, value);
            return Promise.resolve();
          },
        },
      },
    );
    return { switches, loaded };
  }

  it("are turned on at first, which is no repair, and put back later, which is one", async () => {
    const values = new Map([[SWITCH, "0"]]);
    const { switches } = start(values);
    expect(await switches.check()).toEqual({ repaired: [] });
    expect(values.get(SWITCH)).toBe("1");
    values.set(SWITCH, "0");
    expect(await switches.check()).toEqual({ repaired: [SWITCH] });
    expect(await switches.check()).toEqual({ repaired: [] });
  });

  it("that are on already need no right to write", async () => {
    const { switches } = start(new Map([[SWITCH, "1"]]), "EROFS");
    expect(await switches.check()).toEqual({ repaired: [] });
  });

  it.each([
    [new Map<string, string>(), undefined, "run modprobe br_netfilter on the node"],
    [new Map([[SWITCH, "0"]]), "EROFS", "run sysctl -w net.bridge.bridge-nf-call-iptables=1 on the node"],
  ])("that cannot be had: a problem with its cure", async (values, refuse, cure) => {
    const { switches } = start(values, refuse);
    expect((await switches.check()).problem).toContain(cure);
  });

  it("come with the module, which is tried to be loaded once", async () => {
    const values = new Map<string, string>();
    const { switches, loaded } = start(values);
    await switches.check();
    await switches.check();
    expect(loaded).toEqual(["modprobe"]);
    values.set(SWITCH, "0");
    expect(await switches.check()).toEqual({ repaired: [] });
  });
});

describe("our own node", () => {
  it("has the addresses of the host besides those of the store, from the first snapshot on", () => {
    const events: NodeEvent[] = [];
    const told: number[] = [];
    const node = createOwnNode("n1", {
      emit: (event) => events.push(event),
      onChange: ({ addresses }) => told.push(addresses.length),
    });
    node.setAddresses([parseIp("10.0.0.1")]);
    expect(events).toEqual([]);
    const other = { name: "n2", addresses: [parseIp("10.0.0.2")], podCidrs: [] };
    node.apply({ type: "snapshot", kind: "nodes", objects: [other] });
    const own = { name: "n1", addresses: [parseIp("10.0.0.1")], podCidrs: [] };
    expect(events).toEqual([{ type: "snapshot", kind: "nodes", objects: [other, own] }]);
    node.setAddresses([parseIp("10.0.0.1")]);
    node.apply({ type: "put", kind: "nodes", object: { ...own, addresses: [parseIp("10.0.0.9")] } });
    expect(events.at(-1)).toMatchObject({ object: { addresses: ["10.0.0.9", "10.0.0.1"] } });
    node.apply({ type: "removed", kind: "nodes", key: "n1" });
    expect(events.at(-1)).toMatchObject({ type: "put", object: { addresses: ["10.0.0.1"] } });
    expect(events).toHaveLength(3);
    expect(told).toEqual([1, 2, 1]);
  });
});

describe("what this host can do", () => {
  const BOTH = { binaries: { 4: { save: "s", restore: "r" }, 6: { save: "s", restore: "r" } } };
  const ONLY4 = { binaries: { 4: { save: "s", restore: "r" } } };

  it("IPv6 is enforced also in a network without it, since pods have link-local addresses", () => {
    const log = memoryLogger();
    expect(chooseFamilies([4], BOTH, log, () => true)).toEqual([4, 6]);
    expect(chooseFamilies([4], BOTH, log, () => false)).toEqual([4]);
    expect(chooseFamilies([4], ONLY4, log, () => false)).toEqual([4]);
    expect(log.lines).toEqual([]);
    expect(chooseFamilies([4], ONLY4, log, () => true)).toEqual([4]);
    expect(log.lines[0]?.message).toContain("ip6tables is not installed");
  });

  it("without the bpf match hairpin falls back to policy, and that is said", async () => {
    const log = memoryLogger();
    const options = {
      podInterfaces: ["cni0"],
      denyWith: "drop",
      established: "end",
      icmp: "policy",
      podToNode: "policy",
      hairpin: "allow",
      addWait: 30,
      addFailure: "error",
    } as const;
    const put: string[] = [];
    const tableOf = (reason?: string): KernelTable<FirewallRow> => ({
      name: "firewall",
      key: () => "key",
      equal: () => true,
      list: () => Promise.resolve([]),
      put: (rows) => {
        put.push(...rows.map((row) => `put ${row.kind}`));
        return Promise.resolve(reason === undefined ? [] : [{ key: "key", reason }]);
      },
      remove: (rows) => {
        put.push(...rows.map((row) => `remove ${row.kind}`));
        return Promise.resolve([]);
      },
    });
    const settings = await chooseSettings(options, [4], { firewall: tableOf("No such file"), log });
    expect(settings.hairpin).toBe("policy");
    expect(log.lines[0]?.message).toContain("has no bpf match");
    expect(put).toEqual(["put chain", "remove chain"]);
    expect((await chooseSettings(options, [4], { firewall: tableOf(), log })).hairpin).toBe("allow");
    expect(log.lines).toHaveLength(1);
  });
});

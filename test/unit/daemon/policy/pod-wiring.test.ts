// Pods that attach where policy does not watch, or that CNI does not tell of: found, said once, and said when it is over.
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import {
  describeConflist,
  describeUnwatched,
  planUnwatched,
} from "../../../../src/daemon/policy/plan-pod-wiring.ts";
import type { WiringFacts } from "../../../../src/daemon/policy/plan-pod-wiring.ts";
import { createPodWiring } from "../../../../src/daemon/policy/pod-wiring.ts";
import { DEFAULT_CONFLIST, renderConflist } from "../../../../src/daemon/conflist.ts";
import { parseInterfaces } from "../../../../src/kernel/address-codec.ts";
import { parseCidr } from "../../../../src/net/cidr.ts";
import { memoryLogger } from "../../../support/memory-logger.ts";

interface Link {
  readonly name: string;
  readonly master?: string;
  readonly ip?: string;
}

/** As `ip -j address` tells of them. */
function interfacesOf(links: readonly Link[]): WiringFacts["interfaces"] {
  const list = links.map(({ name, master, ip }, i) => ({
    ifindex: i + 1,
    ifname: name,
    ...(master !== undefined && { master }),
    mtu: 1450,
    flags: ["UP"],
    addr_info: ip === undefined ? [] : [{ family: "inet", local: ip, prefixlen: 24, scope: "global" }],
  }));
  return parseInterfaces(JSON.stringify(list));
}

const BRIDGE: readonly Link[] = [
  { name: "flannel.1", ip: "10.244.1.0" },
  { name: "cni0", ip: "10.244.1.1" },
  { name: "veth1", master: "cni0" },
];
const OTHER = BRIDGE.map((link) => ({
  ...link,
  name: link.name.replace("cni0", "cbr0"),
  ...(link.master !== undefined && { master: "cbr0" }),
}));

describe("interfaces that no rule watches", () => {
  it.each<{ name: string; links: readonly Link[]; wires?: readonly string[]; watched?: readonly string[]; found: readonly string[] }>([
    { name: "a bridge as it should be", links: BRIDGE, wires: ["veth1"], found: [] },
    { name: "a bridge of another name, though nobody told of its pods", links: OTHER, found: ["cbr0"] },
    { name: "the same, watched by its beginning", links: OTHER, watched: ["cbr+"], found: [] },
    { name: "a bridge without address that a pod is wired to", links: [{ name: "br0" }, { name: "veth1", master: "br0" }], wires: ["veth1"], found: ["br0"] },
    { name: "wires without a bridge (ptp)", links: [{ name: "veth1", ip: "10.244.1.1" }, { name: "veth2", ip: "10.244.1.1" }], wires: ["veth1"], found: ["veth1", "veth2"] },
    { name: "a bridge that was left behind, without ports", links: [...BRIDGE, { name: "cbr0", ip: "10.244.1.1" }], found: [] },
    { name: "somebody else's bridge", links: [...BRIDGE, { name: "docker0", ip: "172.17.0.1" }, { name: "veth9", master: "docker0" }], found: [] },
    { name: "a wire that has gone", links: BRIDGE, wires: ["veth7"], found: [] },
  ])("$name: $found", ({ links, wires = [], watched = ["cni0"], found }) => {
    const rest = { podInterfaces: watched, podCidrs: [parseCidr("10.244.1.0/24")], ownDevices: ["flannel.1"], wires };
    expect(planUnwatched({ interfaces: interfacesOf(links), ...rest })).toEqual(found);
  }); // prettier-ignore

  it("are named with flag and bridge, many of them not one by one", () => {
    expect(describeUnwatched(["cbr0"], ["cni0"])).toBe(
      "network policy does not hold for pods that attach by cbr0, since it watches cni0 alone: start the daemon with " +
        "--policy-pod-interface=cni0 --policy-pod-interface=cbr0, or give the plugin in the CNI configuration the bridge cni0 " +
        "(delegate.bridge) and make the pods anew",
    );
    expect(describeUnwatched(["veth1", "veth2", "veth3", "veth4"], ["cni0"])).toMatch(
      /by veth1, veth2, veth3 and 1 more, .*--policy-pod-interface=veth\+,/,
    );
  });
});

describe("a CNI configuration", () => {
  const describeIt = (list: unknown): string | undefined =>
    describeConflist(JSON.stringify(list), "x.conflist", ["cni0"]);
  const plugin = (more: object = {}) => ({ type: "flannel", networkPolicy: {}, ...more });

  it("as the daemon writes it is right", () => {
    const policy = { socket: "/s", waitSeconds: 30, onFailure: "error" } as const;
    expect(describeConflist(renderConflist(undefined, policy), "x", ["cni0"])).toBeUndefined();
  });
  it.each([
    ["flannel's own", DEFAULT_CONFLIST, /does not tell flanneld of new pods.*add "networkPolicy": \{\}/],
    ["a single plugin", { type: "flannel" }, /does not tell/],
    ["one inside Multus", { type: "multus", delegates: [{ plugins: [{ type: "flannel" }] }] }, /does not tell/],
    ["another bridge", { plugins: [plugin({ delegate: { bridge: "cbr0" } })] }, /attaches pods to cbr0.*--policy-pod-interface=cbr0, or write cni0/],
  ])("%s is not", (_, list, words) => {
    expect(describeIt(list)).toMatch(words);
  }); // prettier-ignore
  it.each([
    ["another plugin's", { plugins: [{ type: "bridge" }] }],
    ["with a plugin that makes no bridge", { plugins: [plugin({ delegate: { type: "ptp" } })] }],
    ["that is no object", 7],
  ])("%s is none of our business", (_, list) => {
    expect(describeIt(list)).toBeUndefined();
  });
  it("that is no JSON is the runtime's to refuse", () => {
    expect(describeConflist("{", "x", ["cni0"])).toBeUndefined();
  });
});

describe("the watch over it", () => {
  let directory: string;
  beforeEach(() => {
    directory = mkdtempSync(path.join(tmpdir(), "fts-wiring-"));
  });
  afterEach(() => rmSync(directory, { recursive: true }));

  function start() {
    const log = memoryLogger();
    const notices: string[] = [];
    const cniDirectory = path.join(directory, "net.d");
    const wiring = createPodWiring(
      {
        podInterfaces: ["cni0"], ownDevices: ["flannel.1"], podCidrs: () => [parseCidr("10.244.1.0/24")], wires: () => [],
        cniDirectory, cniTemplate: path.join(directory, "cni-conf.json"), sysfs: directory,
      },
      { log, notify: ({ reason, message }) => void notices.push(`${reason}: ${message}`) },
    ); // prettier-ignore
    const write = (name: string, list: unknown): void => {
      mkdirSync(cniDirectory, { recursive: true });
      writeFileSync(path.join(cniDirectory, name), JSON.stringify(list));
    };
    return { log, notices, wiring, write, cniDirectory };
  }

  it("tells a change once, by log and Event, and when it is over", () => {
    const { log, notices, wiring } = start();
    const see = (links: readonly Link[]): void =>
      wiring.onInterfaces(interfacesOf(links) as Parameters<typeof wiring.onInterfaces>[0]);
    see(OTHER);
    see(OTHER);
    expect(wiring.problem).toContain("attach by cbr0");
    expect(notices).toEqual([`NetworkPolicyNotEnforced: ${wiring.problem}`]);
    see(BRIDGE);
    expect(wiring.problem).toBeUndefined();
    expect(log.lines.map(({ level }) => level)).toEqual(["error", "info"]);
  });

  it("looks at the file that runtimes take, the first by name", () => {
    const { wiring, write, cniDirectory } = start();
    write("10-flannel.conflist", { plugins: [{ type: "flannel", networkPolicy: {} }] });
    write("00-readme.txt", { type: "flannel" });
    wiring.checkConflist();
    expect(wiring.handOverProblem).toBeUndefined();
    write("05-old.conflist", DEFAULT_CONFLIST);
    wiring.checkConflist();
    expect(wiring.handOverProblem).toContain(path.join(cniDirectory, "05-old.conflist"));
    rmSync(path.join(cniDirectory, "05-old.conflist"));
    wiring.checkConflist();
    expect(wiring.handOverProblem).toBeUndefined();
  });

  it("in a container looks at what the manifest installs from", () => {
    const { wiring } = start();
    wiring.checkConflist();
    expect(wiring.handOverProblem).toBeUndefined();
    writeFileSync(path.join(directory, "cni-conf.json"), JSON.stringify(DEFAULT_CONFLIST));
    wiring.checkConflist();
    expect(wiring.handOverProblem).toContain(path.join(directory, "cni-conf.json"));
  });

  it("knows of one wire where it leads, without a process", () => {
    const { wiring } = start();
    const device = (name: string, master?: string): void => {
      const real = path.join(directory, "devices", name);
      mkdirSync(real, { recursive: true });
      mkdirSync(path.join(directory, "class/net"), { recursive: true });
      symlinkSync(real, path.join(directory, "class/net", name));
      if (master !== undefined) symlinkSync(path.join("..", master), path.join(real, "master"));
    };
    device("cni0");
    device("cbr0");
    device("veth1", "cni0");
    device("veth2", "cbr0");
    device("veth3");
    expect(wiring.whyUnwatched("veth1")).toBeUndefined();
    expect(wiring.whyUnwatched("veth2")).toContain("attach by cbr0");
    expect(wiring.whyUnwatched("veth3")).toContain("attach by veth3");
    expect(wiring.whyUnwatched("veth4")).toBeUndefined();
  });
});

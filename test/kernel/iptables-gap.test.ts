// No moment without masquerade: every packet of a stream leaves with the node's source while the rules are put again.
import { spawn } from "node:child_process";
import type { ChildProcess } from "node:child_process";
import { once } from "node:events";
import { fileURLToPath } from "node:url";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { createFirewallTable } from "../../src/kernel/iptables/firewall-table.ts";
import { listIptablesVariants } from "../../src/kernel/iptables/variant.ts";
import type { Family } from "../../src/net/ip.ts";
import { createNamespace } from "../support/netns.ts";
import type { TestNamespace } from "../support/netns.ts";
import { trafficRows } from "../support/traffic-rows.ts";
import { waitFor } from "../support/wait.ts";

const PORT = "9999";
const ADDRESSES = {
  4: {
    network: "10.244.0.0/16",
    pod: "10.244.1.2/24",
    gateway: "10.244.1.1",
    node: "192.0.2.1",
    outside: "192.0.2.9",
    length: "24",
  },
  6: {
    network: "fd00:10:244::/56",
    pod: "fd00:10:244:1::2/64",
    gateway: "fd00:10:244:1::1",
    node: "2001:db8::1",
    outside: "2001:db8::9",
    length: "64",
  },
} as const;
const CASES = (["nft", "legacy"] as const).flatMap((mode) =>
  ([4, 6] as const).map((family) => ({ mode, family })),
);

describe.each(CASES)("$mode, IPv$family", ({ mode, family }) => {
  let namespaces: TestNamespace[] = [];
  let sender: ChildProcess | undefined;

  beforeEach(async () => {
    namespaces = await Promise.all(
      ["fts-pod", "fts-node", "fts-out"].map((prefix) => createNamespace(prefix)),
    );
    await connect(namespaces, family);
  });
  afterEach(async () => {
    sender?.kill("SIGKILL");
    sender = undefined;
    await Promise.all(namespaces.map((namespace) => namespace.remove()));
  });

  test("50 times put, with a second copy of the jump each other time", async () => {
    const [pod, node, outside] = namespaces as [TestNamespace, TestNamespace, TestNamespace];
    const variant = (await listIptablesVariants(node)).find((found) => found.mode === mode);
    if (variant === undefined) throw new Error(`iptables-${mode} is not installed: apt-get install iptables`);
    const table = createFirewallTable({ variant, families: [family] }, node);
    const rows = trafficRows(family);
    const count = await countArrivals(outside, family);
    expect(await table.put(rows)).toEqual([]);

    sender = spray(pod, family);
    await waitFor("the stream", async () => (await count()).masqueraded > 0);
    const copy = [
      "-t",
      "nat",
      "-A",
      "POSTROUTING",
      "-m",
      "comment",
      "--comment",
      "flanneld masq",
      "-j",
      "FLANNEL-POSTRTG",
    ];
    const iptables = `${family === 4 ? "iptables" : "ip6tables"}-${mode}`;
    for (let round = 0; round < 50; round += 1) {
      if (round % 2 === 1) await node.exec(iptables, copy);
      expect(await table.put(rows)).toEqual([]);
    }
    const sent = await stop(sender);
    expect(sent).toBeGreaterThan(100);
    await waitFor(`all ${sent} packets`, async () => {
      const { masqueraded, plain } = await count();
      return masqueraded + plain >= sent;
    });
    expect(await count()).toEqual({ masqueraded: sent, plain: 0 });

    // The counter does see a packet that leaves with the pod's own source: flush, and there is one.
    await node.exec(iptables, ["-t", "nat", "-F", "FLANNEL-POSTRTG"]);
    sender = spray(pod, family);
    await waitFor("a packet that is not masqueraded", async () => (await count()).plain > 0);
    await stop(sender);
  });

  function spray(pod: TestNamespace, family: Family): ChildProcess {
    const script = fileURLToPath(new URL("../support/udp-spray.ts", import.meta.url));
    const args = [
      `--net=/run/netns/${pod.name}`,
      "--",
      process.execPath,
      script,
      String(family),
      ADDRESSES[family].outside,
      PORT,
    ];
    return spawn("nsenter", args, { stdio: ["pipe", "pipe", "inherit"] });
  }
});

/** Ends the stream; the number of packets sent. */
async function stop(sender: ChildProcess): Promise<number> {
  let output = "";
  sender.stdout?.on("data", (chunk: Buffer) => (output += chunk.toString()));
  sender.stdin?.end();
  await once(sender, "close");
  return Number(output);
}

/** Counts what arrives outside, by source. */
async function countArrivals(
  outside: TestNamespace,
  family: Family,
): Promise<() => Promise<{ masqueraded: number; plain: number }>> {
  const protocol = family === 4 ? "ip" : "ip6";
  const { node, network } = ADDRESSES[family];
  const input = `table ${protocol} fts {
    chain in {
      type filter hook prerouting priority -500;
      ${protocol} saddr ${node} udp dport ${PORT} counter comment "masqueraded"
      ${protocol} saddr ${network} udp dport ${PORT} counter comment "plain"
    }
  }`;
  await outside.exec("nft", ["-f", "-"], { input });
  return async () => {
    const { stdout } = await outside.exec("nft", ["list", "table", protocol, "fts"]);
    const packets = (comment: string): number =>
      Number(new RegExp(`packets (\\d+) .*comment "${comment}"`).exec(stdout)?.[1]);
    return { masqueraded: packets("masqueraded"), plain: packets("plain") };
  };
}

async function connect([pod, node, outside]: readonly TestNamespace[], family: Family): Promise<void> {
  if (pod === undefined || node === undefined || outside === undefined)
    throw new Error("three namespaces are needed");
  const net = ADDRESSES[family];
  const ip = (namespace: TestNamespace, args: string) => namespace.exec("ip", args.split(" "));
  const nodad = family === 6 ? " nodad" : "";
  await ip(node, `link add cni0 type veth peer name eth0 netns ${pod.name}`);
  await ip(node, `link add eth0 type veth peer name eth0 netns ${outside.name}`);
  await ip(node, `address add ${net.gateway}/${net.length} dev cni0${nodad}`);
  await ip(node, `address add ${net.node}/${net.length} dev eth0${nodad}`);
  await ip(pod, `address add ${net.pod} dev eth0${nodad}`);
  await ip(outside, `address add ${net.outside}/${net.length} dev eth0${nodad}`);
  for (const [namespace, device] of [
    [node, "cni0"],
    [node, "eth0"],
    [pod, "eth0"],
    [outside, "eth0"],
  ] as const) {
    await ip(namespace, `link set ${device} up`);
  }
  await ip(pod, `-${family} route add default via ${net.gateway}`);
  // The way back, so that a packet that was not masqueraded is not lost for another reason.
  await ip(outside, `-${family} route add ${net.network} via ${net.node}`);
  await node.exec("sysctl", [
    "-qw",
    family === 4 ? "net.ipv4.ip_forward=1" : "net.ipv6.conf.all.forwarding=1",
  ]);
}

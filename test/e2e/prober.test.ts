// The mesh prober in the built daemon: what it measures of a healthy way, and how it names a black hole.
import { afterAll, beforeAll, expect, test } from "vitest";
import type { Cluster } from "../../lab/cluster.ts";
import { HEALTH_PORT } from "../../lab/daemon-process.ts";
import { showLogsOfFailures, startTestCluster } from "../support/cluster.ts";
import { waitFor } from "../support/wait.ts";

let cluster: Cluster;
beforeAll(async () => {
  cluster = await startTestCluster({
    nodes: 3,
    pods: 0,
    backend: "vxlan",
    daemonFlags: ["--probe-interval=1"],
    startDaemons: false,
  });
  // n3 takes no big packets of the overlay: neither requests nor answers.
  await cluster
    .node("n3")
    .exec("iptables", "-A INPUT -p udp --dport 8472 -m length --length 1400:65535 -j DROP".split(" "));
  for (const node of cluster.nodes.values()) await node.daemon.start();
});
afterAll(async () => {
  await cluster.close();
});
showLogsOfFailures(() => cluster);

/** What n1 tells of the way to a node. */
async function pathsTo(name: string) {
  const { peers, probes: summary } = await cluster.node("n1").daemon.status();
  const peer = peers.find(({ publicIp }) => publicIp === cluster.node(name).address);
  const [underlay, overlay] = peer?.probes ?? [];
  return { underlay, overlay, summary };
}

/** Waits until `look` finds nothing amiss; then, or with what was amiss, throws. A busy machine loses packets for a while. */
async function eventually(look: () => Promise<void>): Promise<void> {
  let amiss: unknown;
  const isRight = async (): Promise<boolean> => {
    try {
      await look();
      return true;
    } catch (error) {
      amiss = error;
      return false;
    }
  };
  await waitFor("all to be right", isRight, { timeoutMs: 60_000, intervalMs: 200 }).catch(() => {
    throw amiss;
  });
}

test("round trip and full size of a healthy way, both below and through the overlay", async () => {
  await eventually(async () => {
    const { underlay, overlay, summary } = await pathsTo("n2");
    expect(underlay).toMatchObject({
      via: "underlay",
      address: cluster.node("n2").address,
      condition: "ok",
      fullBytes: 1500,
      passesBytes: 1500,
    });
    expect(overlay).toMatchObject({ via: "overlay", condition: "ok", fullBytes: 1450, passesBytes: 1450 });
    // The addon ships with the build.
    expect(summary).toMatchObject({ transport: "raw-socket", intervalSeconds: 1 });
  });
});

test("a black hole is named in status, log and metrics, with peer and size", async () => {
  const n1 = cluster.node("n1");
  await eventually(async () => {
    const { underlay, overlay } = await pathsTo("n3");
    expect(overlay).toMatchObject({ condition: "black hole" });
    expect(underlay).toMatchObject({ condition: "ok", passesBytes: 1500 });
    expect(overlay?.problem).toMatch(
      /^overlay: black hole: packets of .*\d+ bytes to 10\.244\.\d+\.0 vanish, though 1450 should pass/,
    );
    expect(n1.daemon.log()).toMatch(
      new RegExp(`probe of ${cluster.node("n3").address} .*overlay: black hole`),
    );
    const { stdout: metrics } = await n1.exec("curl", ["-s", `http://127.0.0.1:${HEALTH_PORT}/metrics`]);
    expect(metrics).toMatch(/^flanneld_probe_black_hole\{.*via="overlay".*\} 1$/m);
    expect(metrics).toMatch(/^flanneld_probe_rtt_seconds\{.*via="underlay".*\} 0\.\d+$/m);
    // And the healthy one is not.
    expect((await pathsTo("n2")).overlay).toMatchObject({ condition: "ok", passesBytes: 1450 });
  });
});

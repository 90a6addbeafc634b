// Restarts a daemon while traffic of which every packet and byte is accounted for crosses its node.
import { expect } from "vitest";
import type { Cluster } from "../../lab/cluster.ts";
import type { LabNode } from "../../lab/node.ts";
import { watchKernel } from "./cluster.ts";
import { startPings, startTcpStream } from "./traffic.ts";

/** The overlay device, its rows and the routes to other nodes; not what the kernel does on it by itself (link-local, multicast). */
const OURS =
  /^(?!.*\b(?:fe80|ff02):).*(flannel(?:-v6)?\.1|(?:10\.244\.[\d.]+|fd00:10:244:[\da-f:]+)\/\d+ via)/;

/** Pings and a TCP stream each way cross n1 during `restart`, and must be whole. Gives what the kernel told of our rows. */
export async function restartUnderTraffic(
  cluster: Cluster,
  restart: (node: LabNode) => Promise<void>,
): Promise<readonly string[]> {
  const node = cluster.node("n1");
  const [here, there] = [cluster.pod("n1-p1"), cluster.pod("n2-p1")];
  const kernel = await watchKernel(node, OURS);
  const pings = await startPings(here, there.ip);
  const streams = [
    await startTcpStream(here, there, { pauseMs: 5 }),
    await startTcpStream(there, here, { pauseMs: 5 }),
  ];
  try {
    await restart(node);
    expect(await pings.stop()).toEqual([]);
    for (const stream of streams) {
      const { sent, received } = await stream.finish();
      expect(received).toMatchObject({ bytes: sent.bytes, sha256: sent.sha256 });
      expect(sent.bytes).toBeGreaterThan(1_000_000);
    }
    return kernel.events();
  } finally {
    const ends = streams.map((stream) => stream.abort());
    await Promise.all([kernel.stop(), pings.process.stop("SIGKILL"), ...ends]);
  }
}

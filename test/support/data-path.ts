// What every backend must carry, checked with real packets; each function states one promise.
import { expect } from "vitest";
import type { Cluster } from "../../lab/cluster.ts";
import type { LabNode, LabPod } from "../../lab/node.ts";
import { brokenCells, ping, startTcpStream } from "./traffic.ts";

/** IP header 20 or 40 and ICMP header 8 bytes. */
const pingHeaderBytes = (ip: string): number => (ip.includes(":") ? 48 : 28);
const TRANSFER_BYTES = 100 * 1024 * 1024;

/** Every pod pings every pod and node with packets of its full MTU and DF; outside sees the node, not the pod. */
export async function expectFullConnectivity(cluster: Cluster): Promise<void> {
  expect(await brokenCells(cluster)).toEqual([]);
}

/** The pod's MTU is `mtu`, a packet of exactly that size goes through, one byte more is refused, not lost. */
export async function expectMtu(from: LabPod, to: LabPod, mtu: number): Promise<void> {
  expect(from.mtu).toBe(mtu);
  expect(await ping(from, to.ip, mtu - pingHeaderBytes(to.ip))).toBe("ok");
  expect(await ping(from, to.ip, mtu - pingHeaderBytes(to.ip) + 1)).toMatch(
    /message too long|frag(mentation)? needed/i,
  );
}

/** 100 MB arrive byte for byte, and the receiver sees the pod's own address. */
export async function expectTransfer(
  from: Pick<LabPod, "spawn" | "ip">,
  to: Pick<LabPod, "spawn" | "ip">,
  bytes = TRANSFER_BYTES,
): Promise<void> {
  const { sent, received } = await (await startTcpStream(from, to, { bytes })).finish();
  expect(received).toEqual({ bytes, sha256: sent.sha256, peer: from.ip });
}

/** Packets that `act` makes the node send through a device. */
export async function packetsSent(
  node: LabNode,
  device: string,
  act: () => Promise<unknown>,
): Promise<number> {
  const read = async (): Promise<number> =>
    Number((await node.exec("cat", [`/sys/class/net/${device}/statistics/tx_packets`])).stdout);
  const before = await read();
  await act();
  return (await read()) - before;
}

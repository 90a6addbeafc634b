// Nodes of the udp backend in namespaces on one link, for kernel tests: TUN device, addresses, routes, data path.
import { spawn } from "node:child_process";
import type { ChildProcess } from "node:child_process";
import { once } from "node:events";
import path from "node:path";
import { createInterface } from "node:readline";
import type { DataPathPeer, DataPathPlan } from "../../src/host/data-path.ts";
import { parseCidr } from "../../src/net/cidr.ts";
import { parseIp } from "../../src/net/ip.ts";
import { createNamespace } from "./netns.ts";
import type { TestNamespace } from "./netns.ts";
import { waitFor } from "./wait.ts";

export const UDP_PORT = 8285;

/** Node n: 192.0.2.n and 2001:db8::n; subnets 10.244.n.0/24 and fd00:244:0:n::/64, in which address 5 is its own. */
export const addressesOf = (n: number) => ({
  public4: `192.0.2.${n}`,
  public6: `2001:db8::${n}`,
  pod4: `10.244.${n}.5`,
  pod6: `fd00:244:0:${n}::5`,
});

/** One link: every namespace on it hangs at a bridge. */
export interface TestLink {
  attach(namespace: TestNamespace, addresses: readonly string[]): Promise<void>;
  remove(): Promise<void>;
}

async function batch(namespace: TestNamespace, lines: readonly string[]): Promise<void> {
  await namespace.exec("ip", ["-batch", "-"], { input: `${lines.join("\n")}\n` });
}

export async function createLink(): Promise<TestLink> {
  const hub = await createNamespace("ud-hub");
  await hub.exec("ip", ["link", "add", "br0", "up", "type", "bridge"]);
  let ports = 0;
  return {
    attach: async (namespace, addresses) => {
      const port = `p${(ports += 1)}`;
      const pair = ["link", "add", port, "type", "veth", "peer", "name", "eth0", "netns", namespace.name];
      await batch(hub, [pair.join(" "), `link set ${port} master br0 up`]);
      const lines = addresses.map((address) =>
        address.includes(":")
          ? `address add ${address}/64 dev eth0 nodad`
          : `address add ${address}/24 dev eth0`,
      );
      await batch(namespace, ["link set eth0 up", ...lines]);
    },
    remove: () => hub.remove(),
  };
}

/** A program in a namespace that answers lines. */
export interface InsideProcess {
  readonly child: ChildProcess;
  /** Lines so far that no `next` has taken. */
  next(): Promise<string>;
  send(line: string): void;
  /** Sends the signal, or ends its stdin, and waits for the end. */
  stop(signal?: NodeJS.Signals): Promise<void>;
}

export function startInside(
  namespace: TestNamespace,
  script: string,
  args: readonly string[],
  env: Readonly<Record<string, string>> = {},
): InsideProcess {
  const file = path.join(import.meta.dirname, script);
  // exec of node by nsenter: the child's PID is node's own.
  const command = [`--net=/run/netns/${namespace.name}`, "--", process.execPath, file, ...args];
  const child = spawn("nsenter", command, {
    stdio: ["pipe", "pipe", "inherit"],
    env: { ...process.env, ...env },
  });
  const ended = once(child, "close");
  const lines: string[] = [];
  const waiting: ((line: string) => void)[] = [];
  createInterface(child.stdout).on("line", (line) => {
    const first = waiting.shift();
    if (first === undefined) lines.push(line);
    else first(line);
  });
  return {
    child,
    next: () => {
      const line = lines.shift();
      if (line !== undefined) return Promise.resolve(line);
      const { promise, resolve, reject } = Promise.withResolvers<string>();
      waiting.push(resolve);
      void ended.then(() => reject(new Error(`${script} ended`)));
      return promise;
    },
    send: (line) => void child.stdin?.write(`${line}\n`),
    stop: async (signal) => {
      if (signal === undefined) child.stdin?.end();
      else child.kill(signal);
      await ended;
    },
  };
}

export interface UdpNode {
  readonly n: number;
  readonly namespace: TestNamespace;
  /** Applies the plan with these peers; gives the problem. */
  apply(peers: readonly DataPathPeer[], options?: Partial<DataPathPlan>): Promise<string | undefined>;
  counters(): Promise<Readonly<Record<string, number>>>;
  /** Applies the last plan again and again, without its last peer in between. */
  swap(times: number): Promise<void>;
  log(): Promise<readonly { readonly level: string; readonly message: string }[]>;
  /** Ends the data path's process; the device stays. */
  stopPath(signal?: NodeJS.Signals): Promise<void>;
  startPath(): void;
  remove(): Promise<void>;
}

/** Peer entries for node `n`, by its own public addresses or by one that stands for it. */
export function peersOf(n: number, remote4 = addressesOf(n).public4): readonly DataPathPeer[] {
  return [
    { prefix: parseCidr(`10.244.${n}.0/24`), remote: parseIp(remote4) },
    { prefix: parseCidr(`fd00:244:0:${n}::/64`), remote: parseIp(addressesOf(n).public6) },
  ];
}

/** @param env of the data path's process, e.g. for a sanitizer */
export async function createUdpNode(
  link: TestLink,
  n: number,
  env: Readonly<Record<string, string>> = {},
): Promise<UdpNode> {
  const namespace = await createNamespace("ud-n");
  const { public4, public6, pod4, pod6 } = addressesOf(n);
  try {
    await link.attach(namespace, [public4, public6]);
    await batch(namespace, [`address add ${pod4}/32 dev lo`, `address add ${pod6}/128 dev lo nodad`]);
    await makeDevice(namespace, n);
  } catch (error) {
    await namespace.remove();
    throw error;
  }
  let inside = startInside(namespace, "udp-path-inside.ts", [], env);
  const ask = async (request: object): Promise<unknown> => {
    inside.send(JSON.stringify(request));
    return JSON.parse(await inside.next()) as unknown;
  };
  const inner = { 4: parseIp(`10.244.${n}.0`), 6: parseIp(`fd00:244:0:${n}::`) };
  const locals = { 4: parseIp(public4), 6: parseIp(public6) };
  return {
    n,
    namespace,
    apply: async (peers, options = {}) => {
      const fixed = {
        kind: "udp",
        device: "flannel0",
        port: UDP_PORT,
        offload: true,
        peersOnly: true,
      } as const;
      const plan: DataPathPlan = { ...fixed, locals, inner, peers, ...options };
      const { problem } = (await ask({ apply: plan })) as { readonly problem?: string };
      if (problem === undefined) await untilCarrier(namespace);
      return problem;
    },
    counters: async () => (await ask({ counters: true })) as Readonly<Record<string, number>>,
    swap: async (times) => void (await ask({ swap: times })),
    log: async () => (await ask({ log: true })) as Awaited<ReturnType<UdpNode["log"]>>,
    stopPath: (signal) => inside.stop(signal),
    startPath: () => {
      inside = startInside(namespace, "udp-path-inside.ts", [], env);
    },
    remove: async () => {
      await inside.stop("SIGKILL");
      await namespace.remove();
    },
  };
}

/** The kernel drops what is sent through a device that was attached to until its link watch has run (net/core/link_watch.c). */
async function untilCarrier({ exec }: TestNamespace): Promise<void> {
  await waitFor("the TUN device to have a carrier", async () =>
    (await exec("ip", ["-o", "link", "show", "flannel0"])).stdout.includes(" state UP "),
  );
}

/** As the backend plans it. */
export async function makeDevice(namespace: TestNamespace, n: number): Promise<void> {
  const lines = [
    "tuntap add dev flannel0 mode tun",
    "link set dev flannel0 mtu 1452 up",
    `address add 10.244.${n}.0/32 dev flannel0`,
    `address add fd00:244:0:${n}::/128 dev flannel0 nodad`,
    `route add 10.244.0.0/16 dev flannel0 src 10.244.${n}.5`,
    `route add fd00:244::/48 dev flannel0 src fd00:244:0:${n}::5`,
  ];
  await batch(namespace, lines);
}

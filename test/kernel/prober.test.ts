// The mesh prober against real networks that lose packets, swallow big ones, or say that they are too big.
import path from "node:path";
import { afterAll, afterEach, beforeAll, describe, expect, it } from "vitest";
import { buildRawSocket } from "../../scripts/build-raw-socket.ts";
import { spawnLines } from "../../src/kernel/exec.ts";
import { familyOf, parseIp } from "../../src/net/ip.ts";
import type { ProbePath } from "../../src/prober/probe.ts";
import type { PathReport, ProbeSummary } from "../../src/prober/report.ts";
import { createNamespace } from "../support/netns.ts";
import type { TestNamespace } from "../support/netns.ts";
import type { InsideOptions } from "../support/prober-inside.ts";
import { waitFor } from "../support/wait.ts";

const INSIDE = path.resolve(import.meta.dirname, "../support/prober-inside.ts");
const TIMING = { answerTimeoutMs: 1_000, sizeIntervalMs: 300, searchStepMs: 50, lookMs: 20 };

/** A node, a router with a narrow link and a wide one, and a peer with many addresses behind it. */
let node: TestNamespace;
let router: TestNamespace;
let peer: TestNamespace;
beforeAll(async () => {
  expect(buildRawSocket()).toBeUndefined();
  [node, router, peer] = await Promise.all([
    createNamespace("pr-n"),
    createNamespace("pr-r"),
    createNamespace("pr-p"),
  ]);
  await wire();
});
afterAll(async () => {
  await Promise.all([node, router, peer].map((namespace) => namespace.remove()));
});

async function run(namespace: TestNamespace, ...commands: readonly string[]): Promise<void> {
  for (const command of commands) {
    const [program = "", ...args] = command.split(" ");
    await namespace.exec(program, args);
  }
}

async function wire(): Promise<void> {
  await run(
    router,
    `ip link add near type veth peer name eth0 netns ${node.name}`,
    `ip link add wide type veth peer name eth0 netns ${peer.name}`,
    `ip link add narrow mtu 1400 type veth peer name eth1 netns ${peer.name}`,
    "ip addr add 192.0.2.254/24 dev near",
    "ip addr add 2001:db8:1::fe/64 dev near nodad",
    "ip addr add 198.51.100.254/24 dev wide",
    "ip addr add 2001:db8:2::fe/64 dev wide nodad",
    "ip addr add 203.0.113.254/24 dev narrow",
    "ip addr add 2001:db8:3::fe/64 dev narrow nodad",
    "ip link set near up",
    "ip link set wide up",
    "ip link set narrow up",
    "sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1",
  );
  await run(
    node,
    "ip addr add 192.0.2.1/24 dev eth0",
    "ip addr add 2001:db8:1::1/64 dev eth0 nodad",
    "ip link set eth0 up",
    "ip route add default via 192.0.2.254",
    "ip -6 route add default via 2001:db8:1::fe",
  );
  await run(
    peer,
    ...["2", "3", "4", "5"].flatMap((last) => [
      `ip addr add 198.51.100.${last}/24 dev eth0`,
      `ip addr add 2001:db8:2::${last}/64 dev eth0 nodad`,
    ]),
    "ip addr add 203.0.113.2/24 dev eth1",
    "ip addr add 2001:db8:3::2/64 dev eth1 nodad",
    "ip link set eth0 up",
    "ip link set eth1 up",
    "ip route add default via 198.51.100.254",
    "ip -6 route add default via 2001:db8:2::fe",
  );
}

const FINE = ["198.51.100.2", "2001:db8:2::2"];
const LOSSY = ["198.51.100.3", "2001:db8:2::3"];
const DARK = ["198.51.100.4", "2001:db8:2::4"];
const DOWN = ["198.51.100.5", "2001:db8:2::5"];
const NARROW = ["203.0.113.2", "2001:db8:3::2"];

/** Every fourth packet to LOSSY, all to DOWN, and big ones to DARK are dropped. */
async function spoil(action: "-A" | "-D"): Promise<void> {
  for (const [i, iptables] of ["iptables", "ip6tables"].entries()) {
    await run(
      router,
      `${iptables} ${action} FORWARD -d ${LOSSY[i]} -m statistic --mode nth --every 4 --packet 0 -j DROP`,
      `${iptables} ${action} FORWARD -d ${DARK[i]} -m length --length 1301:65535 -j DROP`,
      `${iptables} ${action} FORWARD -d ${DOWN[i]} -j DROP`,
    );
  }
}

function pathTo(address: string, fullBytes = 1500): ProbePath {
  const ip = parseIp(address);
  return {
    key: address,
    subnetKey: address,
    peer: `peer ${address}`,
    via: "overlay",
    family: familyOf(ip),
    address: ip,
    fullBytes,
    mayBeSilent: false,
    cure: "look at the cable",
  };
}

type Told = ProbeSummary & { readonly peers: readonly PathReport[] };

interface Running {
  readonly report: () => Told | undefined;
  /** Waits for what is told of a path; of a text, a part. */
  readonly waitForPath: (address: string, wanted: Partial<PathReport>) => Promise<PathReport>;
  readonly logged: readonly string[];
  readonly stop: () => Promise<void>;
}

let running: Running | undefined;
afterEach(async () => {
  await running?.stop();
  running = undefined;
});

function start(options: Pick<InsideOptions, "transport" | "paths">): Running {
  const stop = new AbortController();
  const logged: string[] = [];
  let report: Told | undefined;
  let errors = "";
  const settings: InsideOptions = { ...options, intervalMs: 100, timing: TIMING };
  const args = [`--net=/run/netns/${node.name}`, "--", process.execPath, INSIDE, JSON.stringify(settings)];
  const child = spawnLines("nsenter", args, {
    signal: stop.signal,
    onLine: (line) => {
      const told = JSON.parse(line) as { log?: string; report?: Told };
      if (told.log !== undefined) logged.push(told.log);
      if (told.report !== undefined) report = told.report;
    },
    onErrorLine: (line) => (errors += `${line}\n`),
  });
  const find = (address: string): PathReport | undefined =>
    report?.peers.find((one) => one.address === address);
  running = {
    report: () => report,
    logged,
    waitForPath: async (address, wanted) => {
      const isThere = (one: PathReport | undefined): boolean =>
        one !== undefined &&
        Object.entries(wanted).every(([name, value]) => {
          const told = one[name as keyof PathReport];
          return typeof told === "string" && typeof value === "string"
            ? told.includes(value)
            : told === value;
        });
      try {
        await waitFor(`${address} to be ${JSON.stringify(wanted)}`, () => isThere(find(address)), {
          timeoutMs: 50_000,
        });
      } catch (error) {
        throw new Error(`${String(error)}: it is ${JSON.stringify(find(address))}\n${errors}`, {
          cause: error,
        });
      }
      return find(address)!;
    },
    stop: async () => {
      stop.abort();
      await child.ended;
    },
  };
  return running;
}

describe("over raw sockets", () => {
  it("measures peers that are well, in both families", async () => {
    const { waitForPath, report } = start({ transport: "chosen", paths: FINE.map((ip) => pathTo(ip)) });
    for (const ip of FINE) {
      const { rttMs } = await waitForPath(ip, { condition: "ok", passesBytes: 1500 });
      expect(rttMs).toBeGreaterThan(0);
    }
    expect(report()).toMatchObject({ transport: "raw-socket" });
    expect(report()).not.toHaveProperty("note");
  });

  it("tells lossy, down, black hole and narrow peers apart, finds the sizes to the byte, and sees them heal", async () => {
    await spoil("-A");
    const paths = [...FINE, ...LOSSY, ...DARK, ...DOWN, ...NARROW].map((ip) => pathTo(ip));
    const { waitForPath, logged } = start({ transport: "chosen", paths });
    try {
      for (const ip of DARK) {
        const problem = `black hole: packets of more than 1300 bytes to ${ip} vanish, though 1500 should pass`;
        await waitForPath(ip, { condition: "black hole", passesBytes: 1300, problem });
      }
      for (const [i, ip] of NARROW.entries()) {
        const problem = `says ${["192.0.2.254", "2001:db8:1::fe"][i]} (MTU 1400)`;
        await waitForPath(ip, { condition: "small MTU", passesBytes: 1400, problem });
      }
      for (const ip of DOWN) await waitForPath(ip, { condition: "no answer" });
      for (const ip of LOSSY) await waitForPath(ip, { condition: "lossy" });
      for (const ip of FINE) await waitForPath(ip, { condition: "ok" });
    } finally {
      await spoil("-D");
    }
    for (const ip of [...LOSSY, ...DARK, ...DOWN])
      await waitForPath(ip, { condition: "ok", passesBytes: 1500 });
    expect(
      logged.filter((line) => line.includes(DARK[0]!) && line.includes("more than 1300 bytes")),
    ).toHaveLength(1);
    expect(logged).toContain(`probe of peer ${DARK[0]} through the overlay: all is well again`);
    expect(logged.filter((line) => line.includes(FINE[0]!))).toEqual([]);
  });

  it("says why a packet cannot even be sent", async () => {
    await run(node, "ip route add unreachable 198.51.100.2/32");
    const { waitForPath } = start({ transport: "chosen", paths: [pathTo("198.51.100.2")] });
    await waitForPath("198.51.100.2", { condition: "no answer", problem: "(No route to host)" });
    await run(node, "ip route del unreachable 198.51.100.2/32");
    await waitForPath("198.51.100.2", { condition: "ok" });
  });
});

describe("over the system's ping", () => {
  it("measures, and finds a black hole and a narrow link", async () => {
    await spoil("-A");
    try {
      const paths = [pathTo(FINE[1]!), pathTo(NARROW[0]!), pathTo(DARK[0]!, 1301)];
      const { waitForPath, report } = start({ transport: "ping", paths });
      await waitForPath(FINE[1]!, { condition: "ok", passesBytes: 1500 });
      await waitForPath(NARROW[0]!, { condition: "small MTU", passesBytes: 1400 });
      await waitForPath(DARK[0]!, { condition: "black hole" });
      expect(report()).toMatchObject({ transport: "ping" });
    } finally {
      await spoil("-D");
    }
  });
});

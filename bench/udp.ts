// Benchmark: the udp backend pod to pod, beside kernel vxlan and a pump of one packet a time, with and without NIC offloads.
import { execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { startMachine } from "../lab/machine.ts";
import type { Machine, MachineProcess } from "../lab/machine.ts";
import { waitUntil } from "../lab/wait.ts";
import { median } from "./stats.ts";
import type { Figure } from "./stats.ts";

/** Of each run of iperf3; UDP_BENCH_SECONDS and UDP_BENCH_ROUNDS make it longer. */
const SECONDS = Number(process.env["UDP_BENCH_SECONDS"] ?? 2);
const ROUNDS = Number(process.env["UDP_BENCH_ROUNDS"] ?? 3);
const PORT = 8285;
const PATIENCE = { timeoutMs: 20_000 };
const DATA_PATH = path.resolve(import.meta.dirname, "../test/support/udp-path-inside.ts");

type Way = "vxlan" | "udp" | "simple";
type Load = "tcp1" | "tcp4" | "udp";
const LOADS: Readonly<Record<Load, readonly string[]>> = {
  tcp1: [],
  tcp4: ["-P", "4"],
  udp: ["-u", "-b", "0", "-l", "1400"],
};

/** One run. */
interface Sample {
  readonly gbits: number;
  /** Read by the program in the pod, per second. */
  readonly packets: number;
  /** Come to the pod, per second, whether or not its program, beside all others on two cores, came to read them. */
  readonly carried: number;
  /** Both cores' busy seconds per gigabit received: sender, receiver and tunnel together. */
  readonly cpuPerGbit: number;
}

type Samples = Record<Load, Record<Way, Sample[]>>;

export async function benchUdp(): Promise<readonly Figure[]> {
  const directory = mkdtempSync(path.join(tmpdir(), "bench-udp-"));
  const pump = path.join(directory, "simple-pump");
  execFileSync("cc", ["-O2", "-o", pump, path.join(import.meta.dirname, "simple-pump.c")]);
  const machine = await startMachine("bench");
  try {
    await layOut(machine);
    const server = await machine.spawn("iperf3", ["-s"], { netns: "/run/netns/p2", stdio: "ignore" });
    await waitUntil(
      "iperf3",
      async () => {
        const { stdout } = await machine.execIn("/run/netns/p2")("ss", ["-ltn"]);
        return stdout.includes(":5201");
      },
      PATIENCE,
    );
    const withOffload = await measure(machine, pump, ["tcp1", "tcp4", "udp"], ["vxlan", "udp", "simple"]);
    await switchOffloads(machine, "off");
    const without = await measure(machine, pump, ["tcp1"], ["vxlan", "udp"]);
    await server.stop("SIGKILL");
    return [...describe(withOffload), describeWithout(without)];
  } finally {
    await machine.close();
    rmSync(directory, { recursive: true, force: true });
  }
}

/** Two nodes on one veth pair, each with a pod; both overlays are there, and a route chooses. */
async function layOut(machine: Machine): Promise<void> {
  const main = [
    ...["n1", "n2", "p1", "p2"].map((name) => `netns add ${name}`),
    "link add eth0 netns n1 type veth peer name eth0 netns n2",
    "link add pod netns n1 type veth peer name eth0 netns p1",
    "link add pod netns n2 type veth peer name eth0 netns p2",
  ];
  for (const line of main) await machine.exec("ip", line.split(" "));
  for (const [self, other] of [
    ["1", "2"],
    ["2", "1"],
  ] as const) {
    const pod = [
      `address add 10.244.${self}.2/24 dev eth0`,
      "link set eth0 mtu 1450 up",
      `route add default via 10.244.${self}.1`,
    ];
    const node = [
      `address add 192.0.2.${self}/24 dev eth0`,
      "link set eth0 up",
      `address add 10.244.${self}.1/24 dev pod`,
      "link set pod mtu 1450 up",
      `link add flannel.1 type vxlan id 1 local 192.0.2.${self} dev eth0 dstport 8472 nolearning`,
      `link set flannel.1 address 02:00:00:00:00:0${self} mtu 1450 up`,
      `address add 10.244.${self}.0/32 dev flannel.1`,
      `neighbor replace 10.244.${other}.0 lladdr 02:00:00:00:00:0${other} dev flannel.1 nud permanent`,
      "tuntap add dev flannel0 mode tun",
      "link set flannel0 mtu 1472 up",
    ];
    await batch(machine, `p${self}`, pod);
    await batch(machine, `n${self}`, node);
    const inNode = machine.execIn(`/run/netns/n${self}`);
    const fdb = `fdb replace 02:00:00:00:00:0${other} dev flannel.1 dst 192.0.2.${other} self permanent`;
    await inNode("bridge", fdb.split(" "));
    await inNode("sysctl", ["-qw", "net.ipv4.ip_forward=1"]);
  }
}

async function batch(machine: Machine, netns: string, lines: readonly string[]): Promise<void> {
  const exec = machine.execIn(`/run/netns/${netns}`);
  for (const line of lines) await exec("ip", line.split(" "));
}

/** As a NIC that cannot cut and join: the tunnels' own work, without what veth gives away. */
async function switchOffloads(machine: Machine, to: "on" | "off"): Promise<void> {
  const features = ["tso", "gso", "tx-udp_tnl-segmentation", "tx-udp-segmentation"];
  for (const node of ["n1", "n2"]) {
    const args = ["-K", "eth0", ...features.flatMap((feature) => [feature, to]), "gro", "on"];
    await machine.execIn(`/run/netns/${node}`)("ethtool", args);
  }
}

async function measure(
  machine: Machine,
  pump: string,
  loads: readonly Load[],
  ways: readonly Way[],
): Promise<Samples> {
  const none = (): Record<Way, Sample[]> => ({ vxlan: [], udp: [], simple: [] });
  const samples: Samples = { tcp1: none(), tcp4: none(), udp: none() };
  for (let round = 0; round < ROUNDS; round += 1) {
    for (const way of ways) {
      const processes = await takeWay(machine, pump, way);
      try {
        for (const load of loads) samples[load][way].push(await runIperf(machine, LOADS[load]));
      } finally {
        for (const process of processes) await process.stop("SIGKILL");
      }
    }
  }
  return samples;
}

/** Routes the pods' traffic that way, and starts what carries it. */
async function takeWay(machine: Machine, pump: string, way: Way): Promise<readonly MachineProcess[]> {
  const processes: MachineProcess[] = [];
  for (const [self, other] of [
    ["1", "2"],
    ["2", "1"],
  ] as const) {
    const hop = way === "vxlan" ? `via 10.244.${other}.0 dev flannel.1 onlink` : "dev flannel0";
    await batch(machine, `n${self}`, [`route replace 10.244.${other}.0/24 ${hop}`]);
    if (way === "vxlan") continue;
    const command =
      way === "simple"
        ? [pump, "flannel0", String(PORT), `192.0.2.${self}`, `192.0.2.${other}`]
        : [process.execPath, DATA_PATH];
    const [program = "", ...args] = command;
    const started = await machine.spawn(program, args, {
      netns: `/run/netns/n${self}`,
      stdio: ["pipe", "pipe", "inherit"],
    });
    processes.push(started);
    let output = "";
    started.child.stdout?.on("data", (chunk: Buffer) => (output += chunk.toString()));
    if (way === "udp") started.child.stdin?.write(`${JSON.stringify({ apply: planOf(self, other) })}\n`);
    await waitUntil("the pump", () => output.includes("\n"), PATIENCE);
    if (output.includes("problem")) throw new Error(output);
  }
  // The TUN device carries nothing until the kernel has seen that somebody is attached.
  const ping = ["-c", "1", "-W", "1", "10.244.2.2"];
  const inPod = machine.execIn("/run/netns/p1");
  const isThrough = async () => (await inPod("ping", ping, { allowFailure: true })).exitCode === 0;
  await waitUntil("a ping", isThrough, PATIENCE);
  return processes;
}

function planOf(self: string, other: string): object {
  return {
    kind: "udp",
    device: "flannel0",
    port: PORT,
    locals: { 4: `192.0.2.${self}` },
    inner: { 4: `10.244.${self}.0` },
    offload: true,
    peersOnly: true,
    peers: [{ prefix: `10.244.${other}.0/24`, remote: `192.0.2.${other}` }],
  };
}

interface IperfReport {
  readonly end: {
    readonly sum_received?: { readonly bytes: number; readonly seconds: number };
    readonly sum?: {
      readonly packets: number;
      readonly lost_packets: number;
      readonly seconds: number;
      readonly bytes: number;
    };
  };
}

async function runIperf(machine: Machine, args: readonly string[]): Promise<Sample> {
  const [before, carriedBefore] = [busySeconds(), await udpDatagrams(machine)];
  const iperf = ["-c", "10.244.2.2", "-t", String(SECONDS), "-J", ...args];
  const { stdout } = await machine.execIn("/run/netns/p1")("iperf3", iperf, { timeoutMs: 60_000 });
  const [busy, carried] = [busySeconds() - before, (await udpDatagrams(machine)) - carriedBefore];
  const { sum, sum_received: received } = (JSON.parse(stdout) as IperfReport).end;
  const isUdp = args.includes("-u");
  const share = isUdp && sum ? 1 - sum.lost_packets / sum.packets : 1;
  const bytes = isUdp ? (sum?.bytes ?? 0) * share : (received?.bytes ?? 0);
  const seconds = (isUdp ? sum?.seconds : received?.seconds) ?? SECONDS;
  const gigabits = (bytes * 8) / 1e9;
  return {
    gbits: gigabits / seconds,
    packets: isUdp ? ((sum?.packets ?? 0) * share) / seconds : 0,
    carried: carried / seconds,
    cpuPerGbit: busy / gigabits,
  };
}

/** That the receiving pod's UDP layer has seen so far: read, or lost in a full socket (proc_pid_net(5): snmp). */
async function udpDatagrams(machine: Machine): Promise<number> {
  const { stdout } = await machine.execIn("/run/netns/p2")("cat", ["/proc/net/snmp"]);
  const [names, values] = stdout.split("\n").filter((line) => line.startsWith("Udp: "));
  const value = (name: string): number =>
    Number(values?.split(" ")[names?.split(" ").indexOf(name) ?? -1] ?? Number.NaN);
  return value("InDatagrams") + value("RcvbufErrors");
}

/** Of all cores since the start, seconds (proc_stat(5): user, nice, system, irq, softirq). */
function busySeconds(): number {
  const [, user, nice, system, , , irq, softirq] = readFileSync("/proc/stat", "utf8")
    .split("\n")[0]!
    .split(/\s+/);
  return [user, nice, system, irq, softirq].reduce((sum, ticks) => sum + Number(ticks), 0) / 100;
}

const medianOf = (samples: readonly Sample[], read: (sample: Sample) => number): number =>
  median(samples.map(read));

/** Round by round: each has measured both, one after the other. */
function ratio(a: readonly Sample[], b: readonly Sample[], read: (sample: Sample) => number): number {
  return median(a.map((sample, i) => read(sample) / read(b[i] ?? sample)));
}

function describe(samples: Samples): readonly Figure[] {
  const gbits = (sample: Sample): number => sample.gbits;
  const figures = (["tcp1", "tcp4"] as const).flatMap((load): readonly Figure[] => {
    const { udp, vxlan, simple } = samples[load];
    const what = `TCP, ${load === "tcp1" ? "1 stream" : "4 streams"}, pod to pod (median of ${ROUNDS})`;
    const ours = `${medianOf(udp, gbits).toFixed(1)} Gb/s, CPU ${medianOf(udp, cpuOf).toFixed(2)} s/Gbit`;
    const beside = (name: string, way: readonly Sample[], by: number): string =>
      `${name} ${medianOf(way, gbits).toFixed(1)} Gb/s, CPU ${medianOf(way, cpuOf).toFixed(2)} s/Gbit: ratio ${by.toFixed(2)}`;
    const [toVxlan, toSimple] = [ratio(udp, vxlan, gbits), ratio(udp, simple, gbits)];
    return [
      { what, ours, beside: beside("vxlan", vxlan, toVxlan), target: "at least 0.6", met: toVxlan >= 0.6 },
      {
        what,
        ours,
        beside: beside("simple pump", simple, toSimple),
        target: "at least 8",
        met: toSimple >= 8,
      },
    ];
  });
  const { udp, vxlan, simple } = samples.udp;
  const rates = (what: string, read: (sample: Sample) => number): Figure => {
    const thousand = (way: readonly Sample[]): string => `${(medianOf(way, read) / 1000).toFixed(0)} k/s`;
    const byVxlan = ratio(udp, vxlan, read);
    return {
      what: `UDP packets of 1400 bytes, sent without a limit, ${what} (median of ${ROUNDS})`,
      ours: thousand(udp),
      beside: `vxlan ${thousand(vxlan)}: ratio ${byVxlan.toFixed(2)}; simple pump ${thousand(simple)}`,
      target: "at least 1.0 of vxlan",
      met: byVxlan >= 1,
    };
  };
  return [
    ...figures,
    rates("carried to the pod", ({ carried }) => carried),
    rates("read by its program", ({ packets }) => packets),
  ];
}

const cpuOf = (sample: Sample): number => sample.cpuPerGbit;

function describeWithout({ tcp1: { udp, vxlan } }: Samples): Figure {
  const by = ratio(udp, vxlan, ({ gbits }) => gbits);
  const show = (way: readonly Sample[]): string =>
    `${medianOf(way, ({ gbits }) => gbits).toFixed(1)} Gb/s, CPU ${medianOf(way, cpuOf).toFixed(2)} s/Gbit`;
  return {
    what: `TCP, 1 stream, NIC offloads off (median of ${ROUNDS})`,
    ours: show(udp),
    beside: `vxlan ${show(vxlan)}: ratio ${by.toFixed(2)}`,
    target: "at least 0.8",
    met: by >= 0.8,
  };
}

// A machine with an uplink and the real daemon, whose Kubernetes API is the fake one of the test's own process.
import { createServer, connect } from "node:net";
import { mkdtempSync, rmSync } from "node:fs";
import { once } from "node:events";
import os from "node:os";
import path from "node:path";
import { createDaemon } from "../../lab/daemon-process.ts";
import type { Daemon } from "../../lab/daemon-process.ts";
import { startMachine } from "../../lab/machine.ts";
import type { Machine } from "../../lab/machine.ts";
import type { FakeKube } from "./fake-kube/fake-kube.ts";
import { waitFor } from "./wait.ts";

const ROOT = path.resolve(import.meta.dirname, "../..");
/** Where the machine finds the API, on its loopback. */
const API_PORT = 6443;

export interface KubeNodeOptions {
  /** NODE_NAME. */
  readonly nodeName: string;
  readonly netConf: unknown;
  /** In place of NODE_NAME. */
  readonly env?: Readonly<Record<string, string>>;
  readonly flags?: readonly string[];
  /** Program and first arguments of the daemon. Default: the sources. */
  readonly command?: readonly string[];
  /** Addresses of eth0 with lengths. */
  readonly addresses?: readonly string[];
}

export interface KubeNode {
  readonly machine: Machine;
  readonly daemon: Daemon;
  /** Runs one command of words inside and returns what it printed. */
  run(line: string): Promise<string>;
  readyz(): Promise<string>;
  close(): Promise<void>;
}

/** Starts machine and wires; the daemon is the test's to start. */
export async function startKubeNode(fake: FakeKube, options: KubeNodeOptions): Promise<KubeNode> {
  const directory = mkdtempSync(path.join(os.tmpdir(), "fts-kube-"));
  const machine = await startMachine(options.nodeName);
  // A unix socket is reached from every network namespace.
  const socketPath = path.join(directory, "api.sock");
  const wires = createServer((client) => {
    const upstream = connect(fake.port, "127.0.0.1");
    client.pipe(upstream).pipe(client);
    client.on("error", () => upstream.destroy());
    upstream.on("error", () => client.destroy());
    upstream.on("close", () => client.destroy());
    client.on("close", () => upstream.destroy());
  }).listen(socketPath);
  const close = async (): Promise<void> => {
    await daemon.stop();
    await machine.close();
    wires.close();
    rmSync(directory, { recursive: true, force: true });
  };
  const daemon = createDaemon(machine, {
    command: options.command ?? [process.execPath, path.join(ROOT, "src/daemon/main.ts")],
    flags: [
      "--kube-subnet-mgr",
      `--kube-api-url=http://127.0.0.1:${API_PORT}`,
      "--net-config-path=/etc/kube-flannel/net-conf.json",
      ...(options.flags ?? []),
    ],
    env: options.env ?? { NODE_NAME: options.nodeName },
    logFile: path.join(directory, "daemon.log"),
  });
  const run = async (line: string): Promise<string> => {
    const [program = "", ...args] = line.split(" ");
    return (await machine.exec(program, args, { allowFailure: true })).stdout;
  };
  try {
    await once(wires, "listening");
    const relay = [path.join(ROOT, "lab/relay.ts"), "127.0.0.1", String(API_PORT), socketPath];
    await machine.spawn(process.execPath, relay, { stdio: ["ignore", "ignore", "inherit"] });
    await run("ip link add eth0 type veth peer name wire");
    for (const address of options.addresses ?? ["192.0.2.11/24"]) {
      await run(`ip addr add ${address} dev eth0${address.includes(":") ? " nodad" : ""}`);
    }
    await run("ip link set eth0 up");
    await run("ip link set wire up");
    await run("ip route add default via 192.0.2.1 dev eth0");
    await run("ip -6 route add default via 2001:db8::1 dev eth0");
    await run("mkdir -p /etc/kube-flannel");
    await machine.exec("tee", ["/etc/kube-flannel/net-conf.json"], {
      input: JSON.stringify(options.netConf),
    });
    await waitFor("the relay", async () => (await run("ss -ltn")).includes(`:${API_PORT}`));
  } catch (error) {
    await close();
    throw error;
  }
  return {
    machine,
    daemon,
    run,
    readyz: () => run("curl -s http://127.0.0.1:10471/readyz"),
    close,
  };
}

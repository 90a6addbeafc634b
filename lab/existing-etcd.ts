// An etcd that exists already, made reachable from the nodes: a relay in the underlay, and from there through us.
import { once } from "node:events";
import { connect, createServer } from "node:net";
import type { Server } from "node:net";
import path from "node:path";
import { exec } from "../src/kernel/exec.ts";
import type { LabEtcd } from "./etcd.ts";
import type { Machine } from "./machine.ts";
import { planRelays } from "./plan-relay.ts";
import type { Relay } from "./plan-relay.ts";

export interface ExistingEtcd {
  /** As this machine reaches them, e.g. http://127.0.0.1:2379. */
  readonly endpoints: readonly string[];
  /** Keys of this lab; all below it is removed when the lab ends. */
  readonly prefix: string;
}

/**
 * Nodes have no way to the networks of this machine, by design. The underlay therefore answers at an address that they do
 * reach, and carries each connection through a unix socket to this process, which connects to the real endpoint.
 */
export async function joinExistingEtcd(
  underlay: Machine,
  ownAddress: string,
  { endpoints, prefix }: ExistingEtcd,
): Promise<LabEtcd> {
  const relays = planRelays(endpoints, ownAddress);
  const servers = await Promise.all(relays.map((relay, i) => startRelay(underlay, ownAddress, relay, i)));
  const ctl = async (...args: readonly string[]): Promise<string> =>
    (await exec("etcdctl", [`--endpoints=${endpoints.join(",")}`, ...args], { env: { ETCDCTL_API: "3" } }))
      .stdout;
  const reached = relays.map(({ endpoint }) => endpoint).join(",");
  const notOurs = (): Promise<never> =>
    Promise.reject(
      new Error("this etcd was given with --etcd-endpoints; the lab neither starts nor stops it"),
    );
  return {
    endpoints: reached,
    prefix,
    daemonFlags: [`--etcd-endpoints=${reached}`, `--etcd-prefix=${prefix}`],
    daemonEnv: {},
    installInto: () => Promise.resolve(),
    ctl,
    start: notOurs,
    stop: notOurs,
    isRunning: () => true,
    pid: () => undefined,
    wipe: notOurs,
    compact: notOurs,
    close: async () => {
      for (const server of servers) server.close();
      await ctl("del", "--prefix", `${prefix}/`);
    },
  };
}

async function startRelay(
  underlay: Machine,
  ownAddress: string,
  relay: Relay,
  index: number,
): Promise<Server> {
  const inside = `/run/etcd-relay-${index}.sock`;
  // A socket is a file: made by us through the machine's root directory, it is there for the machine too.
  const server = createServer((client) => {
    const upstream = connect(relay.port, relay.host);
    client.pipe(upstream).pipe(client);
    client.on("error", () => upstream.destroy());
    upstream.on("error", () => client.destroy());
  }).listen(underlay.hostPath(inside));
  await once(server, "listening");
  // The lab must be able to end while idle connections stand.
  server.unref();
  if (relay.address !== ownAddress) {
    await underlay.exec("ip", ["addr", "add", `${relay.address}/32`, "dev", "lo"], { allowFailure: true });
  }
  const script = path.join(import.meta.dirname, "relay.ts");
  const args = [script, relay.address, String(relay.addressPort), inside];
  const child = await underlay.spawn(process.execPath, args, { stdio: ["ignore", "pipe", "ignore"] });
  await Promise.race([
    once(child.child.stdout ?? child.child, "data"),
    child.ended.then(() => Promise.reject(new Error(`relay for ${relay.endpoint}: it ended`))),
  ]);
  return server;
}

// The underlay machine: one bridge per segment, the router between the segments, and the wires to other machines.
import { exec } from "../src/kernel/exec.ts";
import { startMachine } from "./machine.ts";
import type { Machine } from "./machine.ts";
import { SEGMENTS, planSegments } from "./plan-topology.ts";
import type { Attachment, Topology } from "./plan-topology.ts";

export interface Underlay {
  readonly machine: Machine;
  /** Gives `machine` an eth0 on a segment, with a default route through the router unless `defaultRoute` is false. */
  attach(machine: Machine, attachment: Attachment, options?: AttachOptions): Promise<void>;
}

export interface AttachOptions {
  /** Name of the interface in the machine. Default eth0. */
  readonly ifName?: string;
  /** Bytes. Default 1500. */
  readonly mtu?: number;
  readonly defaultRoute?: boolean;
  /** No IPv4 address and route. */
  readonly ipv6Only?: boolean;
}

/** Starts the underlay. It forwards between its segments and knows no route to any pod. */
export async function startUnderlay(topology: Topology): Promise<Underlay> {
  const machine = await startMachine("underlay");
  try {
    const segments = [...planSegments(topology), SEGMENTS.outside];
    const commands = segments.flatMap(({ bridge, router, router6, routerMac }) => [
      // forward_delay 0: a port forwards at once; the lab has no loops.
      `link add ${bridge} address ${routerMac} type bridge forward_delay 0`,
      `addr add ${router}/24 dev ${bridge}`,
      `addr add ${router6}/64 dev ${bridge} nodad`,
      `link set ${bridge} up`,
    ]);
    await machine.exec("ip", ["-batch", "-"], { input: lines(commands) });
    await enableForwarding(machine);
  } catch (error) {
    await machine.close();
    throw error;
  }
  return {
    machine,
    attach: (other, attachment, options) => attach(machine, other, attachment, options),
  };
}

/** What kubeadm asks of a node, and what makes the underlay a router. */
export async function enableForwarding(machine: Machine): Promise<void> {
  await machine.exec("sysctl", ["-qw", "net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1"]);
}

async function attach(
  underlay: Machine,
  machine: Machine,
  { segment, address, address6 }: Attachment,
  { ifName = "eth0", mtu = 1500, defaultRoute = true, ipv6Only = false }: AttachOptions = {},
): Promise<void> {
  // The port carries the machine's own name; the kernel allows 15 characters.
  const port = `${ifName === "eth0" ? "" : `${ifName}-`}${machine.name}`.slice(0, 15);
  // Only the network namespace is entered: `netns PID` counts in the PID namespace of the caller, which is ours.
  const enter = [`--net=/proc/${underlay.pid}/ns/net`, "--", "ip", "-batch", "-"];
  const wire = [
    `link add ${port} mtu ${mtu} type veth peer name ${ifName} mtu ${mtu} netns ${machine.pid}`,
    `link set ${port} master ${segment.bridge} up`,
  ];
  await exec("nsenter", enter, { input: lines(wire) });
  const configure = [
    ...(ipv6Only ? [] : [`addr add ${address}/24 brd + dev ${ifName}`]),
    `addr add ${address6}/64 dev ${ifName} nodad`,
    `link set ${ifName} up`,
    ...(defaultRoute
      ? [ipv6Only ? [] : segment.router, segment.router6]
          .flat()
          .map((router) => `route add default via ${router}`)
      : []),
  ];
  await machine.exec("ip", ["-batch", "-"], { input: lines(configure) });
}

function lines(commands: readonly string[]): string {
  return `${commands.join("\n")}\n`;
}

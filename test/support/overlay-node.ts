// A node to test kernel tables on: a namespace with an uplink (a veth), its addresses, and sysctls read inside it.
import { spawnLines as spawnLinesHere } from "../../src/kernel/exec.ts";
import type { Exec, SpawnLines } from "../../src/kernel/exec.ts";
import type { SysctlFiles } from "../../src/kernel/sysctls.ts";
import { ownershipOf } from "../../src/host/ownership.ts";
import type { Ownership } from "../../src/host/ownership.ts";
import type { Link, VxlanLink } from "../../src/host/state.ts";
import { parseCidr } from "../../src/net/cidr.ts";
import { parseIp } from "../../src/net/ip.ts";
import { parseMac } from "../../src/net/mac.ts";
import { createNamespace } from "./netns.ts";

export interface OverlayNode {
  readonly exec: Exec;
  readonly spawnLines: SpawnLines;
  readonly sysctlFiles: SysctlFiles;
  /** Runs commands of one line each, e.g. "ip link set eth0 down"; no quoting. Returns what they printed. */
  run(...commands: readonly string[]): Promise<string>;
  remove(): Promise<void>;
}

export const OWNERSHIP: Ownership = ownershipOf(
  [parseCidr("10.244.0.0/16"), parseCidr("fd00:244::/48")],
  ["flannel.1", "flannel-v6.1"],
);

export const FLANNEL_1: VxlanLink = {
  kind: "vxlan",
  name: "flannel.1",
  mac: parseMac("02:00:00:00:00:01"),
  mtu: 1450,
  vni: 1,
  port: 8472,
  local: parseIp("192.0.2.1"),
  uplink: "eth0",
  learning: false,
  gbp: false,
};

export const FLANNEL_V6_1: Link = {
  ...FLANNEL_1,
  name: "flannel-v6.1",
  mac: parseMac("02:00:00:00:00:06"),
  local: parseIp("2001:db8::1"),
};

/** An uplink `eth0` with 192.0.2.1/24 and 2001:db8::1/64; its other end is `eth0-peer`, in the same namespace. */
export async function createOverlayNode(prefix = "fts-kt"): Promise<OverlayNode> {
  const namespace = await createNamespace(prefix);
  const { exec } = namespace;
  const run = async (...commands: readonly string[]): Promise<string> => {
    let printed = "";
    for (const command of commands) {
      const [program = "", ...args] = command.split(" ");
      printed += (await exec(program, args)).stdout;
    }
    return printed;
  };
  await run(
    "ip link add eth0 type veth peer name eth0-peer",
    "ip link set eth0-peer up",
    "ip link set eth0 up",
    "ip address add 192.0.2.1/24 dev eth0",
    "ip address add 2001:db8::1/64 dev eth0 nodad",
  );
  return {
    exec,
    run,
    spawnLines: (command, args, handlers) =>
      spawnLinesHere("nsenter", [`--net=/run/netns/${namespace.name}`, "--", command, ...args], handlers),
    sysctlFiles: {
      async read(key) {
        const { stdout, exitCode } = await exec("cat", [`/proc/sys/${key}`], { allowFailure: true });
        if (exitCode !== 0) throw Object.assign(new Error(`no such key ${key}`), { code: "ENOENT" });
        return stdout;
      },
      async write(key, value) {
        await exec("sysctl", ["-q", "-w", `${key}=${value}`]);
      },
    },
    remove: () => namespace.remove(),
  };
}

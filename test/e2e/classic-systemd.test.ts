// The bare-metal set-up of the handbooks under a real systemd: etcd v3, host-gw over eth2, Docker's options; and our unit.
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import os from "node:os";
import path from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { startEtcd } from "../../lab/etcd.ts";
import type { LabEtcd } from "../../lab/etcd.ts";
import { startMachine } from "../../lab/machine.ts";
import type { Machine } from "../../lab/machine.ts";
import { planNodeAttachment, UNDERLAY_ADDRESS } from "../../lab/plan-topology.ts";
import { enableForwarding, startUnderlay } from "../../lab/underlay.ts";
import type { Underlay } from "../../lab/underlay.ts";
import { startSystemd } from "../support/real-systemd.ts";
import type { Systemd } from "../support/real-systemd.ts";
import { waitFor } from "../support/wait.ts";

const DEPLOY = path.resolve(import.meta.dirname, "../../deploy");
const deployed = (file: string): string => readFileSync(path.join(DEPLOY, file), "utf8");

interface Host {
  readonly machine: Machine;
  readonly systemd: Systemd;
  readonly address: string;
}

let directory: string;
let underlay: Underlay;
let etcd: LabEtcd;
let hosts: Host[] = [];
beforeEach(async () => {
  directory = mkdtempSync(path.join(os.tmpdir(), "fts-classic-"));
  underlay = await startUnderlay("flat");
});
afterEach(async ({ task }) => {
  for (const { machine, systemd } of hosts.splice(0)) {
    if (task.result?.state === "fail") process.stderr.write(`--- ${machine.name}\n${systemd.log()}\n`);
    await systemd.close();
  }
  await underlay.machine.close();
  rmSync(directory, { recursive: true, force: true });
});

async function startHost(index: number, ifName: string): Promise<Host> {
  const attachment = planNodeAttachment("flat", index);
  const machine = await startMachine(`h${index}`);
  try {
    await underlay.attach(machine, attachment, { ifName });
    await enableForwarding(machine);
    const host = { machine, systemd: await startSystemd(machine), address: attachment.address };
    hosts.push(host);
    return host;
  } catch (error) {
    await machine.close();
    throw error;
  }
}

const read = ({ machine }: Host, file: string): string => readFileSync(machine.hostPath(file), "utf8");
const lines = (text: string): string[] => text.split("\n").filter((line) => line !== "");

const DOCKER_UNIT = `[Unit]
Description=Docker
After=network-online.target

[Service]
Type=oneshot
RemainAfterExit=yes
EnvironmentFile=-/run/flannel/docker
ExecStart=/etc/dockerd $DOCKER_NETWORK_OPTIONS
`;

/** What dockerd does with its options as far as the network is concerned: a bridge, and a FORWARD chain that drops. */
const DOCKERD = `#!/bin/sh -e
echo "$*" >/run/dockerd.args
for option; do
  case $option in
  --bip=*) bip=\${option#*=} ;;
  --mtu=*) mtu=\${option#*=} ;;
  esac
done
ip link add docker0 mtu "$mtu" type bridge
ip addr add "$bip" dev docker0
ip link set docker0 up
iptables -P FORWARD DROP
`;

/** A container on docker0: its address is the second of the subnet. Returns it. */
async function runContainer(host: Host, name: string): Promise<string> {
  const subnet = /--bip=([\d.]+)\.1\/24/.exec(read(host, "/run/dockerd.args"))?.[1] ?? "";
  const script = `
ip netns add $1
ip link add veth-$1 type veth peer name eth0 netns $1
ip link set veth-$1 master docker0 up
ip -n $1 addr add $2.2/24 dev eth0
ip -n $1 link set lo up
ip -n $1 link set eth0 up
ip -n $1 route add default via $2.1
`;
  await host.machine.exec("sh", ["-ec", script, "run", name, subnet]);
  return `${subnet}.2`;
}

describe("flanneld.service of the handbooks", () => {
  const PREFIX = "/kube-centos/network";
  const CONFIG = '{"Network":"172.33.0.0/16","SubnetLen":24,"Backend":{"Type":"host-gw"}}';

  async function startClassicHost(index: number): Promise<Host> {
    const host = await startHost(index, "eth2");
    const options = deployed("classic/flanneld.env").replace("http://127.0.0.1:2379", etcd.endpoints);
    host.systemd.install("/etc/sysconfig/flanneld", options);
    host.systemd.install("/etc/systemd/system/flanneld.service", deployed("classic/flanneld.service"));
    host.systemd.install("/etc/systemd/system/docker.service", DOCKER_UNIT);
    host.systemd.install("/etc/dockerd", DOCKERD);
    await host.systemd.ctl(["daemon-reload"]);
    await host.systemd.ctl(["enable", "flanneld"]);
    await host.systemd.ctl(["start", "docker"]);
    return host;
  }

  test("Docker starts after it with its options; containers on all nodes reach each other", async () => {
    etcd = await startEtcd(underlay.machine, UNDERLAY_ADDRESS, path.join(directory, "etcd.log"), {
      prefix: PREFIX,
    });
    await etcd.ctl("put", `${PREFIX}/config`, CONFIG);
    const all = [await startClassicHost(1), await startClassicHost(2), await startClassicHost(3)];
    const subnetOf = (host: Host): string =>
      /^FLANNEL_SUBNET=(172\.33\.\d+)\.1\/24$/m.exec(read(host, "/run/flannel/subnet.env"))?.[1] ?? "";

    expect(new Set(all.map(subnetOf)).size).toBe(3);
    for (const host of all) {
      const subnet = subnetOf(host);
      const combined = ` --bip=${subnet}.1/24 --ip-masq=true --mtu=1500`;
      expect(read(host, "/run/flannel/docker")).toBe(
        `DOCKER_OPT_BIP="--bip=${subnet}.1/24"\n` +
          `DOCKER_OPT_IPMASQ="--ip-masq=true"\n` +
          `DOCKER_OPT_MTU="--mtu=1500"\n` +
          `DOCKER_NETWORK_OPTIONS="${combined}"\n`,
      );
      expect(read(host, "/run/dockerd.args")).toBe(`${combined.trim()}\n`);
      expect(
        await host.systemd.show("flanneld", "ActiveState", "SubState", "NotifyAccess", "Result"),
      ).toEqual({
        ActiveState: "active",
        SubState: "running",
        NotifyAccess: "main",
        Result: "success",
      });
      const wanted = all
        .filter((other) => other !== host)
        .map((other) => `${subnetOf(other)}.0/24 via ${other.address} dev eth2 proto 250`);
      await waitFor(`one route for each other node on ${host.machine.name}`, async () => {
        const { stdout } = await host.machine.exec("ip", ["route", "show", "root", "172.33.0.0/16"]);
        const found = lines(stdout)
          .map((line) => line.trim())
          .filter((line) => !line.includes("docker0"));
        return JSON.stringify(found.toSorted()) === JSON.stringify(wanted.toSorted());
      });
    }

    const addresses = await Promise.all(all.map((host, i) => runContainer(host, `c${i}`)));
    for (const [i, host] of all.entries()) {
      for (const address of addresses) {
        const args = [
          "netns",
          "exec",
          `c${i}`,
          "ping",
          "-c",
          "1",
          "-W",
          "2",
          "-M",
          "do",
          "-s",
          "1472",
          address,
        ];
        expect((await host.machine.exec("ip", args)).stdout).toContain(" 0% packet loss");
      }
    }
  });

  test("restart, kill -9 and stop: the same subnet, the same options, and routes that stay", async () => {
    etcd = await startEtcd(underlay.machine, UNDERLAY_ADDRESS, path.join(directory, "etcd.log"), {
      prefix: PREFIX,
    });
    await etcd.ctl("put", `${PREFIX}/config`, CONFIG);
    await etcd.ctl(
      "put",
      `${PREFIX}/subnets/172.33.96.0-24`,
      '{"PublicIP":"192.0.2.99","PublicIPv6":null,"BackendType":"host-gw"}',
    );
    const host = await startClassicHost(1);
    const { systemd, machine } = host;
    const route = "172.33.96.0/24 via 192.0.2.99 dev eth2 proto 250";
    const state = async () => ({
      docker: read(host, "/run/flannel/docker"),
      subnet: read(host, "/run/flannel/subnet.env"),
      route: (await machine.exec("ip", ["route", "show", "172.33.96.0/24"])).stdout.trim(),
    });
    const before = await state();
    expect(before.route).toBe(route);

    await systemd.ctl(["restart", "flanneld"]);
    expect(await state()).toEqual(before);

    const { MainPID: killed } = await systemd.show("flanneld", "MainPID");
    await systemd.ctl(["kill", "--signal=KILL", "--kill-whom=main", "flanneld"]);
    await waitFor(
      "systemd to have started it again",
      async () => {
        const { MainPID, ActiveState } = await systemd.show("flanneld", "MainPID", "ActiveState");
        return ActiveState === "active" && MainPID !== killed;
      },
      { timeoutMs: 30_000 },
    );
    expect(await systemd.show("flanneld", "NRestarts")).toEqual({ NRestarts: "1" });
    expect(await state()).toEqual(before);

    await systemd.ctl(["stop", "flanneld"]);
    expect(await systemd.show("flanneld", "ActiveState", "Result", "ExecMainStatus")).toEqual({
      ActiveState: "inactive",
      Result: "success",
      ExecMainStatus: "0",
    });
    expect(await state()).toEqual(before);
  });
});

describe("our flanneld-ts.service with all its restrictions", () => {
  async function startOurHost(options: string): Promise<Host> {
    const host = await startHost(1, "eth0");
    const file = deployed("flanneld-ts.env").replace("http://127.0.0.1:2379", etcd.endpoints);
    host.systemd.install("/etc/default/flanneld-ts", `${file}\n${options}\n`);
    host.systemd.install("/etc/systemd/system/flanneld-ts.service", deployed("flanneld-ts.service"));
    await host.systemd.ctl(["daemon-reload"]);
    return host;
  }

  test("a cluster from nothing; subnet.env outlives the daemon", async () => {
    etcd = await startEtcd(underlay.machine, UNDERLAY_ADDRESS, path.join(directory, "etcd.log"));
    const host = await startOurHost("FLANNELD_NETWORK=10.244.0.0/16");
    const { systemd, machine } = host;
    await systemd.ctl(["enable", "--now", "flanneld-ts"]);
    const { ActiveState, StatusText } = await systemd.show("flanneld-ts", "ActiveState", "StatusText");
    expect(ActiveState).toBe("active");
    expect(StatusText).toMatch(/^vxlan 10\.244\.\d+\.0\/24 via eth0$/);
    expect((await machine.exec("ip", ["-o", "link", "show", "flannel.1"])).stdout).toContain("mtu 1450");
    expect((await machine.exec("iptables-save", ["-t", "nat"])).stdout).toContain("FLANNEL-POSTRTG");
    expect(JSON.parse(read(host, "/etc/cni/net.d/10-flannel.conflist"))).toMatchObject({ name: "cbr0" });
    expect(lines(systemd.log()).filter((line) => /"level":"(warn|error)"/.test(line))).toEqual([]);
    expect((await machine.exec("/opt/flanneld-ts/flanneld-ts", ["status"])).stdout).toContain("eth0");

    const env = read(host, "/run/flannel/subnet.env");
    await systemd.ctl(["stop", "flanneld-ts"]);
    expect(read(host, "/run/flannel/subnet.env")).toBe(env);
    await systemd.ctl(["start", "flanneld-ts"]);
    expect(read(host, "/run/flannel/subnet.env")).toBe(env);
  });

  test("a contradiction ends it for good, with the reason in the log", async () => {
    etcd = await startEtcd(underlay.machine, UNDERLAY_ADDRESS, path.join(directory, "etcd.log"));
    await etcd.ctl("put", `${etcd.prefix}/config`, '{"Network":"10.99.0.0/16","Backend":{"Type":"vxlan"}}');
    const { systemd } = await startOurHost("FLANNELD_NETWORK=10.244.0.0/16");
    expect((await systemd.ctl(["start", "flanneld-ts"], { allowFailure: true })).exitCode).toBe(1);
    expect(await systemd.show("flanneld-ts", "ActiveState", "ExecMainStatus", "NRestarts")).toEqual({
      ActiveState: "failed",
      ExecMainStatus: "2",
      NRestarts: "0",
    });
    expect(systemd.log()).toContain("--network=10.244.0.0/16 contradicts");
  });
});

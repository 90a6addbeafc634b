// A node of a real cluster: a machine on the underlay with containerd, kubelet and, if wanted, kube-proxy.
import { cpSync, existsSync, mkdirSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { startMachine } from "../../../lab/machine.ts";
import type { Machine } from "../../../lab/machine.ts";
import { planNodeAttachment } from "../../../lab/plan-topology.ts";
import { enableForwarding } from "../../../lab/underlay.ts";
import type { Underlay } from "../../../lab/underlay.ts";
import { waitUntil } from "../../../lab/wait.ts";
import type { Exec } from "../../../src/kernel/exec.ts";
import { makeCgroup, nodeCgroup, removeCgroup } from "./cgroups.ts";
import type { ClusterNetworks, ControlPlane } from "./control-plane.ts";
import { createContainerd, createKubelet, createKubeProxy } from "./node-services.ts";
import type { NodeServiceOptions } from "./node-services.ts";
import type { Service } from "./service.ts";

export interface RealNode {
  /** "n1" */
  readonly name: string;
  /** InternalIP. */
  readonly address: string;
  /** Everything standard is where it always is, and the node's own: /run, /etc/cni, /opt/cni, /var/lib/kubelet. */
  readonly machine: Machine;
  /** Runs a program on the node. */
  readonly exec: Exec;
  readonly containerd: Service;
  readonly kubelet: Service;
  /** Not started unless the cluster was asked for it. */
  readonly kubeProxy: Service;
  /** Imports a docker archive; pods use it with imagePullPolicy Never. */
  importImage(archive: string): Promise<void>;
  /** Ends the machine and everything in it, as if its power failed. The Node object stays. */
  close(): Promise<void>;
}

export interface RealNodeOptions {
  /** Node n1 has index 1. */
  readonly index: number;
  /** For logs and for what containerd and kubelet store. */
  readonly directory: string;
  readonly networks: ClusterNetworks;
  readonly images: readonly string[];
}

/** What kubelet sets in the kernel when it is not so: every node would set it for the whole computer. */
const KERNEL_TUNABLES: Readonly<Record<string, string>> = {
  "vm/overcommit_memory": "1",
  "vm/panic_on_oom": "0",
  "kernel/panic": "10",
  "kernel/panic_on_oops": "1",
  "kernel/keys/root_maxkeys": "1000000",
  "kernel/keys/root_maxbytes": "25000000",
};

/** Starts the machine and containerd; kubelet is for the caller to start. */
export async function startRealNode(
  underlay: Underlay,
  { url, pki }: Pick<ControlPlane, "url" | "pki">,
  options: RealNodeOptions,
): Promise<RealNode> {
  const { index, networks } = options;
  const name = `n${index}`;
  const attachment = planNodeAttachment("flat", index);
  const directory = join(options.directory, name);
  const cgroup = nodeCgroup(name);
  mkdirSync(directory, { recursive: true });
  const machine = await startMachine(name);
  const close = async (): Promise<void> => {
    await machine.close();
    // Its first process is the last to go.
    await waitUntil(`the end of ${name}`, () => !existsSync(`/proc/${machine.pid}`), { timeoutMs: 20_000 });
    removeCgroup(cgroup);
    rmSync(join(directory, "var"), { recursive: true, force: true });
  };
  try {
    await underlay.attach(machine, attachment);
    await enableForwarding(machine);
    await prepareMachine(machine, directory);
    makeCgroup(cgroup);
    const services: NodeServiceOptions = {
      machine,
      directory,
      address: attachment.address,
      url,
      pki,
      networks,
      cgroup,
    };
    const containerd = createContainerd(services);
    const importImage = async (archive: string): Promise<void> => {
      await machine.exec("ctr", ["--namespace=k8s.io", "images", "import", archive], { timeoutMs: 300_000 });
    };
    await containerd.start();
    for (const image of options.images) await importImage(image);
    const kubelet = await createKubelet(services);
    const kubeProxy = await createKubeProxy(services);
    const { address } = attachment;
    return { name, address, machine, exec: machine.exec, containerd, kubelet, kubeProxy, importImage, close };
  } catch (error) {
    await close();
    throw error;
  }
}

/** A disk for containerd and kubelet (overlays do not stack), shared mounts as containers want them, CNI plugins. */
async function prepareMachine(machine: Machine, directory: string): Promise<void> {
  const disk = ["containerd", "kubelet"].map((name) => ({
    from: join(directory, "var", name),
    to: `/var/lib/${name}`,
  }));
  const tunables = Object.entries(KERNEL_TUNABLES).map(([tunable, value]) => {
    const from = join(directory, "tunables", tunable.replaceAll("/", "-"));
    mkdirSync(join(directory, "tunables"), { recursive: true });
    writeFileSync(from, `${value}\n`);
    return { from, to: `/proc/sys/${tunable}` };
  });
  for (const { from, to } of disk) {
    mkdirSync(from, { recursive: true });
    await machine.exec("mkdir", ["-p", to]);
  }
  for (const { from, to } of [...disk, ...tunables]) await machine.exec("mount", ["--bind", from, to]);
  await machine.exec("mount", ["--make-rshared", "/"]);
  mkdirSync(machine.hostPath("/opt/cni/bin"), { recursive: true });
  cpSync("/usr/lib/cni", machine.hostPath("/opt/cni/bin"), { recursive: true, dereference: true });
}

// The programs of a node of a real cluster, and how each is configured: containerd, kubelet, kube-proxy.
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import type { Machine } from "../../../lab/machine.ts";
import { kubernetesProgram } from "./binaries.ts";
import type { ClusterNetworks } from "./control-plane.ts";
import { PAUSE_IMAGE } from "./image.ts";
import type { ClusterPki } from "./pki.ts";
import { createService } from "./service.ts";
import type { Service } from "./service.ts";

export interface NodeServiceOptions {
  readonly machine: Machine;
  /** Of the node: for logs and configuration. */
  readonly directory: string;
  readonly address: string;
  /** Of the API server. */
  readonly url: string;
  readonly pki: ClusterPki;
  readonly networks: ClusterNetworks;
  readonly cgroup: string;
}

const CONTAINERD_CONFIG = `version = 2
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "${PAUSE_IMAGE}"
  # Lowering a score needs a capability (CAP_SYS_RESOURCE) that root in a container may lack.
  restrict_oom_score_adj = true
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "/opt/cni/bin"
    conf_dir = "/etc/cni/net.d"
  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "overlayfs"
    default_runtime_name = "runc"
  [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
    runtime_type = "io.containerd.runc.v2"
`;

export function createContainerd({ machine, directory }: NodeServiceOptions): Service {
  const config = join(directory, "containerd.toml");
  writeFileSync(config, CONTAINERD_CONFIG);
  return createService({
    name: "containerd",
    machine,
    command: "containerd",
    args: ["--config", config],
    logFile: join(directory, "containerd.log"),
    isReady: async () => (await machine.exec("ctr", ["version"], { allowFailure: true })).exitCode === 0,
  });
}

export async function createKubelet(options: NodeServiceOptions): Promise<Service> {
  const { machine, directory, address, pki, networks } = options;
  const { name } = machine;
  const kubeconfig = await pki.writeKubeconfig(name, `/O=system:nodes/CN=system:node:${name}`);
  return createService({
    name: "kubelet",
    machine,
    command: kubernetesProgram("kubelet"),
    args: [
      `--config=${writeKubeletConfig(options)}`,
      `--kubeconfig=${kubeconfig}`,
      `--hostname-override=${name}`,
      `--node-ip=${address}`,
      `--cert-dir=${join(directory, "kubelet-pki")}`,
      "--container-runtime=remote",
      "--container-runtime-endpoint=unix:///run/containerd/containerd.sock",
      `--pod-infra-container-image=${PAUSE_IMAGE}`,
      ...networks.featureGates,
    ],
    // It asks 169.254.169.254 for credentials of a cloud, for 6 s.
    env: { AWS_EC2_METADATA_DISABLED: "true" },
    logFile: join(directory, "kubelet.log"),
    isReady: () => answers(machine, "http://127.0.0.1:10248/healthz"),
  });
}

export async function createKubeProxy(options: NodeServiceOptions): Promise<Service> {
  const { machine, directory, url, pki, networks } = options;
  const kubeconfig = await pki.writeKubeconfig(`${machine.name}-proxy`, "/CN=system:kube-proxy");
  return createService({
    name: "kube-proxy",
    machine,
    command: kubernetesProgram("kube-proxy"),
    args: [
      `--kubeconfig=${kubeconfig}`,
      `--master=${url}`,
      `--hostname-override=${machine.name}`,
      "--proxy-mode=iptables",
      `--cluster-cidr=${networks.podNetwork}`,
      // The limit is the whole computer's.
      "--conntrack-max-per-core=0",
      "--oom-score-adj=0",
      ...networks.featureGates,
    ],
    logFile: join(directory, "kube-proxy.log"),
    isReady: () => answers(machine, "http://127.0.0.1:10256/healthz"),
  });
}

async function answers(machine: Machine, address: string): Promise<boolean> {
  const asked = ["wget", "-q", "-O", "/dev/null", address];
  return (await machine.exec("/bin/busybox", asked, { allowFailure: true })).exitCode === 0;
}

function writeKubeletConfig({ directory, address, pki, cgroup }: NodeServiceOptions): string {
  const file = join(directory, "kubelet.json");
  const config = {
    apiVersion: "kubelet.config.k8s.io/v1beta1",
    kind: "KubeletConfiguration",
    authentication: {
      anonymous: { enabled: false },
      webhook: { enabled: true },
      x509: { clientCAFile: pki.caFile },
    },
    authorization: { mode: "Webhook" },
    address,
    healthzBindAddress: "127.0.0.1",
    cgroupDriver: "cgroupfs",
    cgroupRoot: `/${cgroup}`,
    clusterDNS: ["10.96.0.10"],
    clusterDomain: "cluster.local",
    failSwapOn: false,
    resolvConf: "",
    nodeStatusUpdateFrequency: "2s",
    syncFrequency: "10s",
    // The disk is shared with everything else on this computer.
    imageGCHighThresholdPercent: 100,
    evictionHard: {
      "memory.available": "100Mi",
      "nodefs.available": "0%",
      "imagefs.available": "0%",
      "nodefs.inodesFree": "0%",
    },
    oomScoreAdj: 0,
    maxOpenFiles: 20_000,
  };
  writeFileSync(file, JSON.stringify(config, null, 2));
  return file;
}

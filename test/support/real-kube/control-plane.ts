// The control plane of a real cluster: etcd, API server, controller manager and scheduler in the underlay machine.
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { startEtcd } from "../../../lab/etcd.ts";
import type { LabEtcd } from "../../../lab/etcd.ts";
import { UNDERLAY_ADDRESS } from "../../../lab/plan-topology.ts";
import type { Machine } from "../../../lab/machine.ts";
import type { Underlay } from "../../../lab/underlay.ts";
import type { ExecOptions, ExecResult } from "../../../src/kernel/exec.ts";
import { kubernetesProgram } from "./binaries.ts";
import { makeClusterPki } from "./pki.ts";
import type { ClusterPki } from "./pki.ts";
import { createService } from "./service.ts";
import type { Service } from "./service.ts";

export const API_PORT = 6443;
const SERVICE_ADDRESS = "10.96.0.1";

export interface ClusterNetworks {
  /** Comma lists, IPv4 first. */
  readonly podNetwork: string;
  readonly serviceNetwork: string;
  /** What 1.20 needs for two families. */
  readonly featureGates: readonly string[];
}

export function planNetworks({ dualStack = false, podNetwork }: NetworkOptions): ClusterNetworks {
  const network = podNetwork ?? (dualStack ? "10.244.0.0/16,fd00:10:244::/56" : "10.244.0.0/16");
  return dualStack
    ? {
        podNetwork: network,
        serviceNetwork: "10.96.0.0/16,fd00:10:96::/112",
        featureGates: ["--feature-gates=IPv6DualStack=true"],
      }
    : { podNetwork: network, serviceNetwork: "10.96.0.0/16", featureGates: [] };
}

export interface NetworkOptions {
  readonly dualStack?: boolean;
  /** What the controller manager cuts podCIDRs out of. Default 10.244.0.0/16. */
  readonly podNetwork?: string;
}

export interface ControlPlane {
  /** Where it runs: the underlay's, so neither a node nor a pod. */
  readonly machine: Machine;
  /** As nodes reach it. */
  readonly url: string;
  readonly pki: ClusterPki;
  /** Its client certificate is of system:masters. */
  readonly adminKubeconfig: string;
  readonly etcd: LabEtcd;
  readonly apiServer: Service;
  readonly controllerManager: Service;
  readonly scheduler: Service;
  /** Runs kubectl as admin in the underlay machine. @throws {ExecError} */
  kubectl(args: readonly string[], options?: ExecOptions): Promise<ExecResult>;
}

export interface ControlPlaneOptions {
  /** For certificates and logs. */
  readonly directory: string;
  readonly networks: ClusterNetworks;
  readonly apiServerArgs?: readonly string[];
}

/** Starts all four; about 10 s. They end with the machine. */
export async function startControlPlane(
  underlay: Underlay,
  options: ControlPlaneOptions,
): Promise<ControlPlane> {
  const { directory, networks } = options;
  const { machine } = underlay;
  const logs = join(directory, "logs");
  mkdirSync(logs, { recursive: true });
  const url = `https://${UNDERLAY_ADDRESS}:${API_PORT}`;
  const serverAddresses = ["127.0.0.1", UNDERLAY_ADDRESS, SERVICE_ADDRESS];
  const pki = await makeClusterPki({ dir: join(directory, "pki"), serverUrl: url, serverAddresses });
  const adminKubeconfig = await pki.writeKubeconfig("admin", "/O=system:masters/CN=admin");
  const kubectl: ControlPlane["kubectl"] = (args, execOptions) => {
    const own = [`--kubeconfig=${adminKubeconfig}`, `--cache-dir=${join(directory, "kubectl-cache")}`];
    return machine.exec(kubernetesProgram("kubectl"), [...own, ...args], {
      timeoutMs: 120_000,
      ...execOptions,
    });
  };
  const isApiReady = async (): Promise<boolean> =>
    (await kubectl(["get", "--raw", "/readyz"], { allowFailure: true })).stdout === "ok";
  const etcd = await startEtcd(machine, "127.0.0.1", join(logs, "etcd.log"), {
    extraFlags: ["--unsafe-no-fsync"],
  });
  const apiServer = createService({
    name: "kube-apiserver",
    machine,
    command: kubernetesProgram("kube-apiserver"),
    args: [...apiServerArgs(pki, networks, directory), ...(options.apiServerArgs ?? [])],
    logFile: join(logs, "kube-apiserver.log"),
    isReady: isApiReady,
  });
  await apiServer.start();
  const component = async (
    program: "kube-controller-manager" | "kube-scheduler",
    args: readonly string[],
  ): Promise<Service> => {
    const kubeconfig = await pki.writeKubeconfig(program, `/CN=system:${program}`);
    const files = ["", "authentication-", "authorization-"].map(
      (what) => `--${what}kubeconfig=${kubeconfig}`,
    );
    const common = ["--bind-address=127.0.0.1", "--port=0", "--leader-elect=false"];
    const service = createService({
      name: program,
      machine,
      command: kubernetesProgram(program),
      args: [...files, ...common, `--cert-dir=${join(directory, program)}`, ...args],
      logFile: join(logs, `${program}.log`),
      isReady: () => Promise.resolve(true),
    });
    await service.start();
    return service;
  };
  const controllerManager = await component("kube-controller-manager", controllerManagerArgs(pki, networks));
  const scheduler = await component("kube-scheduler", []);
  return { machine, url, pki, adminKubeconfig, etcd, apiServer, controllerManager, scheduler, kubectl };
}

function apiServerArgs(pki: ClusterPki, networks: ClusterNetworks, directory: string): string[] {
  return [
    "--etcd-servers=http://127.0.0.1:2379",
    `--bind-address=${UNDERLAY_ADDRESS}`,
    `--advertise-address=${UNDERLAY_ADDRESS}`,
    `--secure-port=${API_PORT}`,
    `--service-cluster-ip-range=${networks.serviceNetwork}`,
    `--tls-cert-file=${pki.serverCertFile}`,
    `--tls-private-key-file=${pki.serverKeyFile}`,
    `--client-ca-file=${pki.caFile}`,
    `--kubelet-client-certificate=${pki.kubeletClientCertFile}`,
    `--kubelet-client-key=${pki.kubeletClientKeyFile}`,
    "--kubelet-preferred-address-types=InternalIP",
    `--service-account-key-file=${pki.accountKeyFile}`,
    `--service-account-signing-key-file=${pki.accountKeyFile}`,
    "--service-account-issuer=https://kubernetes.default.svc",
    "--authorization-mode=Node,RBAC",
    "--enable-admission-plugins=NodeRestriction",
    "--allow-privileged=true",
    `--cert-dir=${join(directory, "kube-apiserver")}`,
    ...networks.featureGates,
  ];
}

function controllerManagerArgs(pki: ClusterPki, networks: ClusterNetworks): string[] {
  return [
    "--allocate-node-cidrs=true",
    `--cluster-cidr=${networks.podNetwork}`,
    `--service-cluster-ip-range=${networks.serviceNetwork}`,
    "--configure-cloud-routes=false",
    "--use-service-account-credentials=true",
    `--service-account-private-key-file=${pki.accountKeyFile}`,
    `--root-ca-file=${pki.caFile}`,
    `--cluster-signing-cert-file=${pki.caFile}`,
    `--cluster-signing-key-file=${pki.caKeyFile}`,
    ...networks.featureGates,
  ];
}

// Where the Kubernetes that scripts/kubernetes.sh has built lies: in the user's cache, outside the repository.
import { existsSync } from "node:fs";
import { homedir } from "node:os";
import { join } from "node:path";

export const KUBERNETES_VERSION = "1.20.2";

export type KubernetesProgram =
  | "kube-apiserver"
  | "kube-controller-manager"
  | "kube-scheduler"
  | "kubelet"
  | "kube-proxy"
  | "kubectl"
  | "pause";

export function kubernetesCache(): string {
  // Empty counts as unset (XDG base directory specification).
  const cache = process.env["XDG_CACHE_HOME"] || join(homedir(), ".cache");
  return join(cache, "flanneld-ts", `kubernetes-${KUBERNETES_VERSION}`);
}

/** @throws {Error} when it has not been built yet */
export function kubernetesProgram(name: KubernetesProgram): string {
  const path = join(kubernetesCache(), "bin", name);
  if (!existsSync(path)) {
    throw new Error(
      `${path} is not there: "npm run test:kubernetes" builds Kubernetes ${KUBERNETES_VERSION}`,
    );
  }
  return path;
}

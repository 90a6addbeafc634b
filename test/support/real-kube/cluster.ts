// A real Kubernetes cluster on one computer: control plane and nodes, each in a machine of its own, for tests.
import { mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { startUnderlay } from "../../../lab/underlay.ts";
import { waitUntil } from "../../../lab/wait.ts";
import { sweepCgroups } from "./cgroups.ts";
import { planNetworks, startControlPlane } from "./control-plane.ts";
import type { ControlPlane, NetworkOptions } from "./control-plane.ts";
import { writeBaseImages } from "./image.ts";
import { startRealNode } from "./node.ts";
import type { RealNode } from "./node.ts";
import { isOrphan, ownerTag } from "./owner.ts";

export interface RealClusterOptions extends NetworkOptions {
  /** Nodes n1..nN. Default 2. */
  readonly nodes?: number;
  /** Run kube-proxy in iptables mode on every node. Default false. */
  readonly kubeProxy?: boolean;
  /** Docker archives that every node gets, later ones too. */
  readonly images?: readonly string[];
  readonly apiServerArgs?: readonly string[];
}

export interface RealCluster {
  readonly controlPlane: ControlPlane;
  /** By name, in the order they were added. */
  readonly nodes: ReadonlyMap<string, RealNode>;
  /** Certificates, logs and disks; removed by `close`. */
  readonly directory: string;
  /** @throws {Error} when there is none of that name */
  node(name: string): RealNode;
  /** Runs kubectl as admin and gives its standard output. @throws {ExecError} */
  kubectl(...args: readonly string[]): Promise<string>;
  /** kubectl apply of a manifest's text. @throws {ExecError} */
  apply(manifest: string): Promise<string>;
  /** An object, or a list when the name is left out, as kubectl get -o json gives it. @throws {ExecError} */
  get<T>(...args: readonly string[]): Promise<T>;
  /** Imports a docker archive on every node there is, and on those that are added. */
  importImage(archive: string): Promise<void>;
  /** Adds the next node and waits until it has registered and has a podCIDR. It is ready when it has a network. */
  addNode(): Promise<RealNode>;
  /** Ends a node's machine and deletes its Node object. */
  removeNode(name: string): Promise<void>;
  /** Names of the nodes that are Ready. */
  readyNodes(): Promise<readonly string[]>;
  /** Ends everything and removes every file, namespace, mount and control group. Idempotent. */
  close(): Promise<void>;
}

interface NodeObject {
  readonly metadata: { readonly name: string };
  readonly spec: { readonly podCIDR?: string; readonly podCIDRs?: readonly string[] };
  readonly status: { readonly conditions?: readonly { readonly type: string; readonly status: string }[] };
}

const DIRECTORY_PREFIX = "flanneld-ts-cluster-";

/** Removes what runs that were killed have left; their machines have ended with them. */
function sweepDirectories(): void {
  for (const name of readdirSync(tmpdir())) {
    const [, owner] = new RegExp(`^${DIRECTORY_PREFIX}(\\w+)-`).exec(name) ?? [];
    if (owner === undefined || !isOrphan(owner)) continue;
    rmSync(join(tmpdir(), name), { recursive: true, force: true });
  }
}

/** Starts it, about 20 s for two nodes, without any pod network: nodes are NotReady until somebody brings one. */
export async function startRealCluster(options: RealClusterOptions = {}): Promise<RealCluster> {
  sweepDirectories();
  sweepCgroups();
  const directory = mkdtempSync(join(tmpdir(), `${DIRECTORY_PREFIX}${ownerTag()}-`));
  const nodes = new Map<string, RealNode>();
  const images = [...(options.images ?? [])];
  const networks = planNetworks(options);
  let nextIndex = 1;
  const underlay = await startUnderlay("flat");
  const close = async (): Promise<void> => {
    await Promise.all([...nodes.values()].map((node) => node.close()));
    nodes.clear();
    await underlay.machine.close();
    rmSync(directory, { recursive: true, force: true });
  };
  try {
    images.unshift(...(await writeBaseImages(join(directory, "images"))));
    const { apiServerArgs = [] } = options;
    const controlPlane = await startControlPlane(underlay, { directory, networks, apiServerArgs });
    const kubectl: ControlPlane["kubectl"] = (args, execOptions) => controlPlane.kubectl(args, execOptions);
    const get: RealCluster["get"] = async <T>(...args: readonly string[]) =>
      JSON.parse((await kubectl(["get", "-o", "json", ...args])).stdout) as T;
    const addNode = async (): Promise<RealNode> => {
      const index = nextIndex++;
      const node = await startRealNode(underlay, controlPlane, { index, directory, networks, images });
      nodes.set(node.name, node);
      await node.kubelet.start();
      await waitUntil(
        `node ${node.name} and its podCIDR`,
        async () => (await get<NodeObject>("node", node.name)).spec.podCIDR,
        { timeoutMs: 60_000, intervalMs: 200 },
      );
      if (options.kubeProxy) await node.kubeProxy.start();
      return node;
    };
    const cluster: RealCluster = {
      controlPlane,
      nodes,
      directory,
      node: (name) => {
        const node = nodes.get(name);
        if (node === undefined)
          throw new Error(`there is no node ${name}; there are ${[...nodes.keys()].join(", ")}`);
        return node;
      },
      kubectl: async (...args) => (await kubectl(args)).stdout,
      apply: async (manifest) => (await kubectl(["apply", "-f", "-"], { input: manifest })).stdout,
      get,
      importImage: async (archive) => {
        images.push(archive);
        await Promise.all([...nodes.values()].map((node) => node.importImage(archive)));
      },
      addNode,
      removeNode: async (name) => {
        await cluster.node(name).close();
        nodes.delete(name);
        await kubectl(["delete", "node", name]);
      },
      readyNodes: async () => {
        const { items } = await get<{ items: readonly NodeObject[] }>("nodes");
        const isReady = ({ status }: NodeObject): boolean =>
          status.conditions?.some(({ type, status: is }) => type === "Ready" && is === "True") ?? false;
        return items.filter(isReady).map(({ metadata }) => metadata.name);
      },
      close,
    };
    await waitUntil("the default service account", () => get("serviceaccount", "default"), {
      timeoutMs: 60_000,
      intervalMs: 200,
    });
    const joining = await Promise.allSettled(Array.from({ length: options.nodes ?? 2 }, () => addNode()));
    // Only now: one that fails must not leave the others behind, half made.
    for (const node of joining) if (node.status === "rejected") throw node.reason as Error;
    return cluster;
  } catch (error) {
    await close();
    throw error;
  }
}

// The store in the Kubernetes API: its client, the subnet manager over Nodes, and Events about our Node.
import { createBackend } from "../backends/registry.ts";
import { createKubeSubnetManager, nodeIdentityFrom } from "../ipam/kube-subnet-manager.ts";
import { createKubeClient } from "../kube/api-client.ts";
import { loadKubeConnection } from "../kube/config.ts";
import { createEventWriter } from "../kube/events.ts";
import type { EventWriter } from "../kube/events.ts";
import type { NodeTap } from "../policy/kube-policy-source.ts";
import type { Notice, Store, StoreModules } from "./connect-store.ts";
import type { Options } from "./options.ts";
import { VERSION } from "./version.ts";

/** @throws {InvalidValueError} when there is no way to the API, or this daemon cannot know its Node */
export async function connectKube(
  options: Options,
  { log, env, signal, tally }: StoreModules,
): Promise<Store> {
  const connection = await loadKubeConnection({
    apiUrl: options.kubeApiUrl,
    kubeconfigFile: options.kubeconfigFile,
    env,
  });
  const identity = nodeIdentityFrom(env);
  const client = createKubeClient(connection, { userAgent: `flanneld-ts/${VERSION} (linux)` });
  log.info({ api: client.description, ...identity }, "leases are kept in the Kubernetes API");
  warnOfIgnoredFlags(options, log);
  let events: EventWriter | undefined;
  const notify = (notice: Notice): void => {
    const { name } = manager.node();
    if (name === undefined) return;
    events ??= createEventWriter({ nodeName: name }, { client, log }, signal);
    events.write(notice);
  };
  // Begins to read with the subnet manager, and so before it is asked for.
  const nodes = options.networkPolicy ? await createNodeTap() : undefined;
  const manager = createKubeSubnetManager(
    {
      client,
      alsoRead: nodes,
      identity,
      annotationPrefix: options.kubeAnnotationPrefix,
      netConfigPath: options.netConfigPath,
      setNodeNetworkUnavailable: options.setNodeNetworkUnavailable,
    },
    { log, tally, report: notify, checkConfig: (config) => void createBackend(config) },
  );
  return {
    kind: "kubernetes",
    manager,
    configPlace: options.netConfigPath,
    prepare: () => Promise.resolve(),
    isPassing: () => false,
    publicIps: (ending) => manager.publicIps(ending),
    markReady: () => manager.markReady(),
    notify,
    openPolicy: async () => {
      const { createKubePolicySource } = await import("../policy/kube-policy-source.ts");
      return { source: createKubePolicySource({ client, nodes }, { log, tally }) };
    },
  };
}

async function createNodeTap(): Promise<NodeTap> {
  const { createNodeTap: create } = await import("../policy/kube-policy-source.ts");
  return create();
}

function warnOfIgnoredFlags({ backend, network, subnetLen }: Options, log: StoreModules["log"]): void {
  for (const [flag, value] of Object.entries({ backend, network, "subnet-len": subnetLen })) {
    if (value !== undefined)
      log.warn(
        {},
        `--${flag} does nothing with --kube-subnet-mgr: the network is configured in --net-config-path`,
      );
  }
}

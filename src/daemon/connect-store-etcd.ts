// The store in etcd: its client, its subnet manager, and the first configuration of a cluster.
import { createBackend } from "../backends/registry.ts";
import { EtcdCallError } from "../etcd/client.ts";
import { createEtcdClient } from "../etcd/etcd3-client.ts";
import { createEtcdSubnetManager } from "../ipam/etcd-subnet-manager.ts";
import type { NetworkConfig } from "../ipam/network-config.ts";
import { parseNetworkConfig } from "../ipam/parse-network-config.ts";
import { BrokenConfigError, networkConfigKey, seedNetworkConfig } from "../ipam/seed-network-config.ts";
import type { Store, StoreModules } from "./connect-store.ts";
import { etcdConnection } from "./connection-options.ts";
import type { Options } from "./options.ts";

export function connectEtcd(options: Options, { log, tally }: StoreModules): Store {
  const client = createEtcdClient(etcdConnection(options), { log });
  const manager = createEtcdSubnetManager(
    { client, prefix: options.etcdPrefix, renewMarginMinutes: options.subnetLeaseRenewMargin },
    { log, tally, parseNetworkConfig: parseUsableConfig },
  );
  return {
    kind: "etcd",
    manager,
    configPlace: "etcd",
    prepare: async () => {
      const { outcome } = await seedNetworkConfig({
        client,
        prefix: options.etcdPrefix,
        wanted: { backend: options.backend, network: options.network, subnetLength: options.subnetLen },
        checkConfig: checkUsable,
      });
      if (outcome === "created") {
        log.info(
          { key: networkConfigKey(options.etcdPrefix) },
          "created the cluster's network configuration",
        );
      }
    },
    isPassing: (error) =>
      error instanceof BrokenConfigError || (error instanceof EtcdCallError && error.retryable),
    publicIps: () => Promise.resolve({}),
    markReady: () => undefined,
    notify: () => undefined,
    openPolicy: async (nodeName) => {
      const [{ createEtcdPolicySource }, { createEtcdPodRegistry }] = await Promise.all([
        import("../policy/etcd-policy-source.ts"),
        import("../policy/etcd-pod-registry.ts"),
      ]);
      const place = { client, prefix: options.etcdPrefix };
      return {
        source: createEtcdPolicySource(place, { log, tally }),
        registry: createEtcdPodRegistry({ ...place, nodeName }, { log, tally }),
      };
    },
  };
}

/** What this daemon cannot use is as wrong as what flannel's rules forbid: either may be corrected while we wait. */
function parseUsableConfig(text: string): NetworkConfig {
  const config = parseNetworkConfig(text);
  checkUsable(config);
  return config;
}

/** @throws {InvalidValueError} */
function checkUsable(config: NetworkConfig): void {
  createBackend(config);
}

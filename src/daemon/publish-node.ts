// What others read once the node is ready: subnet.env, the CNI conflist, the service manager.
import { familiesOf, networkOf, subnetOf } from "../backends/peers.ts";
import type { Backend, LocalNode } from "../backends/backend.ts";
import { subnetKeyOf } from "../ipam/lease.ts";
import type { Lease } from "../ipam/lease.ts";
import type { NetworkConfig } from "../ipam/network-config.ts";
import { renderSubnetFile } from "../ipam/subnet-file-codec.ts";
import type { SubnetFileRange } from "../ipam/subnet-file-codec.ts";
import { writeSubnetFile } from "../ipam/subnet-file.ts";
import type { Family } from "../net/ip.ts";
import type { Logger } from "../net/logger.ts";
import { renderConflist, writeConflist } from "./conflist.ts";
import type { Options } from "./options.ts";

/** Writes the files, the conflist last: a runtime that sees it may start pods at once. @throws system errors */
export function publishNode(
  options: Options,
  { config, backend, self, node }: { config: NetworkConfig; backend: Backend; self: Lease; node: LocalNode },
  log: Logger,
): void {
  const range = (family: Family): SubnetFileRange | undefined => {
    const network = networkOf(config, family);
    const subnet = subnetOf(self, family);
    return familiesOf(config).includes(family) && network && subnet ? { network, subnet } : undefined;
  };
  const mtu = backend.podMtu(node.uplink);
  writeSubnetFile(
    options.subnetFile,
    renderSubnetFile({ ipv4: range(4), ipv6: range(6), mtu, ipMasq: options.ipMasq }),
  );
  log.info({ file: options.subnetFile, subnet: subnetKeyOf(self), mtu }, "wrote subnet file");
  if (options.cniConfFile === undefined) return;
  const { addWait, addFailure } = options.policy;
  const policy = { socket: options.statusSocket, waitSeconds: addWait, onFailure: addFailure };
  const conflist = renderConflist(options.cniConfTemplate, options.networkPolicy ? policy : undefined);
  const outcome = writeConflist(options.cniConfFile, conflist);
  log.info({ file: options.cniConfFile }, `CNI conflist ${outcome}`);
}

// DEL: runs the delegate's DEL with the configuration that ADD remembered, and forgets it when that succeeded.
import { parseCidr } from "../../src/net/cidr.ts";
import { note } from "../blocking.ts";
import { formatCanonicalJson } from "../canonical-json.ts";
import type { NetConf } from "../config.ts";
import { loadSubnetFile } from "../load-subnet.ts";
import { withContainerLock } from "../lock.ts";
import { runDelegateInItsVersion } from "../negotiate.ts";
import { withdraw } from "../network-policy.ts";
import { parseStoredConfig, planDelegateConfig } from "../plan.ts";
import type { StoredConfig } from "../plan.ts";
import type { AttachmentKey, CniRequest } from "../protocol.ts";
import { readState, removeState } from "../state-store.ts";
import type { PluginSubnetFile } from "../../src/ipam/subnet-file-codec.ts";

/**
 * Succeeds when there is nothing (more) to delete. Until the delegate's DEL has succeeded the state stays, so that the
 * runtime's retry does the work. @throws {CniError}
 */
export async function del(request: CniRequest, conf: NetConf): Promise<void> {
  await withContainerLock(conf.dataDir, request.containerId, conf.delegateTimeoutMs, async () => {
    // First: the delegate gives the addresses back, and another pod may have them at once.
    await withdraw(conf, request);
    await deleteAttachment(request, conf, request);
  });
}

/** The work of DEL for one attachment, under its container's lock; GC comes here too. @throws {CniError} */
export async function deleteAttachment(
  request: CniRequest,
  conf: NetConf,
  attachment: AttachmentKey,
): Promise<void> {
  const state = readState(conf.dataDir, attachment);
  if (state === undefined) return;
  const stored = parseStoredConfig(state.text);
  const config = stored ?? (await rebuildConfig(conf, attachment));
  runDelegateInItsVersion(
    {
      verb: "DEL",
      type: config.type,
      // The bytes that ADD stored go to the delegate as they are.
      config: stored === undefined ? formatCanonicalJson(config) : state.text,
      timeoutMs: conf.delegateTimeoutMs,
      ...(attachment !== request && { attachment }),
    },
    request,
  );
  removeState(conf.dataDir, attachment);
}

/** A damaged state file: the configuration of today is most likely that of ADD. */
async function rebuildConfig(conf: NetConf, { containerId, ifName }: AttachmentKey): Promise<StoredConfig> {
  note(
    `the state of container ${containerId}, interface ${ifName} in ${conf.dataDir} is damaged; ` +
      "DEL goes on with the present configuration of the network",
  );
  return planDelegateConfig(conf, await loadSubnetFileOrPlaceholder(conf));
}

/**
 * DEL releases addresses by container, not by range, but host-local refuses a configuration without any range. The
 * documentation's networks (RFC 5737) can be nobody's.
 */
const PLACEHOLDER: PluginSubnetFile = {
  networks: [],
  networks6: [],
  subnet: parseCidr("192.0.2.0/24"),
  mtu: 1450,
  ipMasq: true,
};

async function loadSubnetFileOrPlaceholder(conf: NetConf): Promise<PluginSubnetFile> {
  try {
    return await loadSubnetFile(conf.subnetFile);
  } catch (error) {
    note((error as Error).message);
    return PLACEHOLDER;
  }
}

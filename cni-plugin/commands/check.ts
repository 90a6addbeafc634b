// CHECK: is what ADD made still there? Our state is, and the delegate looks at the rest.
import { formatCanonicalJson } from "../canonical-json.ts";
import type { NetConf } from "../config.ts";
import { withContainerLock } from "../lock.ts";
import { runDelegateInItsVersion } from "../negotiate.ts";
import { parseStoredConfig, planCheckConfig } from "../plan.ts";
import type { StoredConfig } from "../plan.ts";
import { CniError, ERROR_CODES } from "../protocol.ts";
import type { CniRequest } from "../protocol.ts";
import { readState } from "../state-store.ts";

/** @throws {CniError} when something is missing or not as ADD left it */
export async function check(request: CniRequest, conf: NetConf): Promise<void> {
  const { prevResult, dataDir } = conf;
  if (prevResult === undefined) {
    throw new CniError(
      ERROR_CODES.invalidConfig,
      "required prevResult missing",
      "CHECK compares with the result of ADD, which the runtime must give as prevResult",
    );
  }
  await withContainerLock(dataDir, request.containerId, conf.delegateTimeoutMs, () => {
    const stored = readStored(request, dataDir);
    runDelegateInItsVersion(
      {
        verb: "CHECK",
        type: stored.type,
        // The version of the request: prevResult is in it.
        config: formatCanonicalJson(planCheckConfig(stored, conf.cniVersion, prevResult)),
        timeoutMs: conf.delegateTimeoutMs,
      },
      request,
    );
  });
}

function readStored({ containerId, ifName }: CniRequest, dataDir: string): StoredConfig {
  const where = `of container ${containerId}, interface ${ifName} in ${dataDir}`;
  const state = readState(dataDir, { containerId, ifName });
  if (state === undefined) {
    throw new CniError(
      ERROR_CODES.checkFailed,
      `there is no state ${where}`,
      "DEL would not find what to delete; was ADD called with the same dataDir?",
    );
  }
  const stored = parseStoredConfig(state.text);
  if (stored === undefined) throw new CniError(ERROR_CODES.checkFailed, `the state ${where} is damaged`);
  return stored;
}

// STATUS: would ADD succeed now? Looks at everything that ADD needs.
import { accessSync, constants, existsSync, statSync } from "node:fs";
import path from "node:path";
import { formatCanonicalJson } from "../canonical-json.ts";
import type { NetConf } from "../config.ts";
import { findPlugins, runDelegate } from "../delegate.ts";
import { loadSubnetFile } from "../load-subnet.ts";
import { delegateSpeaks } from "../negotiate.ts";
import { checkEnforced } from "../network-policy.ts";
import { planDelegateConfig } from "../plan.ts";
import type { DelegateConfig } from "../plan.ts";
import { CniError, ERROR_CODES } from "../protocol.ts";
import type { CniRequest } from "../protocol.ts";

/** @throws {CniError} 50 with the reason, or what the delegate says of itself */
export async function status(request: CniRequest, conf: NetConf): Promise<void> {
  try {
    const config = planDelegateConfig(conf, await loadSubnetFile(conf.subnetFile));
    checkDataDir(conf.dataDir);
    await checkEnforced(conf);
    // The runtime need not tell CNI_PATH here.
    if (request.pluginPath.length === 0) return;
    findPlugins(config, request);
    delegateStatus(request, conf, config);
  } catch (error) {
    throw asNotAvailable(error);
  }
}

/** ADD makes what is missing of the path. */
function checkDataDir(dataDir: string): void {
  let directory = dataDir;
  while (!existsSync(directory) && path.dirname(directory) !== directory) directory = path.dirname(directory);
  if (!statSync(directory).isDirectory()) {
    throw new CniError(ERROR_CODES.notAvailable, `dataDir ${dataDir}: ${directory} is not a directory`);
  }
  accessSync(directory, constants.W_OK | constants.X_OK);
}

function delegateStatus(request: CniRequest, conf: NetConf, config: DelegateConfig): void {
  const call = { type: config.type, timeoutMs: conf.delegateTimeoutMs };
  if (!delegateSpeaks("1.1.0", call, request)) return;
  runDelegate({ ...call, verb: "STATUS", config: formatCanonicalJson(config) }, request);
}

function asNotAvailable(error: unknown): CniError {
  const { message } = error as Error;
  if (!(error instanceof CniError)) return new CniError(ERROR_CODES.notAvailable, message);
  if (error.code === ERROR_CODES.limitedConnectivity) return error;
  return new CniError(ERROR_CODES.notAvailable, message, error.details);
}

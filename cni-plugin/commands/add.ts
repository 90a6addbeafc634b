// ADD: renders the delegate's configuration, remembers it for DEL, runs the delegate, passes its result on.
import { existsSync } from "node:fs";
import { isJsonObject } from "../../src/net/go-json.ts";
import { note } from "../blocking.ts";
import { formatCanonicalJson } from "../canonical-json.ts";
import type { NetConf } from "../config.ts";
import { findPlugins } from "../delegate.ts";
import { loadSubnetFile } from "../load-subnet.ts";
import { withContainerLock } from "../lock.ts";
import { runDelegateInItsVersion } from "../negotiate.ts";
import { announce, withdraw } from "../network-policy.ts";
import { planDelegateConfig } from "../plan.ts";
import { CniError, ERROR_CODES } from "../protocol.ts";
import type { CniRequest } from "../protocol.ts";
import { makeDataDir, writeState } from "../state-store.ts";
import { deleteAttachment } from "./del.ts";

/** @returns the delegate's result, as it printed it @throws {CniError} */
export async function add(request: CniRequest, conf: NetConf): Promise<string> {
  const config = planDelegateConfig(conf, await loadSubnetFile(conf.subnetFile));
  // Everything that can be known to fail is looked at before a state file says that DEL has something to do.
  findPlugins(config, request);
  if (!existsSync(request.netns)) {
    throw new CniError(
      ERROR_CODES.unknownContainer,
      `CNI_NETNS ${request.netns} does not exist`,
      "the container's network namespace is gone; nothing was done",
    );
  }
  const text = formatCanonicalJson(config);
  if (request.environment["CNI_DEBUG"]) note(`ADD delegates ${text}`);
  makeDataDir(conf.dataDir);
  return withContainerLock(conf.dataDir, request.containerId, conf.delegateTimeoutMs, async () => {
    writeState(conf.dataDir, request, text);
    const output = runDelegateInItsVersion(
      { verb: "ADD", type: config.type, config: text, timeoutMs: conf.delegateTimeoutMs },
      request,
      // DEL, ours or flannel's, must speak the delegate's version, too.
      (olderText) => writeState(conf.dataDir, request, olderText),
    );
    checkResult(output, config.type);
    await announceOrUndo(request, conf, output);
    return output;
  });
}

/** The pod does not start before its policy is in force; if that cannot be had, nothing of it stays. */
async function announceOrUndo(request: CniRequest, conf: NetConf, output: string): Promise<void> {
  try {
    await announce(request, conf, output);
  } catch (error) {
    try {
      await withdraw(conf, request);
      await deleteAttachment(request, conf, request);
    } catch (failure) {
      // The state stays for the DEL that the runtime sends after a failed ADD.
      note(`cannot take back what ADD has made: ${(failure as Error).message}`);
    }
    throw error;
  }
}

/** The state stays: the delegate may have made something, and DEL will come. */
function checkResult(output: string, type: string): void {
  let problem = "is not an object";
  try {
    if (isJsonObject(JSON.parse(output))) return;
  } catch (error) {
    problem = (error as Error).message;
  }
  throw new CniError(
    ERROR_CODES.delegateFailed,
    `failed to delegate add: plugin "${type}" ended well, but its result is not a CNI result: ${problem}`,
    `it printed: ${JSON.stringify(output.slice(0, 200))}`,
  );
}

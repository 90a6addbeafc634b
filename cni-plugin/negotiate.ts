// Calls a delegate in the version it speaks when it is older than the one configured.
import { isJsonObject } from "../src/net/go-json.ts";
import { formatCanonicalJson } from "./canonical-json.ts";
import type { JsonMap } from "./canonical-json.ts";
import { findPlugin, runDelegate } from "./delegate.ts";
import type { DelegateCall } from "./delegate.ts";
import { CniError, ERROR_CODES } from "./protocol.ts";
import type { CniRequest } from "./protocol.ts";

/**
 * 1.1.0 only added optional members to the types of 1.0.0 (specification, appendix of changes), so a plugin of 1.0.0, such
 * as Debian 12's, serves a 1.1.0 network. Older results have other shapes; those we do not convert.
 */
const COMPATIBLE_OLDER: Readonly<Record<string, string>> = { "1.1.0": "1.0.0" };

/**
 * As `runDelegate`, but if the delegate refuses the version, again in the compatible older one. A delegate checks the
 * version before anything else, so the first attempt has changed nothing.
 * @param beforeRetry gets the configuration of the second attempt
 * @returns its output, with the configured version in place of the older one
 * @throws {CniError}
 */
export function runDelegateInItsVersion(
  call: DelegateCall,
  request: CniRequest,
  beforeRetry: (config: string) => void = () => {},
): string {
  try {
    return runDelegate(call, request);
  } catch (error) {
    if (!(error instanceof CniError) || error.code !== ERROR_CODES.incompatibleVersion) throw error;
    const config = JSON.parse(call.config) as JsonMap;
    const version = config["cniVersion"];
    const older = typeof version === "string" ? COMPATIBLE_OLDER[version] : undefined;
    if (typeof version !== "string" || older === undefined) throw error;
    const olderConfig = formatCanonicalJson(withVersion(config, older));
    beforeRetry(olderConfig);
    return restoreVersion(runDelegate({ ...call, config: olderConfig }, request), version);
  }
}

/** The configuration in another version, and with it the earlier result that it may carry. */
function withVersion(config: JsonMap, cniVersion: string): JsonMap {
  const prevResult = config["prevResult"];
  return {
    ...config,
    cniVersion,
    ...(isJsonObject(prevResult) && { prevResult: { ...prevResult, cniVersion } }),
  };
}

function restoreVersion(output: string, cniVersion: string): string {
  if (output.trim() === "") return output;
  try {
    const result: unknown = JSON.parse(output);
    if (isJsonObject(result)) return `${JSON.stringify({ ...result, cniVersion }, undefined, 4)}\n`;
  } catch {
    // The caller looks at what the delegate printed and says what is wrong with it.
  }
  return output;
}

/**
 * True if the delegate says that it speaks the version. One of before 1.1.0 must not get GC or STATUS: it would report an
 * unknown command, or a missing container, as if something were wrong.
 * @throws {CniError} when the plugin is missing
 */
export function delegateSpeaks(
  version: string,
  call: Pick<DelegateCall, "type" | "timeoutMs">,
  request: CniRequest,
): boolean {
  findPlugin(call.type, request);
  try {
    const config = JSON.stringify({ cniVersion: version });
    const answer: unknown = JSON.parse(runDelegate({ ...call, verb: "VERSION", config }, request));
    const versions = isJsonObject(answer) ? answer["supportedVersions"] : undefined;
    return Array.isArray(versions) && versions.includes(version);
  } catch {
    return false; // so old that it does not know VERSION
  }
}

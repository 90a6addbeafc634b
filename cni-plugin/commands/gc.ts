// GC: deletes the attachments of this network that the runtime does not list, then lets the delegate do the same.
import { isJsonObject, lookupOption } from "../../src/net/go-json.ts";
import type { NetConf } from "../config.ts";
import { note } from "../blocking.ts";
import { runDelegate } from "../delegate.ts";
import { formatCanonicalJson } from "../canonical-json.ts";
import { loadSubnetFile } from "../load-subnet.ts";
import { withContainerLock } from "../lock.ts";
import { delegateSpeaks } from "../negotiate.ts";
import { collect, withdraw } from "../network-policy.ts";
import { delegateTypeOf, planDelegateConfig } from "../plan.ts";
import { CniError, ERROR_CODES } from "../protocol.ts";
import type { AttachmentKey, CniRequest } from "../protocol.ts";
import { listStates } from "../state-store.ts";
import type { StoredState } from "../state-store.ts";
import { deleteAttachment } from "./del.ts";

/** flannel's plugin does not record the interface; this is what container runtimes call it. */
const USUAL_IF_NAME = "eth0";

/**
 * Goes on after a failure and reports them all at the end. Without a list nothing is removed: the specification demands
 * one, and to take its absence for an empty one would delete every pod. @throws {CniError}
 */
export async function gc(request: CniRequest, conf: NetConf): Promise<void> {
  const valid = conf.validAttachments;
  if (valid === undefined) {
    note("GC without cni.dev/valid-attachments removes nothing");
    return;
  }
  const failures: Error[] = [];
  const attempt = async (work: () => Promise<void>) => {
    try {
      await work();
    } catch (error) {
      failures.push(error as Error);
    }
  };
  for (const stale of listStaleAttachments(conf, valid)) {
    await attempt(() =>
      withContainerLock(conf.dataDir, stale.containerId, conf.delegateTimeoutMs, async () => {
        await withdraw(conf, stale);
        await deleteAttachment(request, conf, stale);
      }),
    );
  }
  await attempt(() => delegateGc(request, conf, valid));
  await collect(conf, valid);
  if (failures.length > 0) throw summarize(failures);
}

function listStaleAttachments(conf: NetConf, valid: readonly AttachmentKey[]): readonly AttachmentKey[] {
  const validKeys = new Set(valid.map(({ containerId, ifName }) => `${containerId}@${ifName}`));
  const validContainers = new Set(valid.map(({ containerId }) => containerId));
  return listStates(conf.dataDir)
    .filter((state) => networkOf(state) === conf.name)
    .filter(({ containerId, ifName }) =>
      ifName === undefined ? !validContainers.has(containerId) : !validKeys.has(`${containerId}@${ifName}`),
    )
    .map(({ containerId, ifName }) => ({ containerId, ifName: ifName ?? USUAL_IF_NAME }));
}

/** Undefined for a damaged state, which may be another network's and so is not ours to delete. */
function networkOf({ text }: StoredState): unknown {
  try {
    const value: unknown = JSON.parse(text);
    return isJsonObject(value) ? lookupOption(value, "name") : undefined;
  } catch {
    return undefined;
  }
}

async function delegateGc(
  request: CniRequest,
  conf: NetConf,
  valid: readonly AttachmentKey[],
): Promise<void> {
  const call = { type: delegateTypeOf(conf), timeoutMs: conf.delegateTimeoutMs };
  if (!delegateSpeaks("1.1.0", call, request)) return;
  const config = planDelegateConfig(conf, await loadSubnetFile(conf.subnetFile));
  const attachments = valid.map(({ containerId, ifName }) => ({
    containerID: containerId,
    ifname: ifName,
  }));
  const text = formatCanonicalJson({ ...config, "cni.dev/valid-attachments": attachments });
  runDelegate({ ...call, verb: "GC", config: text }, request);
}

function summarize(failures: readonly Error[]): CniError {
  const [first] = failures;
  return new CniError(
    first instanceof CniError ? first.code : ERROR_CODES.ioFailure,
    `garbage collection was not complete: ${failures.map(({ message }) => message).join("; ")}`,
    failures.map((failure) => (failure instanceof CniError ? failure.details : "")).find(Boolean) ?? "",
  );
}

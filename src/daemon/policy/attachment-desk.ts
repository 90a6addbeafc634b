// Where CNI ADD, DEL and GC are served: a pod's interface is announced and waited for, closed, or collected.
import type { Logger } from "../../net/logger.ts";
import type { PodRegistry } from "../../policy/pod-registry.ts";
import type { PolicySource } from "../../policy/source.ts";
import { attachmentId, incarnationOf, localPodsOf } from "./attachment.ts";
import type { AnnouncedAttachment, AttachmentKey, StoredAttachment } from "./attachment.ts";
import type { PolicyAgent } from "./policy-agent.ts";
import type { PodWiring } from "./pod-wiring.ts";
import type { PolicyMetrics } from "./policy-metrics.ts";

/** CNI ADD tells the reason to the runtime. */
export type AttachOutcome =
  | { readonly kind: "in-force" }
  /** `refused`: waiting will not help. */
  | { readonly kind: "refused" | "waiting"; readonly reason: string };

export interface AttachmentDesk {
  /**
   * Makes a new pod's interface known and waits until its rules are in force, or until the signal; then it stays known, and
   * asking again goes on waiting.
   */
  attach(announced: AnnouncedAttachment, signal: AbortSignal): Promise<AttachOutcome>;
  /** Closes the addresses of an interface and waits until that is so: they may be another pod's in a moment. */
  detach(key: AttachmentKey, signal: AbortSignal): Promise<void>;
  /** Ends every attachment of the network (absent: of all) that is not listed. @returns how many */
  collect(valid: readonly AttachmentKey[], network: string | undefined): number;
  /**
   * Ends attachments whose wire in the host has gone: their pods are gone, too, though DEL could not say so.
   * @param seenAtMs when the interfaces were read; what was attached since is not judged
   */
  endUnwired(interfaces: ReadonlySet<string>, seenAtMs: number): void;
}

export interface AttachmentDeskModules {
  readonly agent: Pick<
    PolicyAgent,
    "book" | "isInForce" | "nextPass" | "notReadyReason" | "bridgeProblem" | "revisionInForce"
  >;
  readonly source: Pick<PolicySource, "health">;
  readonly registry?: PodRegistry;
  readonly wiring?: Pick<PodWiring, "whyUnwatched">;
  readonly metrics: Pick<PolicyMetrics, "attachment">;
  readonly log: Logger;
  /** Milliseconds since 1970. */
  readonly now: () => number;
}

export function createAttachmentDesk(modules: AttachmentDeskModules): AttachmentDesk {
  const { agent, registry, wiring, metrics, log, now } = modules;
  const { book } = agent;
  const find = (key: AttachmentKey): StoredAttachment | undefined =>
    book.attachments.find((each) => attachmentId(each) === attachmentId(key));

  /** Tells the cluster what is left of the attachment's pod, if we are the ones to tell. */
  function registerAgain({ namespace, name, uid, containerId }: StoredAttachment): void {
    if (registry === undefined) return;
    const ofPod = book.attachments.filter((each) => each.namespace === namespace && each.name === name);
    const [pod] = localPodsOf(ofPod);
    if (pod !== undefined) registry.registerPod(pod);
    else registry.unregisterPod({ namespace, name, uid: incarnationOf({ uid, containerId }) });
  }

  async function attach(attachment: StoredAttachment, signal: AbortSignal): Promise<AttachOutcome> {
    try {
      book.attach(attachment);
    } catch (error) {
      log.error({ err: error }, "an attachment cannot be written to disk");
      return { kind: "waiting", reason: `it cannot be written to disk: ${(error as Error).message}` };
    }
    registerAgain(attachment);
    const { hostIfName } = attachment;
    const unwatched = hostIfName === undefined ? undefined : wiring?.whyUnwatched(hostIfName);
    // Rules would be in force soon, but no packet of this pod meets them.
    if (unwatched !== undefined) return { kind: "refused", reason: unwatched };
    while (!agent.isInForce(attachment) && find(attachment) !== undefined && !signal.aborted)
      await agent.nextPass(signal);
    const reason = agent.bridgeProblem ?? whyWaiting(attachment, modules);
    return reason === undefined ? { kind: "in-force" } : { kind: "waiting", reason };
  }

  return {
    async attach(announced, signal) {
      const attachedAtMs = now();
      const pod = nameOf(announced, registry !== undefined);
      const outcome: AttachOutcome =
        pod === undefined
          ? { kind: "refused", reason: NAMELESS }
          : await attach({ ...announced, ...pod, attachedAtMs, detached: false }, signal);
      const result = { "in-force": "in-force", waiting: "too-late", refused: "refused" } as const;
      metrics.attachment((now() - attachedAtMs) / 1000, result[outcome.kind]);
      return outcome;
    },
    async detach(key, signal) {
      const attachment = find(key);
      if (attachment === undefined || !book.detach(key)) return;
      registerAgain(attachment);
      const { revision } = book;
      while ((agent.revisionInForce ?? revision) < revision && !signal.aborted) await agent.nextPass(signal);
    },
    collect(valid, network) {
      const listed = new Set(valid.map(attachmentId));
      const stale = book.attachments.filter(
        (each) => !listed.has(attachmentId(each)) && (each.network ?? network) === (network ?? each.network),
      );
      for (const attachment of stale) {
        book.detach(attachment);
        registerAgain(attachment);
      }
      return stale.length;
    },
    endUnwired(interfaces, seenAtMs) {
      for (const attachment of book.attachments) {
        const { hostIfName, attachedAtMs, namespace, name } = attachment;
        if (hostIfName === undefined || interfaces.has(hostIfName) || attachedAtMs >= seenAtMs) continue;
        log.info({ pod: `${namespace}/${name}`, hostIfName }, "a pod's interface has gone without a DEL");
        book.detach(attachment);
        registerAgain(attachment);
      }
    },
  };
}

const NAMELESS =
  "the container runtime does not say which pod this is (CNI_ARGS has no K8S_POD_NAMESPACE and K8S_POD_NAME), so nobody can " +
  "say which policies it is under";

/** A runtime without pods, in a cluster that learns of pods from us: each of its containers is one. */
function nameOf(
  { namespace, name, containerId }: AnnouncedAttachment,
  describesItself: boolean,
): Pick<StoredAttachment, "namespace" | "name"> | undefined {
  if (namespace !== undefined && name !== undefined) return { namespace, name };
  if (!describesItself) return undefined;
  return { namespace: "default", name: containerId.toLowerCase().replaceAll(/[^a-z0-9.-]+/g, "-") };
}

function whyWaiting(
  attachment: StoredAttachment,
  { agent, source }: Pick<AttachmentDeskModules, "agent" | "source">,
): string | undefined {
  if (agent.isInForce(attachment)) return undefined;
  const reason = agent.notReadyReason();
  if (reason !== undefined) return reason;
  if (agent.book.admittedAt(attachment) !== undefined)
    return "network policy: the pod's rules are being written";
  const { namespace, name, uid } = attachment;
  const which = `${namespace}/${name}${uid === "" ? "" : ` (uid ${uid})`}`;
  const { problem } = source.health();
  const why = problem === undefined ? "" : `: ${problem}`;
  return `network policy: the API has not shown pod ${which} on this node yet${why}`;
}

// Namespaces, pods, nodes and NetworkPolicies from etcd, for clusters without Kubernetes: one watch of `<prefix>/policy/`.
import type { EtcdClient } from "../etcd/client.ts";
import { mirrorPrefix } from "../etcd/mirror.ts";
import type { MirrorOptions } from "../etcd/mirror.ts";
import { SILENT_LOGGER } from "../net/logger.ts";
import type { Logger } from "../net/logger.ts";
import type { SourceTally } from "../net/source-tally.ts";
import { policyKeyPrefix } from "./etcd-keys.ts";
import { EtcdPolicyState } from "./etcd-policy-state.ts";
import { ObjectFeed } from "./object-feed.ts";
import type { PolicyEvent, PolicySource } from "./source.ts";

export interface EtcdPolicySourceOptions {
  /** Not closed by the source. */
  readonly client: Pick<EtcdClient, "list" | "watch" | "markAt">;
  /** Key prefix, e.g. `/coreos.com/network`. */
  readonly prefix: string;
  /** How long everything is kept when etcd has lost its data, while daemons put their pods back. See `MirrorOptions`. */
  readonly rewoundGraceMs?: number;
}

export interface EtcdPolicySourceModules {
  readonly log?: Logger;
  readonly tally?: SourceTally;
  /** See `MirrorOptions`. */
  readonly after?: MirrorOptions["after"];
  /** Uniform in [0, 1). */
  readonly random?: () => number;
}

/** More are counted, not named. */
const MAX_NAMED = 5;

export function createEtcdPolicySource(
  { client, prefix: givenPrefix, rewoundGraceMs }: EtcdPolicySourceOptions,
  { log = SILENT_LOGGER, tally, after, random = Math.random }: EtcdPolicySourceModules = {},
): PolicySource {
  const prefix = givenPrefix.replace(/\/+$/, "");
  let connected = false;
  let problem: string | undefined;
  let feed: ObjectFeed | undefined;
  let state: EtcdPolicyState | undefined;

  const onProblem = (text: string): void => {
    if (problem !== text) log.warn({}, text);
    connected = false;
    problem = text;
  };
  const onConnected = (): void => {
    if (problem !== undefined) log.info({ was: problem }, "etcd: the watch of policies works again");
    connected = true;
    problem = undefined;
  };
  return {
    watch: async (onEvent, signal) => {
      // An event that arrives after the abort is nobody's.
      const live = (event: PolicyEvent): void => void (signal.aborted || onEvent(event));
      const currentFeed = new ObjectFeed({ onEvent: live, log });
      const current = new EtcdPolicyState(prefix, currentFeed);
      [feed, state] = [currentFeed, current];
      await mirrorPrefix(
        {
          client,
          prefix: policyKeyPrefix(prefix),
          what: "policies",
          tally,
          after,
          keeping: "all pods and policies for a while, until daemons have registered their pods again",
          rewoundGraceMs,
          random,
        },
        {
          onSnapshot: (kvs, snapshot) => {
            current.replace(kvs, snapshot);
            const lost = describeLost(current.lostPolicies);
            if (lost !== undefined) log.warn({}, lost);
          },
          onEvent: (event) => {
            if (event.type === "put") current.put(event.kv.key, event.kv.value);
            else current.remove(event.key);
          },
          onConnected,
          onProblem,
          onCompacted: (reason) => log.info({ reason }, "reading all policies anew"),
        },
        signal,
      );
    },
    health: () => {
      const told = problem ?? (state && describeLost(state.lostPolicies));
      return { connected, ...(told !== undefined && { problem: told }), skipped: feed?.skipped() ?? [] };
    },
  };
}

function describeLost(keys: ReadonlySet<string>): string | undefined {
  if (keys.size === 0) return undefined;
  const more = keys.size > MAX_NAMED ? ` and ${keys.size - MAX_NAMED} more` : "";
  return (
    `etcd has lost policies, which this node keeps in force until they are applied again (flanneld-ts policy apply) ` +
    `or the daemon is restarted: ${[...keys].slice(0, MAX_NAMED).join(", ")}${more}`
  );
}

// Namespaces, pods, nodes and NetworkPolicies from the Kubernetes API, each cut down to what policy needs while it is read.
import type { KubeClient } from "../kube/api-client.ts";
import { runReflector } from "../kube/reflector.ts";
import type { ReflectorHandlers, ReflectorHealth, ReflectorTiming } from "../kube/reflector.ts";
import { ReflectorTap } from "../kube/reflector-tap.ts";
import { SILENT_LOGGER } from "../net/logger.ts";
import type { Logger } from "../net/logger.ts";
import type { SourceTally } from "../net/source-tally.ts";
import { ObjectFeed } from "./object-feed.ts";
import { POLICY_KINDS } from "./source.ts";
import type { PolicyEvent, PolicyKind, PolicySource, PolicySourceHealth } from "./source.ts";
import { readEntry, versionOf } from "./source-objects.ts";
import type { FeedEntry } from "./source-objects.ts";

interface Resource {
  /** Plural, as RBAC rules name it. */
  readonly resource: string;
  readonly group: string;
  readonly path: string;
}

/** What is mirrored, of the whole cluster: pods of other nodes are peers. */
const RESOURCES: Readonly<Record<PolicyKind, Resource>> = {
  namespaces: {
    resource: "namespaces",
    group: "",
    path: "/api/v1/namespaces",
  },
  nodes: {
    resource: "nodes",
    group: "",
    path: "/api/v1/nodes",
  },
  pods: {
    resource: "pods",
    group: "",
    path: "/api/v1/pods",
  },
  policies: {
    resource: "networkpolicies",
    group: "networking.k8s.io",
    path: "/apis/networking.k8s.io/v1/networkpolicies",
  },
};

export interface KubePolicySourceOptions {
  /** Not closed by the source. */
  readonly client: KubeClient;
  readonly timing?: Partial<ReflectorTiming>;
  /** Where somebody else lists and watches all Nodes: what `createNodeTap` has made, given to him. */
  readonly nodes?: NodeTap | undefined;
}

export type NodeTap = ReflectorTap<FeedEntry<"nodes">>;

/** For who mirrors Nodes anyway: thousands of large objects that report to the API all the time are read once. */
export function createNodeTap(): NodeTap {
  return new ReflectorTap({ prune: (object) => readEntry("nodes", object), keyOf: ({ key }) => key });
}

export interface KubePolicySourceModules {
  readonly log?: Logger;
  readonly tally?: SourceTally | undefined;
  /** Uniform in [0, 1). */
  readonly random?: () => number;
}

export function createKubePolicySource(
  options: KubePolicySourceOptions,
  modules: KubePolicySourceModules = {},
): PolicySource {
  const health = new Map<PolicyKind, ReflectorHealth>();
  let feed: ObjectFeed | undefined;
  return {
    watch: async (onEvent, signal) => {
      const live = (event: PolicyEvent): void => void (signal.aborted || onEvent(event));
      const current = new ObjectFeed({
        onEvent: live,
        log: modules.log ?? SILENT_LOGGER,
        sharesEarly: true,
      });
      feed = current;
      await Promise.all(
        POLICY_KINDS.map((kind) => reflect(kind, { options, modules, feed: current, health }, signal)),
      );
    },
    health: () => summarize(health, feed),
  };
}

interface Reflection {
  readonly options: KubePolicySourceOptions;
  readonly modules: KubePolicySourceModules;
  readonly feed: ObjectFeed;
  readonly health: Map<PolicyKind, ReflectorHealth>;
}

async function reflect(kind: PolicyKind, reflection: Reflection, signal: AbortSignal): Promise<void> {
  const { options, modules, feed } = reflection;
  const { log = SILENT_LOGGER, tally, random } = modules;
  const handlers = handlersOf(kind, reflection);
  if (kind === "nodes" && options.nodes !== undefined) {
    await options.nodes.follow(handlers, signal);
    return;
  }
  const { resource, path } = RESOURCES[kind];
  const prune = (object: unknown): FeedEntry<PolicyKind> => feed.share(kind, pruneObject(kind, object));
  await runReflector(
    { resource, path, prune, ...(options.timing && { timing: options.timing }) },
    handlers,
    { client: options.client, log, tally, ...(random && { random }) },
    signal,
  );
}

function handlersOf(
  kind: PolicyKind,
  { modules, feed, health }: Reflection,
): ReflectorHandlers<FeedEntry<PolicyKind>> {
  const { log = SILENT_LOGGER } = modules;
  const { resource } = RESOURCES[kind];
  return {
    onSnapshot: (entries) => feed.snapshot(kind, entries),
    onPut: (entry) => feed.put(kind, entry),
    onDelete: (entry) => {
      feed.remove(kind, entry.key);
      if (kind === "namespaces") removePoliciesOf(feed, entry);
    },
    onHealth: (report) => {
      const problem =
        report.problem === undefined ? undefined : `${report.problem}${cureOf(kind, report.problem)}`;
      if (problem !== undefined) log.warn({ resource }, problem);
      else if (health.get(kind)?.problem !== undefined)
        log.info({ resource }, `Kubernetes: ${resource}: works again`);
      health.set(kind, { connected: report.connected, ...(problem !== undefined && { problem }) });
    },
  };
}

function pruneObject(kind: PolicyKind, object: unknown): FeedEntry<PolicyKind> {
  const entry = readEntry(kind, object);
  // Thousands of pods need no version.
  const version = kind === "policies" || kind === "namespaces" ? versionOf(object) : undefined;
  return version === undefined ? entry : { ...entry, version };
}

/**
 * What a namespace held is gone before the namespace is; its watch is only faster. A policy with a later version is one of
 * a namespace that has been made anew, told of by the other watch before.
 */
function removePoliciesOf(feed: ObjectFeed, { key: namespace, version: end }: FeedEntry<PolicyKind>): void {
  const gone = [...feed.keys("policies")].filter(
    (key) => key.startsWith(`${namespace}/`) && isEarlier(feed.versionOf(key), end),
  );
  for (const key of gone) feed.remove("policies", key);
}

/** Versions are opaque by contract, but numbers of one sequence in every server there is; what is no number is not compared. */
function isEarlier(version: string | undefined, than: string | undefined): boolean {
  if (version === undefined || than === undefined || !/^\d+$/.test(version) || !/^\d+$/.test(than))
    return false;
  return BigInt(version) < BigInt(than);
}

function cureOf(kind: PolicyKind, problem: string): string {
  const { resource, group } = RESOURCES[kind];
  if (problem.includes("HTTP 403"))
    return `. The rule that is missing in our ClusterRole: {apiGroups: ["${group}"], resources: [${resource}], verbs: [list, watch]}`;
  if (problem.includes("HTTP 404"))
    return `. Network policy needs an API server that serves ${RESOURCES[kind].path}`;
  return "";
}

function summarize(
  health: ReadonlyMap<PolicyKind, ReflectorHealth>,
  feed: ObjectFeed | undefined,
): PolicySourceHealth {
  const problems = [...new Set([...health.values()].flatMap(({ problem }) => problem ?? []))];
  return {
    connected: POLICY_KINDS.every((kind) => health.get(kind)?.connected === true),
    ...(problems.length > 0 && { problem: problems.join("; ") }),
    skipped: feed?.skipped() ?? [],
  };
}

// The members of all sets of peers and ports: labels -> selectors -> sets. One address that moves touches only its sets.
import type { IpsetRow } from "../../host/ipset-state.ts";
import { familyOf } from "../../net/ip.ts";
import type { Ip } from "../../net/ip.ts";
import { portMember } from "../resolve.ts";
import { sameData } from "../same-data.ts";
import type { PortName, SetSpec } from "../sets.ts";
import type { Labels, NamedPort, Pod } from "../snapshot.ts";
import type { OwnerChange } from "./claims.ts";
import { createLiveSet } from "./live-set.ts";
import type { LiveSet } from "./live-set.ts";
import { createPeerIndex } from "./peer-index.ts";
import type { PeerIndex, PeerScope } from "./peer-index.ts";

/** What is known of the cluster now. */
export interface World {
  /** The node whose sets these are. */
  readonly nodeName: string;
  /** Names of the namespaces that have pods. */
  readonly namespaces: () => Iterable<string>;
  /** Absent for a namespace that is not known, though pods may be in it. */
  readonly labelsOf: (namespace: string) => Labels | undefined;
  readonly podsIn: (namespace: string) => Iterable<Pod>;
  /** The addresses that are the pod's own. */
  readonly owned: (pod: Pod) => readonly Ip[];
}

export interface Members {
  /** These sets and no others are wanted from now on. New ones are filled. */
  readonly choose: (specs: ReadonlyMap<string, SetSpec>) => void;
  /** An address has another owner, or one that has changed. */
  readonly move: (change: OwnerChange) => void;
  /** The world has new labels of the namespace; these were the old. */
  readonly relabel: (namespace: string, before: Labels | undefined) => void;
  /** The row of a chosen set. */
  readonly rowOf: (name: string) => IpsetRow;
}

export function createMembers(world: World): Members {
  const sets = new Map<string, LiveSet>();
  const index = createIndex<LiveSet>(world);
  const scopesOf = (namespace: string) => index.scopesOf(namespace, world.labelsOf(namespace));
  const put = (ip: Ip, pod: Pod, isWanted: boolean): void => {
    index.visit(pod, [ip], scopesOf(pod.namespace), (set, member) => set.want(member, isWanted));
  };
  return {
    choose: (specs) => {
      for (const set of sets.values()) {
        if (specs.has(set.name)) continue;
        sets.delete(set.name);
        index.remove(set.spec, set);
      }
      const missing: (readonly [string, SetSpec])[] = [];
      specs.forEach((spec, name) => {
        if (!sets.has(name)) missing.push([name, spec]);
      });
      for (const set of fillSets(missing, world)) {
        sets.set(set.name, set);
        index.add(set.spec, set);
      }
    },
    move: ({ ip, before, after }) => {
      if (before && after && looksAlike(before, after)) return;
      if (before) put(ip, before, false);
      if (after) put(ip, after, true);
    },
    relabel: (namespace, labelsBefore) => {
      const before = index.scopesOf(namespace, labelsBefore);
      index.forget(namespace);
      const after = scopesOf(namespace);
      const left = before.filter((scope) => !after.includes(scope));
      if (left.length === 0 && after.length === before.length) return;
      for (const pod of world.podsIn(namespace)) {
        const ips = world.owned(pod);
        index.visit(pod, ips, left, (set, member) => set.want(member, false));
        index.visit(pod, ips, after, (set, member) => set.want(member, true));
      }
    },
    rowOf: (name) => {
      const set = sets.get(name);
      if (set === undefined) throw new Error(`no set ${name} was chosen`);
      return set.row();
    },
  };
}

/** True if every set that has an address of the one has it of the other. */
function looksAlike(a: Pod, b: Pod): boolean {
  return (
    a.namespace === b.namespace &&
    a.nodeName === b.nodeName &&
    sameData(a.labels, b.labels) &&
    sameData(a.ports, b.ports)
  );
}

interface Filling {
  readonly name: string;
  readonly spec: SetSpec;
  readonly members: string[];
}

/** One walk over the pods fills any number of sets. */
function fillSets(specs: readonly (readonly [string, SetSpec])[], world: World): readonly LiveSet[] {
  if (specs.length === 0) return [];
  const fillings = specs.map(([name, spec]): Filling => ({ name, spec, members: [] }));
  const index = createIndex<Filling>(world);
  for (const filling of fillings) index.add(filling.spec, filling);
  for (const namespace of world.namespaces()) {
    const scopes = index.scopesOf(namespace, world.labelsOf(namespace));
    if (scopes.length === 0 && !index.hasPorts()) continue;
    for (const pod of world.podsIn(namespace))
      index.visit(pod, world.owned(pod), scopes, ({ members }, member) => void members.push(member));
  }
  return fillings.map(({ name, spec, members }) => createLiveSet(name, spec, members));
}

/** From a pod to the sets that hold its addresses. */
interface Index<T> extends Pick<PeerIndex<T>, "scopesOf" | "forget"> {
  readonly add: (spec: SetSpec, item: T) => void;
  readonly remove: (spec: SetSpec, item: T) => void;
  readonly hasPorts: () => boolean;
  /** Visits each member that addresses of the pod give, once or more often. */
  readonly visit: (
    pod: Pod,
    ips: readonly Ip[],
    scopes: readonly PeerScope<T>[],
    note: (item: T, member: string) => void,
  ) => void;
}

function createIndex<T extends { readonly spec: SetSpec }>(world: World): Index<T> {
  const peers = createPeerIndex<T>();
  const byPort = new Map<string, Set<T>>();
  const visitPort = (
    pod: Pod,
    ips: readonly Ip[],
    port: NamedPort,
    note: (item: T, member: string) => void,
  ): void => {
    for (const item of byPort.get(portText(port)) ?? []) {
      const { spec } = item;
      if (spec.kind !== "named-ports" || (spec.scope === "local" && pod.nodeName !== world.nodeName))
        continue;
      for (const ip of ips) if (familyOf(ip) === spec.family) note(item, portMember(ip, port));
    }
  };
  return {
    add: (spec, item) => {
      for (const peer of podsPeers(spec)) peers.add(peer, item);
      for (const port of portNames(spec)) {
        const text = portText(port);
        byPort.set(text, (byPort.get(text) ?? new Set()).add(item));
      }
    },
    remove: (spec, item) => {
      for (const peer of podsPeers(spec)) peers.remove(peer, item);
      for (const port of portNames(spec)) {
        const text = portText(port);
        byPort.get(text)?.delete(item);
        if (byPort.get(text)?.size === 0) byPort.delete(text);
      }
    },
    scopesOf: peers.scopesOf,
    forget: peers.forget,
    hasPorts: () => byPort.size > 0,
    visit: (pod, ips, scopes, note) => {
      if (ips.length === 0) return;
      for (const { pods } of scopes) {
        pods.match(pod.labels, (items) => {
          for (const item of items)
            for (const ip of ips) if (familyOf(ip) === item.spec.family) note(item, ip);
        });
      }
      if (byPort.size > 0) for (const port of pod.ports) visitPort(pod, ips, port, note);
    },
  };
}

function podsPeers(spec: SetSpec) {
  return spec.kind === "peers" ? spec.peers.filter((peer) => peer.kind === "pods") : [];
}

function portNames(spec: SetSpec): readonly PortName[] {
  return spec.kind === "named-ports" ? spec.names : [];
}

function portText({ protocol, name }: PortName): string {
  return `${protocol}/${name}`;
}

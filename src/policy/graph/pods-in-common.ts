// What pods have in common (labels of a deployment, ports of its containers) is kept once, however many objects came with it.
import type { Pod } from "../snapshot.ts";
import { sameData } from "../same-data.ts";

export interface PodKeeper {
  /** The pod as it is kept: equal, with parts that others may hold too. `known` is what it takes the place of. */
  readonly keep: (pod: Pod, known: Pod | undefined) => Pod;
  /** The pod is no longer kept. */
  readonly release: (pod: Pod) => void;
}

export function createPodKeeper(): PodKeeper {
  const labels = createPool<Pod["labels"]>();
  const ports = createPool<Pod["ports"]>();
  return {
    keep: (pod, known) => ({
      ...pod,
      labels: labels.take(pod.labels),
      ports: ports.take(pod.ports),
      // Also tells whoever compares by object that the addresses are as they were.
      ips: known && sameData(known.ips, pod.ips) ? known.ips : pod.ips,
    }),
    release: (pod) => {
      labels.release(pod.labels);
      ports.release(pod.ports);
    },
  };
}

interface Pool<T> {
  /** The one object that says what `value` says. */
  readonly take: (value: T) => T;
  readonly release: (value: T) => void;
}

interface Shared<T> {
  readonly value: T;
  users: number;
}

function createPool<T extends object>(): Pool<T> {
  const shared = new Map<number, Shared<T>[]>();
  return {
    take: (value) => {
      const hash = hashOf(value, 0);
      const candidates = shared.get(hash) ?? [];
      const known = candidates.find((candidate) => sameData(candidate.value, value));
      if (known !== undefined) {
        known.users += 1;
        return known.value;
      }
      candidates.push({ value, users: 1 });
      shared.set(hash, candidates);
      return value;
    },
    release: (value) => {
      const hash = hashOf(value, 0);
      const candidates = shared.get(hash) ?? [];
      const known = candidates.find((candidate) => candidate.value === value);
      if (known === undefined) return;
      known.users -= 1;
      if (known.users > 0) return;
      if (candidates.length === 1) shared.delete(hash);
      else shared.set(hash, candidates.filter((candidate) => candidate !== known)); // prettier-ignore
    },
  };
}

/** Equal for equal data, whatever the order of its fields. */
function hashOf(value: unknown, depth: number): number {
  if (typeof value === "string") return hashText(value);
  if (typeof value !== "object" || value === null) return Number(value) | 0;
  let sum = depth;
  for (const key of Object.keys(value)) {
    sum = (sum + Math.imul(hashText(key) ^ hashOf(value[key as never], depth + 1), 0x9e3779b1)) | 0;
  }
  return sum;
}

/** FNV-1a over UTF-16 units. */
function hashText(text: string): number {
  let hash = 0x811c9dc5;
  for (let at = 0; at < text.length; at += 1) hash = Math.imul(hash ^ text.charCodeAt(at), 0x01000193);
  return hash;
}

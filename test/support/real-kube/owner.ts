// Names of what a cluster makes outside of its machines carry who made it, so that only what the dead have left is removed.
import { existsSync, readdirSync, readlinkSync } from "node:fs";

/** PID namespace of a computer's first process (linux/proc_ns.h, PROC_PID_INIT_INO): all processes are seen from there. */
const INITIAL_NAMESPACE = "4026531836";

/** PID namespace and process id of this process: a run in a lab machine counts from 1. */
export function ownerTag(): string {
  return `${ownNamespace()}p${process.pid}`;
}

/** Whether the maker has ended, as far as it can be seen from here; in doubt not. @param tag of `ownerTag` */
export function isOrphan(tag: string): boolean {
  const [, namespace, pid] = /^(\d+)p(\d+)$/.exec(tag) ?? [];
  if (namespace === undefined) return false;
  const own = ownNamespace();
  if (namespace === own) return !existsSync(`/proc/${pid}`);
  return own === INITIAL_NAMESPACE && !liveNamespaces().has(namespace);
}

function ownNamespace(): string {
  return namespaceOf("self") ?? "";
}

function liveNamespaces(): ReadonlySet<string> {
  const pids = readdirSync("/proc").filter((name) => /^\d+$/.test(name));
  return new Set(pids.flatMap((pid) => namespaceOf(pid) ?? []));
}

/** undefined when the process has ended meanwhile. */
function namespaceOf(pid: string): string | undefined {
  try {
    return /\d+/.exec(readlinkSync(`/proc/${pid}/ns/pid`))?.[0];
  } catch {
    return undefined;
  }
}

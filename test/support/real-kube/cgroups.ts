// Control groups (version 1) of the nodes of a real cluster: one root per node, or a kubelet removes its neighbor's pods as orphans.
import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmdirSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { isOrphan, ownerTag } from "./owner.ts";

const ROOT = "/sys/fs/cgroup";
const PREFIX = "flanneld-ts-kube";

/** The name carries who we are, so that what a killed run left is known as such. */
export function nodeCgroup(nodeName: string): string {
  return `${PREFIX}-${ownerTag()}-${nodeName}`;
}

/** Makes the group in every hierarchy. @throws {Error} where control groups are version 2 alone */
export function makeCgroup(name: string): void {
  const controllers = listHierarchies();
  if (!controllers.includes("memory") || !controllers.includes("cpu")) {
    throw new Error(
      `${ROOT} has no cgroup version 1 hierarchies for memory and cpu; the nodes of the test cluster need them (boot with systemd.unified_cgroup_hierarchy=0)`,
    );
  }
  for (const controller of controllers) {
    const group = join(ROOT, controller, name);
    mkdirSync(group, { recursive: true });
    // An empty cpuset takes no process.
    if (controller !== "cpuset") continue;
    for (const file of ["cpuset.cpus", "cpuset.mems"]) {
      writeFileSync(join(group, file), readFileSync(join(ROOT, controller, file)));
    }
  }
}

/** Removes the group and those below it; the kernel refuses while a process is in one. */
export function removeCgroup(name: string): void {
  for (const controller of listHierarchies()) removeTree(join(ROOT, controller, name));
}

/** Removes what runs that were killed have left. */
export function sweepCgroups(): void {
  const names = listHierarchies().flatMap((controller) =>
    readdirSync(join(ROOT, controller)).filter((name) => name.startsWith(`${PREFIX}-`)),
  );
  for (const name of new Set(names)) {
    const [, owner = ""] = /-(\w+)-[^-]+$/.exec(name) ?? [];
    if (isOrphan(owner)) removeCgroup(name);
  }
}

/** runc makes groups in the unified hierarchy too, which limits nothing here. */
function listHierarchies(): string[] {
  if (!existsSync(ROOT)) return [];
  return readdirSync(ROOT, { withFileTypes: true })
    .filter((entry) => entry.isDirectory() && existsSync(join(ROOT, entry.name, "cgroup.procs")))
    .map(({ name }) => name);
}

function removeTree(group: string): void {
  if (!existsSync(group)) return;
  for (const name of readdirSync(group)) {
    const child = join(group, name);
    if (statSync(child).isDirectory()) removeTree(child);
  }
  try {
    rmdirSync(group);
  } catch {
    // A process is still in it; the next sweep tries again.
  }
}

// Removes the cgroups that a test has made.
import { readdirSync, rmdirSync } from "node:fs";
import path from "node:path";

/** From the leaves up, and only directories: a cgroup's files go with it. @throws {Error} while a process is in it */
export function removeCgroup(directory: string): void {
  for (const entry of readdirSync(directory, { withFileTypes: true })) {
    if (entry.isDirectory()) removeCgroup(path.join(directory, entry.name));
  }
  rmdirSync(directory);
}

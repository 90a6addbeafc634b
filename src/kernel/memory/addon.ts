// The resident pages of this process's executable (native/memory): how many there are, and giving them back.
import { readFileSync } from "node:fs";
import { loadOptionalAddon } from "../native-addon.ts";

export interface MemoryAddon {
  /**
   * Unmaps the pages of the executable's code and constants; those that are used again come back by minor faults. About a
   * millisecond. Returns the bytes that were unmapped.
   * @throws {Error} the kernel's answer: no /proc/self/pagemap, for one
   */
  release(): number;
}

/** Loads memory.node; undefined where it cannot be had. */
export function loadMemoryAddon(file?: string): MemoryAddon | undefined {
  return loadOptionalAddon("memory", file) as MemoryAddon | undefined;
}

/** Bytes of this process's pages that a file stands behind (proc_pid_status(5), RssFile: since Linux 4.5). */
export function readResidentFileBytes(): number {
  return parseResidentFileBytes(readFileSync("/proc/self/status", "utf8"));
}

/** 0 where the kernel does not say. */
export function parseResidentFileBytes(status: string): number {
  return Number(/^RssFile:\s+(\d+) kB$/m.exec(status)?.[1] ?? 0) * 1024;
}

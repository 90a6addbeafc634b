// Kernel parameters below /proc/sys, written as files: that is one system call, no process.
import { readFile, writeFile } from "node:fs/promises";
import type { KernelTable, RowFailure } from "../host/kernel-table.ts";
import type { Sysctl } from "../host/state.ts";

/** Seam to /proc/sys. What lies below net/ is that of the network namespace of the process that opens the file. */
export interface SysctlFiles {
  /** @throws an error with code ENOENT if there is no such key */
  read(key: string): Promise<string>;
  write(key: string, value: string): Promise<void>;
}

export const PROC_SYS_FILES: SysctlFiles = {
  read: (key) => readFile(`/proc/sys/${key}`, "utf8"),
  write: (key, value) => writeFile(`/proc/sys/${key}`, `${value}\n`, { flag: "w" }),
};

/** An optional row that is not in force, and the error code that says why. */
interface Unwritable {
  readonly row: Sysctl;
  readonly code: unknown;
}

/**
 * Keys cannot be recognised as ours in the kernel, so a row is ours once it was put and until it is removed; a removed one
 * keeps its value, since nobody knows what it was before.
 */
export function createSysctlsTable(files: SysctlFiles = PROC_SYS_FILES): KernelTable<Sysctl> {
  const ours = new Set<string>();
  /** Optional rows that cannot be written here, by key: listed as if they were, until the key is there. */
  const unwritable = new Map<string, Unwritable>();

  async function put(row: Sysctl): Promise<readonly RowFailure[]> {
    const { key, value } = row;
    // Keys are built from device names; none may lead out of /proc/sys.
    if (key.split("/").some((part) => part === "" || part === "." || part === "..")) {
      return [{ key, reason: "is no path below /proc/sys, such as net/ipv4/ip_forward" }];
    }
    try {
      if (normalise(await files.read(key)) !== normalise(value)) await files.write(key, value);
      ours.add(key);
      unwritable.delete(key);
      return [];
    } catch (error) {
      if (row.optional && (isReadOnly(error) || codeOf(error) === "ENOENT")) {
        unwritable.set(key, { row, code: codeOf(error) });
        return [];
      }
      return [{ key, reason: explain(error) }];
    }
  }

  async function read(key: string): Promise<readonly Sysctl[]> {
    try {
      return [{ key, value: normalise(await files.read(key)) }];
    } catch (error) {
      // The device that the key belongs to has gone.
      if (codeOf(error) === "ENOENT") return [];
      throw error;
    }
  }

  /** A read-only value counts as the wanted one; a key that has come with its device counts for what it is. */
  async function readUnwritable({ row, code }: Unwritable): Promise<readonly Sysctl[]> {
    const [actual] = code === "ENOENT" ? await read(row.key) : [];
    return [actual ?? row];
  }

  return {
    name: "sysctls",
    key: (row) => row.key,
    equal: (actual, desired) => normalise(actual.value) === normalise(desired.value),
    list: async () => {
      const written = [...ours].filter((key) => !unwritable.has(key));
      return (
        await Promise.all([...[...unwritable.values()].map(readUnwritable), ...written.map(read)])
      ).flat();
    },
    put: async (rows) => (await Promise.all(rows.map(put))).flat(),
    // oxlint-disable-next-line typescript/require-await
    async remove(rows) {
      for (const { key } of rows) {
        ours.delete(key);
        unwritable.delete(key);
      }
      return [];
    },
  };
}

/** Keys with several numbers are separated by tabs when read and by blanks when written. */
function normalise(value: string): string {
  return value.trim().replaceAll(/\s+/g, " ");
}

function codeOf(error: unknown): unknown {
  return error instanceof Error && "code" in error ? error.code : undefined;
}

function isReadOnly(error: unknown): boolean {
  const code = codeOf(error);
  return code === "EROFS" || code === "EACCES";
}

function explain(error: unknown): string {
  const code = codeOf(error);
  if (code === "ENOENT") return "the kernel has no such key: the device is missing, or IPv6 is turned off";
  if (isReadOnly(error))
    return "/proc/sys is read-only here: run with CAP_NET_ADMIN and a writable /proc/sys";
  return error instanceof Error ? error.message : String(error);
}

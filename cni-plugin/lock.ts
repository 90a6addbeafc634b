// One process at a time per container: a lock that is a symbolic link naming its holder.
import { existsSync, mkdirSync, readFileSync, readlinkSync, rmSync, symlinkSync } from "node:fs";
import path from "node:path";
import { sleepMs } from "./blocking.ts";
import { CniError, ERROR_CODES } from "./protocol.ts";

const LOCKS = ".locks";
const POLL_INTERVAL_MS = 10;

/**
 * Runs `work` while holding the container's lock. A symbolic link, because it is made with its content in one step and
 * takes no block of a full disk. The holder is told by process and start time, so a lock that a killed process left is
 * taken over at once. Without a dataDir there is nothing to guard, and none is made.
 * @throws {CniError} 11 when another process holds it for longer than `timeoutMs`
 */
export async function withContainerLock<T>(
  dataDir: string,
  containerId: string,
  timeoutMs: number,
  work: () => T | Promise<T>,
): Promise<T> {
  const lock = path.join(dataDir, LOCKS, containerId);
  const held = existsSync(dataDir) && takeLock(lock, timeoutMs);
  try {
    return await work();
  } finally {
    if (held) rmSync(lock, { force: true });
  }
}

/** False where no lock can be made (full or read-only disk): DEL must work there, and ADD fails at its state file. */
function takeLock(lock: string, timeoutMs: number): boolean {
  const self = identityOf(process.pid) ?? String(process.pid);
  const deadline = Date.now() + timeoutMs;
  for (;;) {
    const outcome = tryLock(lock, self);
    if (outcome !== "taken") return outcome === "locked";
    const holder = readHolder(lock);
    if (holder !== undefined && holder !== identityOf(Number.parseInt(holder, 10))) {
      // The runtime must not work on one container twice at once, so nobody else takes it over in this moment.
      rmSync(lock, { force: true });
      continue;
    }
    if (Date.now() > deadline) {
      throw new CniError(
        ERROR_CODES.tryAgainLater,
        `another call for this container still runs after ${timeoutMs / 1000} s`,
        `process ${holder ?? "unknown"} holds ${lock}`,
      );
    }
    sleepMs(POLL_INTERVAL_MS);
  }
}

function tryLock(lock: string, self: string): "locked" | "taken" | "impossible" {
  for (const attempt of [1, 2]) {
    try {
      symlinkSync(self, lock);
      return "locked";
    } catch (error) {
      const { code } = error as NodeJS.ErrnoException;
      if (code === "EEXIST") return "taken";
      if (code !== "ENOENT" || attempt === 2) return "impossible";
      try {
        mkdirSync(path.dirname(lock), { recursive: true, mode: 0o700 });
      } catch {
        return "impossible";
      }
    }
  }
  return "impossible";
}

function readHolder(lock: string): string | undefined {
  try {
    return readlinkSync(lock);
  } catch {
    return undefined; // released meanwhile
  }
}

/** Process ID and start time in clock ticks since boot (proc(5), stat field 22); undefined if there is no such process. */
function identityOf(pid: number): string | undefined {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, "utf8");
    // Field 2, the program's name in parentheses, may contain blanks.
    const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
    return `${pid}:${fields[19]}`;
  } catch {
    return undefined;
  }
}

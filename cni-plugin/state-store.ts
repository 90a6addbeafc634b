// What ADD remembers for DEL, on disk in dataDir, in flannel's format and beside it.
//
//   <dataDir>/<containerID>                        flannel's state file: the rendered delegate configuration
//   <dataDir>/.attachments/<containerID>@<ifname>  the same for one interface; ours, and what we go by
//   <dataDir>/.locks/<containerID>                 a symbolic link to the process that works on the container
//
// flannel's plugin knows one state file per container, so a second interface overwrites the first one's and leaks it. We
// write one record per interface, and make flannel's file a hard link to the record of the container's first interface.
// So flannel's plugin finds, reads and deletes what we made; whose file it is, is told by the inode; and a file that
// has no second link was written by flannel's plugin and serves any interface, as it does there. A container ID has
// no `@` and does not begin with a dot, so no name means two things. flannel's DEL leaves our record behind: harmless,
// since container IDs do not come back, and GC removes it.
import {
  closeSync,
  fsyncSync,
  linkSync,
  lstatSync,
  mkdirSync,
  openSync,
  readFileSync,
  readdirSync,
  renameSync,
  rmSync,
  writeSync,
} from "node:fs";
import type { Stats } from "node:fs";
import path from "node:path";
import type { AttachmentKey } from "./protocol.ts";

const ATTACHMENTS = ".attachments";

/** A state as found on disk. */
export interface StoredState {
  readonly containerId: string;
  /** Undefined when flannel's plugin wrote it, which does not record the interface. */
  readonly ifName: string | undefined;
  /** Rendered delegate configuration, unless the file is damaged. */
  readonly text: string;
}

function recordPath(dataDir: string, { containerId, ifName }: AttachmentKey): string {
  return path.join(dataDir, ATTACHMENTS, `${containerId}@${ifName}`);
}

function temporaryPath(dataDir: string, containerId: string): string {
  return path.join(dataDir, ATTACHMENTS, `${containerId}@`);
}

function plainPath(dataDir: string, containerId: string): string {
  return path.join(dataDir, containerId);
}

function statOrUndefined(file: string): Stats | undefined {
  return lstatSync(file, { throwIfNoEntry: false });
}

/** Makes the directory that `writeState` writes to. @throws the system error */
export function makeDataDir(dataDir: string): void {
  mkdirSync(path.join(dataDir, ATTACHMENTS), { recursive: true, mode: 0o700 });
}

/**
 * Writes the state, durably, before the delegate runs: after a power cut, DEL must find what ADD began.
 * @throws the system error; nothing half-written stays
 */
export function writeState(dataDir: string, key: AttachmentKey, text: string): void {
  const record = recordPath(dataDir, key);
  const plain = plainPath(dataDir, key.containerId);
  // No interface name is empty, so this is nobody's record; the lock makes it ours alone.
  const temporary = temporaryPath(dataDir, key.containerId);
  const replaced = statOrUndefined(record);
  try {
    writeDurably(temporary, text);
    renameSync(temporary, record);
    const owner = statOrUndefined(plain);
    // ADD repeated for the same interface: the link must follow the new record.
    if (owner !== undefined && owner.ino === replaced?.ino) rmSync(plain);
    if (owner === undefined || owner.ino === replaced?.ino) linkOrCopy(record, plain, text);
  } catch (error) {
    rmSync(temporary, { force: true });
    if (replaced === undefined) rmSync(record, { force: true });
    throw error;
  }
}

function writeDurably(file: string, text: string): void {
  rmSync(file, { force: true });
  const fd = openSync(file, "wx", 0o600);
  try {
    const bytes = Buffer.from(text);
    for (let written = 0; written < bytes.length;) written += writeSync(fd, bytes, written);
    fsyncSync(fd);
  } finally {
    closeSync(fd);
  }
}

/** File systems without hard links get a copy, which then counts as flannel's own: no worse than flannel. */
function linkOrCopy(from: string, to: string, text: string): void {
  try {
    linkSync(from, to);
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code !== "EPERM" && code !== "EOPNOTSUPP" && code !== "ENOTSUP" && code !== "EMLINK") throw error;
    writeDurably(to, text);
  }
}

/** The state of one attachment; undefined when there is none. @throws the system error */
export function readState(dataDir: string, key: AttachmentKey): StoredState | undefined {
  const text = readOrUndefined(recordPath(dataDir, key));
  if (text !== undefined) return { ...key, text };
  const plain = plainPath(dataDir, key.containerId);
  // A second link is another interface's record: then the file is not for us.
  if (statOrUndefined(plain)?.nlink !== 1) return undefined;
  const foreign = readOrUndefined(plain);
  return foreign === undefined
    ? undefined
    : { containerId: key.containerId, ifName: undefined, text: foreign };
}

function readOrUndefined(file: string): string | undefined {
  try {
    return readFileSync(file, "utf8");
  } catch (error) {
    if (isMissing(error)) return undefined;
    throw error;
  }
}

function isMissing(error: unknown): boolean {
  const { code } = error as NodeJS.ErrnoException;
  return code === "ENOENT" || code === "ENOTDIR";
}

/** Removes what `readState` finds, and what a killed `writeState` left. Removing what is absent is success. @throws the system error */
export function removeState(dataDir: string, key: AttachmentKey): void {
  const record = recordPath(dataDir, key);
  const plain = plainPath(dataDir, key.containerId);
  const recordStat = statOrUndefined(record);
  const plainStat = statOrUndefined(plain);
  // flannel's file first: should we be killed between the two, the record alone is complete.
  if (
    plainStat !== undefined &&
    (recordStat === undefined ? plainStat.nlink === 1 : plainStat.ino === recordStat.ino)
  )
    rmSync(plain, { force: true });
  rmSync(record, { force: true });
  rmSync(temporaryPath(dataDir, key.containerId), { force: true });
}

/** All states there are. @throws the system error */
export function listStates(dataDir: string): readonly StoredState[] {
  const records = list(path.join(dataDir, ATTACHMENTS))
    .map((name) => ({ name, at: name.indexOf("@") }))
    .filter(({ name, at }) => at > 0 && at < name.length - 1)
    .map(({ name, at }) => ({ containerId: name.slice(0, at), ifName: name.slice(at + 1) }));
  const foreign = list(dataDir).filter((name) => {
    const stat = name.startsWith(".") ? undefined : statOrUndefined(plainPath(dataDir, name));
    return stat !== undefined && stat.isFile() && stat.nlink === 1;
  });
  return [
    ...records.map(({ containerId, ifName }) => ({
      containerId,
      ifName,
      text: readOrUndefined(recordPath(dataDir, { containerId, ifName })) ?? "",
    })),
    ...foreign.map((containerId) => ({
      containerId,
      ifName: undefined,
      text: readOrUndefined(plainPath(dataDir, containerId)) ?? "",
    })),
  ];
}

function list(directory: string): readonly string[] {
  try {
    return readdirSync(directory);
  } catch (error) {
    if (isMissing(error)) return [];
    throw error;
  }
}

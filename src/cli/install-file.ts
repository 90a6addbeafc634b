// Puts a file in place atomically, also over an executable that runs.
import {
  closeSync,
  copyFileSync,
  constants,
  fchmodSync,
  fsyncSync,
  mkdirSync,
  openSync,
  readSync,
  renameSync,
  rmSync,
  statSync,
} from "node:fs";
import { randomBytes } from "node:crypto";
import path from "node:path";

/** A file that could not be put in place; the message says why and what to do. */
export class InstallError extends Error {
  override readonly name = "InstallError";
}

/**
 * Copies `from` to `to` through a temporary file beside it: fsync, then rename(2), which also replaces a running
 * executable (writing to one fails with ETXTBSY). An equal file of equal mode is left alone.
 * @param mode permission bits, whatever the umask
 * @throws {InstallError}
 */
export function installFile(from: string, to: string, mode: number): "installed" | "unchanged" {
  const source = statSync(from, { throwIfNoEntry: false });
  if (source === undefined) throw new InstallError(`${from} does not exist`);
  if (!source.isFile()) throw new InstallError(`${from} is not a file`);
  try {
    if (isInstalled(from, to, mode)) return "unchanged";
    const directory = path.dirname(to);
    mkdirSync(directory, { recursive: true, mode: 0o755 });
    // A name that runtimes do not take for a plugin or a configuration.
    const temporary = path.join(directory, `.${path.basename(to)}.${randomBytes(6).toString("hex")}.tmp`);
    try {
      copyFileSync(from, temporary, constants.COPYFILE_EXCL | constants.COPYFILE_FICLONE);
      syncFile(temporary, mode);
      renameSync(temporary, to);
    } catch (error) {
      rmSync(temporary, { force: true });
      throw error;
    }
    syncFile(directory);
    return "installed";
  } catch (error) {
    throw new InstallError(`cannot install ${to}: ${describe(error as NodeJS.ErrnoException)}`, {
      cause: error,
    });
  }
}

function syncFile(file: string, mode?: number): void {
  const fd = openSync(file, "r");
  try {
    if (mode !== undefined) fchmodSync(fd, mode);
    fsyncSync(fd);
  } finally {
    closeSync(fd);
  }
}

function isInstalled(from: string, to: string, mode: number): boolean {
  const source = statSync(from);
  const target = statSync(to, { throwIfNoEntry: false });
  if (target === undefined) return false;
  if (target.isDirectory()) throw new Error("it is a directory; remove it or choose another place");
  return (
    target.isFile() && target.size === source.size && (target.mode & 0o7777) === mode && sameContent(from, to)
  );
}

const CHUNK_BYTES = 1024 * 1024;

/** Compares files of equal size piece by piece: the executable has a hundred megabytes. */
function sameContent(a: string, b: string): boolean {
  const fds = [openSync(a, "r")];
  try {
    fds.push(openSync(b, "r"));
    const [one, two] = [Buffer.alloc(CHUNK_BYTES), Buffer.alloc(CHUNK_BYTES)];
    const [fdA = 0, fdB = 0] = fds;
    for (let at = 0; ;) {
      const length = readSync(fdA, one, 0, CHUNK_BYTES, at);
      if (readSync(fdB, two, 0, CHUNK_BYTES, at) !== length) return false;
      if (length === 0) return true;
      if (!one.subarray(0, length).equals(two.subarray(0, length))) return false;
      at += length;
    }
  } finally {
    for (const fd of fds) closeSync(fd);
  }
}

function describe(error: NodeJS.ErrnoException): string {
  switch (error.code ?? "") {
    case "EACCES":
    case "EPERM":
      return "permission denied; run as root";
    case "EROFS":
      return "the file system is read-only; choose a directory that can be written";
    case "ENOSPC":
      return "no space left on the device; free some and try again";
    case "ENOTDIR":
    case "EEXIST":
      return `a part of the path is not a directory (${error.message})`;
    default:
      return error.message;
  }
}

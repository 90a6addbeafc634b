// Atomic file replacement: readers see the old content or the new, never a part, also after a power cut.
import {
  closeSync,
  fchmodSync,
  fsyncSync,
  mkdirSync,
  openSync,
  renameSync,
  rmSync,
  writeSync,
} from "node:fs";
import { randomBytes } from "node:crypto";
import path from "node:path";

/**
 * Writes `file` through a temporary file beside it: fsync, rename (rename(2) is atomic), fsync of the directory.
 * @param mode permission bits, whatever the umask
 * @throws the system error of the step that failed; nothing is left behind
 */
export function writeFileAtomically(file: string, content: string | Uint8Array, mode: number): void {
  const directory = path.dirname(file);
  mkdirSync(directory, { recursive: true, mode: 0o755 });
  const temporary = path.join(directory, `.${path.basename(file)}.${randomBytes(6).toString("hex")}.tmp`);
  try {
    const fd = openSync(temporary, "wx", mode);
    try {
      const bytes = typeof content === "string" ? Buffer.from(content) : content;
      for (let written = 0; written < bytes.length;) written += writeSync(fd, bytes, written);
      fchmodSync(fd, mode);
      fsyncSync(fd);
    } finally {
      closeSync(fd);
    }
    renameSync(temporary, file);
  } catch (error) {
    rmSync(temporary, { force: true });
    throw error;
  }
  const directoryFd = openSync(directory, "r");
  try {
    fsyncSync(directoryFd);
  } finally {
    closeSync(directoryFd);
  }
}

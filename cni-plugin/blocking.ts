// Waiting and writing without the event loop: this program does one thing at a time and then exits.
import { writeSync } from "node:fs";

/** Blocks for so many milliseconds. */
export function sleepMs(duration: number): void {
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, duration);
}

/** Writes all of the text before it returns, so that no exit cuts it off. When nobody reads, there is nobody to tell. */
export function writeAll(fd: 1 | 2, text: string): void {
  const bytes = Buffer.from(text);
  for (let written = 0; written < bytes.length;) {
    try {
      written += writeSync(fd, bytes, written);
    } catch (error) {
      // Somebody made the pipe non-blocking, and it is full.
      if ((error as NodeJS.ErrnoException).code !== "EAGAIN") return;
      sleepMs(1);
    }
  }
}

/** A note for the log of whoever started us: one line on standard error. */
export function note(text: string): void {
  writeAll(2, `flannel: ${text}\n`);
}

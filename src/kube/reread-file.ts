// A file that somebody rotates: its content now, read again from time to time.
import { readFileSync } from "node:fs";

/** As often as client-go does it; a kubelet rotates a token at 80% of its life, an hour or more. */
const REREAD_INTERVAL_MS = 60_000;

export class RereadFile {
  readonly #path: string;
  readonly #now: () => number;
  #content: string | undefined;
  #readAt = 0;

  constructor(path: string, now: () => number = Date.now) {
    this.#path = path;
    this.#now = now;
  }

  /** The last content stays when the file is gone for a moment. @throws system errors as long as it was never read */
  read(fresh = false): string {
    if (this.#content !== undefined && !fresh && this.#now() - this.#readAt < REREAD_INTERVAL_MS)
      return this.#content;
    try {
      this.#content = readFileSync(this.#path, "utf8");
      this.#readAt = this.#now();
    } catch (error) {
      if (this.#content === undefined) throw error;
    }
    return this.#content;
  }
}

// Collects the lines of a watch stream, for tests.
import type { KubeObject } from "./objects.ts";
import type { StatusBody } from "./api-error.ts";

export interface WatchLine {
  readonly type: "ADDED" | "MODIFIED" | "DELETED" | "BOOKMARK" | "ERROR";
  readonly object: KubeObject & Partial<Omit<StatusBody, "metadata" | "kind" | "apiVersion">>;
}

export interface WatchLines {
  readonly lines: readonly WatchLine[];
  /** What came after the last whole line. */
  readonly rest: string;
  /** Resolves at an end in good order, rejects when the connection broke. */
  readonly ended: Promise<void>;
}

export function watchLines(stream: AsyncIterable<Uint8Array>): WatchLines {
  const lines: WatchLine[] = [];
  let rest = "";
  const read = async (): Promise<void> => {
    const decoder = new TextDecoder();
    for await (const chunk of stream) {
      const parts = (rest + decoder.decode(chunk, { stream: true })).split("\n");
      rest = parts.pop() ?? "";
      lines.push(...parts.map((part) => JSON.parse(part) as WatchLine));
    }
  };
  const ended = read();
  // Whoever is interested awaits it; a broken stream that nobody awaits is no failure.
  ended.catch(() => undefined);
  return {
    lines,
    get rest() {
      return rest;
    },
    ended,
  };
}

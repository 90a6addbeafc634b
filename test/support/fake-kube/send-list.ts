// Sends a list: in pieces, compressed where the real server compresses, slowly or cut where a fault says so.
import { once } from "node:events";
import type { ServerResponse } from "node:http";
import type { Writable } from "node:stream";
import { createGzip } from "node:zlib";
import { renderList } from "./list.ts";
import type { Page } from "./list.ts";
import type { ResourceType } from "./resources.ts";

export interface SendListOptions {
  readonly acceptsGzip: boolean;
  /** Break the connection in the middle of an item in the middle. */
  readonly isCut: boolean;
  /** Before each piece of 100 items. */
  readonly delayMs: number;
}

const ITEMS_PER_CHUNK = 100;
/** Shorter answers are sent as they are (apiserver `defaultGzipThresholdBytes`). */
const GZIP_THRESHOLD_BYTES = 128 * 1024;
/** As the real server's: `defaultGzipContentEncodingLevel`. */
const GZIP_LEVEL = 4;

export async function sendList(
  response: ServerResponse,
  type: ResourceType,
  page: Page,
  { acceptsGzip, isCut, delayMs }: SendListOptions,
): Promise<void> {
  const pieces = [...renderList(type, page)];
  const chars = pieces.reduce((sum, piece) => sum + piece.length, 0);
  const gzip = acceptsGzip && chars > GZIP_THRESHOLD_BYTES ? createGzip({ level: GZIP_LEVEL }) : undefined;
  const encoding = gzip === undefined ? {} : { "Content-Encoding": "gzip", Vary: "Accept-Encoding" };
  response.writeHead(200, { "Content-Type": "application/json", ...encoding });
  gzip?.pipe(response);
  const sink: Writable = gzip ?? response;
  const end = isCut ? Math.floor(pieces.length / 2) : pieces.length;
  for (let at = 0; at < end; at += ITEMS_PER_CHUNK) {
    if (delayMs > 0) await new Promise((resolve) => setTimeout(resolve, delayMs));
    if (response.destroyed) return;
    const chunk = pieces.slice(at, Math.min(at + ITEMS_PER_CHUNK, end)).join("");
    if (!sink.write(chunk)) await drained(sink, response);
  }
  if (!isCut) {
    sink.end();
    return;
  }
  const half = pieces[end]?.slice(0, (pieces[end]?.length ?? 0) / 2) ?? "";
  sink.write(half, () => {
    if (gzip === undefined) response.destroy();
    else gzip.flush(() => setImmediate(() => response.destroy()));
  });
}

/** Waits until the sink takes more, or nobody reads any longer. */
async function drained(sink: Writable, response: ServerResponse): Promise<void> {
  const either = new AbortController();
  const { signal } = either;
  const waits = [once(sink, "drain", { signal }), once(response, "close", { signal })];
  try {
    await Promise.race(waits);
  } finally {
    either.abort();
    await Promise.allSettled(waits);
  }
}

// Splits a stream of bytes into lines, one JSON document each, as the API's watch sends them.

const NEWLINE = 0x0a;
/** See list-scanner: an event is an object and a few bytes around it. */
const MAX_LINE_BYTES = 16 * 1024 * 1024;

/**
 * Yields complete lines, without the newline; what is left without one when the stream ends was cut and is dropped.
 * @throws what the stream fails with, or an Error for a line that is too long
 */
export async function* splitLines(
  stream: AsyncIterable<Buffer>,
  onBytes: () => void = () => undefined,
): AsyncGenerator<string> {
  let parts: Buffer[] = [];
  let length = 0;
  for await (const chunk of stream) {
    onBytes();
    let from = 0;
    for (;;) {
      const newline = chunk.indexOf(NEWLINE, from);
      if (newline < 0) break;
      parts.push(chunk.subarray(from, newline));
      from = newline + 1;
      // Bytes are joined before they are decoded: a character may be cut in two.
      const line = Buffer.concat(parts).toString("utf8");
      parts = [];
      length = 0;
      if (line !== "") yield line;
    }
    const rest = chunk.subarray(from);
    length += rest.length;
    if (length > MAX_LINE_BYTES) throw new Error(`an event has more than ${MAX_LINE_BYTES} bytes`);
    if (rest.length > 0) parts.push(rest);
  }
}

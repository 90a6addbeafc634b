// Notices a stream that has gone silent: the peer is gone without a word, or hangs.

/** Passes the stream on; calls `onIdle` once when no piece came for `idleMs`. The stream must then end or throw. */
export async function* withIdleLimit<T>(
  stream: AsyncIterable<T>,
  idleMs: number,
  onIdle: () => void,
): AsyncGenerator<T> {
  const timer = setTimeout(onIdle, idleMs);
  try {
    for await (const piece of stream) {
      timer.refresh();
      yield piece;
    }
  } finally {
    clearTimeout(timer);
  }
}

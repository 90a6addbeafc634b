// Lets go of a call that a silent etcd still has not answered.

/**
 * Ends at an abort even while a call to a silent etcd is still waiting for its deadline, so that a daemon stops at once.
 * @throws what `onAbort` throws, or `work`
 */
export async function endingAtAbort<T>(work: Promise<T>, signal: AbortSignal, onAbort: () => T): Promise<T> {
  let listener: (() => void) | undefined;
  const aborted = new Promise<"aborted">((resolve) => {
    listener = () => resolve("aborted");
    signal.addEventListener("abort", listener);
    if (signal.aborted) listener();
  });
  try {
    const winner = await Promise.race([work.then((value) => ({ value })), aborted]);
    return winner === "aborted" ? onAbort() : winner.value;
  } finally {
    if (listener !== undefined) signal.removeEventListener("abort", listener);
    // What is left of it fails when the client is closed, and nobody listens any more.
    work.catch(() => undefined);
  }
}

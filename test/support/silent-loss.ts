// Stores that lose events without a word, and timers that run when a test says so.
import type { EtcdClient, WatchEvent } from "../../src/etcd/client.ts";
import type { MirrorOptions } from "../../src/etcd/mirror.ts";

export interface ManualTimers {
  readonly after: NonNullable<MirrorOptions["after"]>;
  /** Milliseconds of those that wait. */
  readonly pendingMs: () => readonly number[];
  /** Runs all that wait. */
  readonly fire: () => void;
}

export function manualTimers(): ManualTimers {
  const timers = new Map<() => void, number>();
  return {
    after: (ms, callback) => {
      timers.set(callback, ms);
      return () => void timers.delete(callback);
    },
    pendingMs: () => [...timers.values()],
    fire: () => {
      for (const callback of timers.keys()) {
        timers.delete(callback);
        callback();
      }
    },
  };
}

/** The same store, but nobody hears of events that `isLost` picks. */
export function forgetful(store: EtcdClient, isLost: (event: WatchEvent) => boolean): EtcdClient {
  return {
    ...store,
    async *watch(...args) {
      for await (const events of store.watch(...args)) yield events.filter((event) => !isLost(event));
    },
  };
}

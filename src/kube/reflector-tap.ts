// One list and one watch for two readers: what is read for the first is kept for the second until he comes, then told to him.
import type { ReflectorHandlers, ReflectorHealth } from "./reflector.ts";

/** What a reflector needs of who reads its objects. */
export interface ReflectorReader<T> extends ReflectorHandlers<T> {
  /** As `ReflectorOptions.prune`. */
  prune(object: unknown): T;
}

/** Both get everything, `first` before `second`. An object that one of them refuses is skipped for both. */
export function readTogether<A, B>(
  first: ReflectorReader<A>,
  second: ReflectorReader<B>,
): ReflectorReader<readonly [A, B]> {
  return {
    prune: (object) => [first.prune(object), second.prune(object)],
    onSnapshot(items) {
      first.onSnapshot(items.map(([item]) => item));
      second.onSnapshot(items.map(([, item]) => item));
    },
    onPut([a, b]) {
      first.onPut(a);
      second.onPut(b);
    },
    onDelete([a, b]) {
      first.onDelete(a);
      second.onDelete(b);
    },
    onHealth(health) {
      first.onHealth?.(health);
      second.onHealth?.(health);
    },
  };
}

export interface ReflectorTapOptions<T> {
  readonly prune: (object: unknown) => T;
  readonly keyOf: (item: T) => string;
}

/** The second reader's end of it. */
export class ReflectorTap<T> implements ReflectorReader<T> {
  readonly #options: ReflectorTapOptions<T>;
  /** Until somebody follows; undefined before the first snapshot. */
  #kept: Map<string, T> | undefined;
  #health: ReflectorHealth | undefined;
  #follower: ReflectorHandlers<T> | undefined;
  #isTaken = false;

  constructor(options: ReflectorTapOptions<T>) {
    this.#options = options;
  }

  /**
   * Until the abort: the snapshot as soon as there is one, then every change. Once only: what was told is not kept.
   * @throws {Error} when called again
   */
  async follow(handlers: ReflectorHandlers<T>, signal: AbortSignal): Promise<void> {
    if (this.#isTaken) throw new Error("a tap has one follower");
    this.#isTaken = true;
    this.#follower = handlers;
    if (this.#kept !== undefined) handlers.onSnapshot([...this.#kept.values()]);
    this.#kept = undefined;
    if (this.#health !== undefined) handlers.onHealth?.(this.#health);
    if (!signal.aborted) {
      await new Promise((resolve) => signal.addEventListener("abort", resolve, { once: true }));
    }
    this.#follower = undefined;
  }

  prune(object: unknown): T {
    return this.#options.prune(object);
  }

  onSnapshot(items: readonly T[]): void {
    this.#follower?.onSnapshot(items);
    if (!this.#isTaken) this.#kept = new Map(items.map((item) => [this.#options.keyOf(item), item]));
  }

  onPut(item: T): void {
    this.#follower?.onPut(item);
    this.#kept?.set(this.#options.keyOf(item), item);
  }

  onDelete(item: T): void {
    this.#follower?.onDelete(item);
    this.#kept?.delete(this.#options.keyOf(item));
  }

  onHealth(health: ReflectorHealth): void {
    this.#follower?.onHealth?.(health);
    this.#health = health;
  }
}

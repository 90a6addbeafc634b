// Gives again what was made of the same parts: so that one pod more does not make anew what is about the others.
import { sameData } from "./same-data.ts";

/**
 * What `make` gives. It depends on nothing but the key and the parts, which are compared as objects. Of other parts it is made
 * anew, and told what the key had before, so that what says the same can stay the same object.
 */
export type Reuse<T> = (key: string, parts: readonly unknown[], make: (before?: T) => T) => T;

/** Remembers nothing. */
export function makeAnew<T>(_key: string, _parts: readonly unknown[], make: () => T): T {
  return make();
}

export interface Memory {
  /** Remembers one value for each key. */
  readonly reuse: <T>() => Reuse<T>;
  /** Forgets what was not asked for since the last time. */
  readonly sweep: () => void;
}

interface Entry<T> {
  readonly parts: readonly unknown[];
  readonly value: T;
  isAsked: boolean;
}

export function createMemory(): Memory {
  const stores: Map<string, Entry<unknown>>[] = [];
  return {
    reuse: <T>(): Reuse<T> => {
      const entries = new Map<string, Entry<T>>();
      stores.push(entries);
      return (key, parts, make) => {
        const known = entries.get(key);
        if (known !== undefined && sameItems(known.parts, parts)) {
          known.isAsked = true;
          return known.value;
        }
        const value = make(known?.value);
        entries.set(key, { parts, value, isAsked: true });
        return value;
      };
    },
    sweep: () => {
      for (const entries of stores) {
        entries.forEach((entry, key) => {
          if (!entry.isAsked) entries.delete(key);
          entry.isAsked = false;
        });
      }
    },
  };
}

/** Plain data: `before` if it says the same. */
export function keepSame<T>(before: T | undefined, now: T): T {
  return before !== undefined && sameData(before, now) ? before : now;
}

/** True for the same objects, or equal strings, in the same order. */
export function sameItems(a: readonly unknown[], b: readonly unknown[]): boolean {
  if (a === b) return true;
  if (a.length !== b.length) return false;
  for (let index = 0; index < a.length; index += 1) if (a[index] !== b[index]) return false;
  return true;
}

// Gives again what was made of the same parts: so that one pod more does not make anew what is about the others.
import { sameData } from "./same-data.ts";

/**
 * Makes something of parts, under a key. The result depends on nothing but these. `before` is what the key had last, of other
 * parts: what says the same in it can stay the same object.
 */
export type Make<Part, T> = (key: string, parts: readonly Part[], before?: T) => T;

export interface Memory {
  /** Makes only what was not made of the same objects under the key. */
  readonly reuse: <Part, T>(make: Make<Part, T>) => Make<Part, T>;
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
    reuse: <Part, T>(make: Make<Part, T>): Make<Part, T> => {
      const entries = new Map<string, Entry<T>>();
      stores.push(entries);
      return (key, parts) => {
        const known = entries.get(key);
        if (known !== undefined && sameItems(known.parts, parts)) {
          known.isAsked = true;
          return known.value;
        }
        const value = make(key, parts, known?.value);
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

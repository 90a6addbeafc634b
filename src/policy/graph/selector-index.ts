// From labels to the selectors that match them, without asking every selector.
import { formatSelector, selects } from "../selector.ts";
import type { Labels, Requirement, Selector } from "../snapshot.ts";

export interface SelectorIndex<T> {
  readonly isEmpty: () => boolean;
  readonly add: (selector: Selector, item: T) => void;
  readonly remove: (selector: Selector, item: T) => void;
  /** Visits the items of every selector that matches, once for each selector. */
  readonly match: (labels: Labels, visit: (items: ReadonlySet<T>) => void) => void;
}

interface Entry<T> {
  readonly selector: Selector;
  readonly items: Set<T>;
}

type Entries<T> = Set<Entry<T>>;

/**
 * A selector waits under one of its requirements: under the values of an In, or under the key of an Exists. Labels ask only
 * what waits under them, and the few selectors that name no label which must be there.
 */
export function createSelectorIndex<T>(): SelectorIndex<T> {
  const entries = new Map<string, Entry<T>>();
  const byValue = new Map<string, Map<string, Entries<T>>>();
  const byKey = new Map<string, Entries<T>>();
  const others: Entries<T> = new Set();

  /** Where the entry of a selector waits. */
  const placesOf = (selector: Selector): readonly Entries<T>[] => {
    const anchor = anchorOf(selector);
    if (anchor === undefined) return [others];
    if (anchor.operator === "Exists") return [computed(byKey, anchor.key, newSet<Entry<T>>)];
    const values = computed(byValue, anchor.key, newMap<Entries<T>>);
    return anchor.values.map((value) => computed(values, value, newSet<Entry<T>>));
  };
  const sweep = (selector: Selector): void => {
    const anchor = anchorOf(selector);
    if (anchor === undefined) return;
    if (byKey.get(anchor.key)?.size === 0) byKey.delete(anchor.key);
    const values = byValue.get(anchor.key);
    for (const value of anchor.values) if (values?.get(value)?.size === 0) values.delete(value);
    if (values?.size === 0) byValue.delete(anchor.key);
  };
  return {
    isEmpty: () => entries.size === 0,
    add: (selector, item) => {
      const entry = computed(entries, formatSelector(selector), () => ({ selector, items: new Set<T>() }));
      entry.items.add(item);
      for (const place of placesOf(entry.selector)) place.add(entry);
    },
    remove: (selector, item) => {
      const text = formatSelector(selector);
      const entry = entries.get(text);
      if (entry === undefined || !entry.items.delete(item) || entry.items.size > 0) return;
      entries.delete(text);
      for (const place of placesOf(entry.selector)) place.delete(entry);
      sweep(entry.selector);
    },
    match: (labels, visit) => {
      const ask = (waiting: Entries<T> | undefined): void => {
        if (waiting === undefined) return;
        for (const { selector, items } of waiting) if (selects(selector, labels)) visit(items);
      };
      ask(others);
      if (byKey.size === 0 && byValue.size === 0) return;
      for (const key of Object.keys(labels)) {
        ask(byKey.get(key));
        ask(byValue.get(key)?.get(labels[key] ?? ""));
      }
    },
  };
}

/** A requirement that only labels with its key can meet; of those with In the first. */
function anchorOf(selector: Selector): Requirement | undefined {
  return (
    selector.find(({ operator }) => operator === "In") ??
    selector.find(({ operator }) => operator === "Exists")
  );
}

function newSet<T>(): Set<T> {
  return new Set();
}

function newMap<V>(): Map<string, V> {
  return new Map();
}

function computed<V>(map: Map<string, V>, key: string, compute: () => V): V {
  const known = map.get(key);
  if (known !== undefined) return known;
  const value = compute();
  map.set(key, value);
  return value;
}

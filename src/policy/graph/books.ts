// The objects of one kind that are known, and what an event changes of them.
import { sameData } from "../same-data.ts";

export interface Book<T> {
  readonly get: (key: string) => T | undefined;
  /** All objects, or those of one namespace. */
  readonly objects: (namespace?: string) => Iterable<T>;
  /** Namespaces that some object is in; of kinds without namespaces the empty one. */
  readonly namespaces: () => Iterable<string>;
  /** Absent: the object goes. Returns what was there. */
  readonly set: (key: string, object: T | undefined) => T | undefined;
}

/** Keys are `namespace/name`, or `name`. */
export function createBook<T>(): Book<T> {
  const pages = new Map<string, Map<string, T>>();
  return {
    get: (key) => {
      const [namespace, name] = splitKey(key);
      return pages.get(namespace)?.get(name);
    },
    objects: (namespace) => (namespace === undefined ? allOf(pages) : (pages.get(namespace)?.values() ?? [])),
    namespaces: () => pages.keys(),
    set: (key, object) => {
      const [namespace, name] = splitKey(key);
      const page = pages.get(namespace) ?? new Map<string, T>();
      const before = page.get(name);
      if (object === undefined) page.delete(name);
      else page.set(name, object);
      if (page.size === 0) pages.delete(namespace);
      else pages.set(namespace, page);
      return before;
    },
  };
}

function* allOf<T>(pages: ReadonlyMap<string, ReadonlyMap<string, T>>): Iterable<T> {
  for (const page of pages.values()) yield* page.values();
}

function splitKey(key: string): readonly [namespace: string, name: string] {
  const slash = key.indexOf("/");
  return slash < 0 ? ["", key] : [key.slice(0, slash), key.slice(slash + 1)];
}

/** A PolicyEvent of one kind. */
export type BookEvent<T> =
  | { readonly type: "snapshot"; readonly objects: readonly T[] }
  | { readonly type: "put"; readonly object: T }
  | { readonly type: "removed"; readonly key: string };

/** How a book is written. */
export interface Writing<T> {
  readonly keyOf: (object: T) => string;
  /** The object as it is kept. `known` is what has its place now. */
  readonly keep?: (object: T, known: T | undefined) => T;
  /** Called after each change; an object that says the same as before is none. */
  readonly changed: (before: T | undefined, after: T | undefined) => void;
}

export function writeEvent<T>(
  book: Book<T>,
  event: BookEvent<T>,
  { keyOf, keep = (object) => object, changed }: Writing<T>,
): void {
  const put = (object: T): void => {
    const key = keyOf(object);
    const known = book.get(key);
    if (known !== undefined && sameData(known, object)) return;
    const kept = keep(object, known);
    book.set(key, kept);
    changed(known, kept);
  };
  const remove = (key: string): void => {
    const known = book.set(key, undefined);
    if (known !== undefined) changed(known, undefined);
  };
  switch (event.type) {
    case "put":
      put(event.object);
      return;
    case "removed":
      remove(event.key);
      return;
    case "snapshot": {
      const keys = new Set(event.objects.map(keyOf));
      // What goes first: its addresses may be others' by now.
      for (const key of Array.from(book.objects(), keyOf)) if (!keys.has(key)) remove(key);
      event.objects.forEach(put);
    }
  }
}

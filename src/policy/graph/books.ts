// The objects of one kind that are known, and what an event changes of them.
import { sameData } from "../same-data.ts";

/** What objects of all kinds have. */
interface Named {
  readonly namespace?: string;
  readonly name: string;
}

/** Keys are `namespace/name`, or `name` of kinds without namespaces. */
export interface Book<T extends Named> {
  readonly get: (key: string) => T | undefined;
  /** All objects, or those of one namespace. */
  readonly objects: (namespace?: string) => Iterable<T>;
  /** Namespaces that some object is in; of kinds without namespaces the empty one. */
  readonly namespaces: () => Iterable<string>;
  readonly put: (object: T) => void;
  /** Returns what was there. */
  readonly remove: (key: string) => T | undefined;
}

export function createBook<T extends Named>(): Book<T> {
  // By the strings of the objects themselves: ten thousand keys would be a megabyte.
  const pages = new Map<string, Map<string, T>>();
  return {
    get: (key) => {
      const [namespace, name] = splitKey(key);
      return pages.get(namespace)?.get(name);
    },
    objects: (namespace) => (namespace === undefined ? allOf(pages) : (pages.get(namespace)?.values() ?? [])),
    namespaces: () => pages.keys(),
    put: (object) => {
      const { namespace = "", name } = object;
      const page = pages.get(namespace) ?? new Map<string, T>();
      page.set(name, object);
      pages.set(namespace, page);
    },
    remove: (key) => {
      const [namespace, name] = splitKey(key);
      const page = pages.get(namespace);
      const before = page?.get(name);
      page?.delete(name);
      if (page?.size === 0) pages.delete(namespace);
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
  /** Called after each change; an object that says the same as before is none. */
  readonly changed: (before: T | undefined, after: T | undefined) => void;
}

export function writeEvent<T extends Named>(
  book: Book<T>,
  event: BookEvent<T>,
  { keyOf, changed }: Writing<T>,
): void {
  const put = (object: T): void => {
    const known = book.get(keyOf(object));
    if (known !== undefined && sameData(known, object)) return;
    book.put(object);
    changed(known, object);
  };
  const remove = (key: string): void => {
    const known = book.remove(key);
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
      const known = Array.from(book.objects(), keyOf);
      // At a start there is nothing to compare with: no keys of ten thousand objects then.
      const keys = new Set(known.length === 0 ? [] : event.objects.map(keyOf));
      // What goes first: its addresses may be others' by now.
      for (const key of known) if (!keys.has(key)) remove(key);
      event.objects.forEach(put);
    }
  }
}

// Whether two pieces of plain data say the same.

/** True for equal JSON-like data; an absent field and an undefined one are the same. */
export function sameData(a: unknown, b: unknown): boolean {
  if (a === b) return true;
  if (typeof a !== "object" || typeof b !== "object" || a === null || b === null) return Object.is(a, b);
  if (Array.isArray(a) || Array.isArray(b)) {
    if (!Array.isArray(a) || !Array.isArray(b) || a.length !== b.length) return false;
    return a.every((item, index) => sameData(item, b[index]));
  }
  return hasAll(a, b) && hasAll(b, a);
}

/** True if every field of `some` is the same in `all`. */
function hasAll(all: object, some: object): boolean {
  for (const key of Object.keys(some)) {
    const value: unknown = Object.hasOwn(all, key) ? all[key as never] : undefined;
    if (!sameData(value, some[key as never])) return false;
  }
  return true;
}

// What must be written so that the actual rows of one kernel table become the desired ones. Pure.

/** Rows by what has to happen to them. `remove` holds actual rows, everything else desired ones. */
export interface Diff<Row> {
  readonly create: readonly Row[];
  readonly replace: readonly Row[];
  readonly remove: readonly Row[];
  readonly unchanged: readonly Row[];
}

/** The part of a kernel table that a diff needs. */
export interface RowComparison<Row> {
  key(row: Row): string;
  equal(actual: Row, desired: Row): boolean;
}

/**
 * Keyed diff in linear time. The kernel can hold several rows under one key (routes that differ in metric): the one that
 * is right stays, the others are removed. If none is right, one is replaced and the rest removed. Of desired rows with one
 * key the last wins.
 */
export function diffRows<Row>(
  actual: Iterable<Row>,
  desired: Iterable<Row>,
  table: RowComparison<Row>,
): Diff<Row> {
  const wanted = new Map<string, Row>();
  for (const row of desired) wanted.set(table.key(row), row);
  const right = new Set<string>();
  const wrong = new Map<string, Row>();
  const remove: Row[] = [];
  for (const row of actual) {
    const rowKey = table.key(row);
    const want = wanted.get(rowKey);
    if (want === undefined || right.has(rowKey)) {
      remove.push(row);
    } else if (row === want || table.equal(row, want)) {
      right.add(rowKey);
    } else {
      const earlier = wrong.get(rowKey);
      if (earlier === undefined) wrong.set(rowKey, row);
      else remove.push(row);
    }
  }
  const create: Row[] = [];
  const replace: Row[] = [];
  const unchanged: Row[] = [];
  for (const [rowKey, row] of wanted) {
    const wrongRow = wrong.get(rowKey);
    if (right.has(rowKey)) {
      unchanged.push(row);
      if (wrongRow !== undefined) remove.push(wrongRow);
    } else {
      (wrongRow === undefined ? create : replace).push(row);
    }
  }
  return { create, replace, remove, unchanged };
}

/** Rows of which there is one per key: what was last written or listed. */
export class KnownRows<Row extends object> {
  readonly #byKey = new Map<string, Row>();
  /** The same rows: planners hand out the same object as long as a peer does not change, and that needs no key. */
  readonly #rows = new Set<Row>();

  constructor(entries: Iterable<readonly [string, Row]> = []) {
    for (const [key, row] of entries) this.set(key, row);
  }

  get size(): number {
    return this.#byKey.size;
  }
  has(row: Row): boolean {
    return this.#rows.has(row);
  }
  get(key: string): Row | undefined {
    return this.#byKey.get(key);
  }
  values(): Iterable<Row> {
    return this.#byKey.values();
  }
  set(key: string, row: Row): void {
    this.delete(key);
    this.#byKey.set(key, row);
    this.#rows.add(row);
  }
  delete(key: string): void {
    const row = this.#byKey.get(key);
    if (row === undefined) return;
    this.#byKey.delete(key);
    this.#rows.delete(row);
  }
}

/**
 * The same for known rows: a look-up for each desired row that is the very object, and little more for others, so that one
 * more peer among 5000 costs a few milliseconds.
 */
export function diffKnownRows<Row extends object>(
  known: KnownRows<Row>,
  desired: Iterable<Row>,
  table: RowComparison<Row>,
): Diff<Row> {
  const create: Row[] = [];
  const createKeys = new Set<string>();
  const replace: Row[] = [];
  const unchanged: Row[] = [];
  const wanted = new Set<Row>();
  for (const row of desired) {
    if (known.has(row)) {
      wanted.add(row);
      unchanged.push(row);
      continue;
    }
    const key = table.key(row);
    const actual = known.get(key);
    if (actual === undefined) {
      create.push(row);
      createKeys.add(key);
    } else {
      wanted.add(actual);
      (table.equal(actual, row) ? unchanged : replace).push(row);
    }
  }
  const isKeyRepeated =
    createKeys.size !== create.length || wanted.size !== replace.length + unchanged.length;
  if (isKeyRepeated) return diffRows(known.values(), desired, table);
  const remove = wanted.size === known.size ? [] : [...known.values()].filter((row) => !wanted.has(row));
  return { create, replace, remove, unchanged };
}

/** True if nothing has to be written. */
export function isEmptyDiff(diff: Diff<unknown>): boolean {
  return diff.create.length + diff.replace.length + diff.remove.length === 0;
}

// Sorted members of a set in pages: a change copies one page, and pages that two lists share are equal unseen.

/** Sorted by code units and unique, as all of a list is. */
type Page = readonly string[];

/** Members of several pages, none of them empty. Immutable. */
export interface MemberPages extends Iterable<string> {
  readonly length: number;
  readonly pages: readonly Page[];
}

/** Sorted by code units and unique. An array is one page, whatever its length. */
export type MemberList = Page | MemberPages;

/** A page that has grown longer is split. */
export const MAX_PAGE = 128;

/** Nearly full, so that the next members to come do not split every page. */
const NEW_PAGE = 96;

/** `members`, sorted and unique, as a list of which a change copies little. */
export function pageMembers(members: readonly string[]): MemberList {
  // A copy, without the room that an array which grew has at its end.
  return joinPages(splitPage(members.slice()));
}

/**
 * The list with members that are wanted (true) and without others (false).
 * @returns `list` itself if its members stay as they are
 */
export function changeMembers(list: MemberList, changes: ReadonlyMap<string, boolean>): MemberList {
  const sorted = [...changes].sort(([a], [b]) => (a < b ? -1 : 1));
  const before = pagesOf(list);
  const after: Page[] = [];
  let isSame = true;
  let from = 0;
  before.forEach((page, index) => {
    const next = before[index + 1]?.[0];
    let to = from;
    while (isBefore(sorted[to]?.[0], next)) to += 1;
    const changed = from === to ? page : changePage(page, sorted.slice(from, to));
    from = to;
    if (changed === page) {
      after.push(page);
      return;
    }
    isSame = false;
    after.push(...splitPage(joinToLast(after, changed)));
  });
  return isSame ? list : joinPages(after);
}

/** False for what is not there; anything comes before the end. */
function isBefore(member: string | undefined, next: string | undefined): boolean {
  return member !== undefined && (next === undefined || member < next);
}

/** Takes the last page away if both fit into one, so that what shrinks has not more and more pages. */
function joinToLast(pages: Page[], page: Page): Page {
  const last = pages.at(-1);
  if (last === undefined || last.length + page.length > NEW_PAGE) return page;
  pages.pop();
  return last.concat(page);
}

type Change = readonly [member: string, isWanted: boolean];

/** Up to here each change copies the page in one go; more changes are merged in one walk. */
const MAX_SPLICES = 4;

/** `page` itself if it stays as it is; `changes` are sorted. */
function changePage(page: Page, changes: readonly Change[]): Page {
  const real = changes.filter(([member, isWanted]) => (page[placeOf(page, member)] === member) !== isWanted);
  if (real.length > MAX_SPLICES) return mergeChanges(page, real);
  return real.reduce((all, [member, isWanted]) => {
    const at = placeOf(all, member);
    return isWanted ? all.toSpliced(at, 0, member) : all.toSpliced(at, 1);
  }, page);
}

/** Each change is one indeed. */
function mergeChanges(page: Page, changes: readonly Change[]): Page {
  const next: string[] = [];
  let from = 0;
  for (const [member, isWanted] of changes) {
    const at = placeOf(page, member);
    for (; from < at; from += 1) next.push(page[from] ?? "");
    if (isWanted) next.push(member);
    else from += 1;
  }
  for (; from < page.length; from += 1) next.push(page[from] ?? "");
  // Without the room that an array which grew has at its end.
  return next.slice();
}

/** Where the member is, or would be. */
function placeOf(page: Page, member: string): number {
  let [low, high] = [0, page.length];
  while (low < high) {
    const middle = (low + high) >>> 1;
    if ((page[middle] ?? "") < member) low = middle + 1;
    else high = middle;
  }
  return low;
}

/** As few equal pages as there may be. */
function splitPage(page: Page): readonly Page[] {
  if (page.length <= MAX_PAGE) return page.length === 0 ? [] : [page];
  const size = Math.ceil(page.length / Math.ceil(page.length / NEW_PAGE));
  return Array.from({ length: Math.ceil(page.length / size) }, (_, n) =>
    page.slice(n * size, (n + 1) * size),
  );
}

function joinPages(pages: readonly Page[]): MemberList {
  if (pages.length <= 1) return pages[0] ?? [];
  const length = pages.reduce((sum, page) => sum + page.length, 0);
  return { length, pages, [Symbol.iterator]: () => iteratePages(pages) };
}

function* iteratePages(pages: readonly Page[]): Generator<string> {
  for (const page of pages) yield* page;
}

function pagesOf(list: MemberList): readonly Page[] {
  return "pages" in list ? list.pages : [list];
}

export interface MemberDiff {
  readonly added: readonly string[];
  readonly removed: readonly string[];
}

/** Linear in the pages, and in the members of those that are not in both. */
export function diffMembers(actual: MemberList, desired: MemberList): MemberDiff {
  const [have, want] = [new Set(pagesOf(actual)), new Set(pagesOf(desired))];
  return diffSorted(flatten(have.difference(want)), flatten(want.difference(have)));
}

function flatten(pages: ReadonlySet<Page>): Page {
  const [only, ...others] = pages;
  return only !== undefined && others.length === 0 ? only : [...pages].flat();
}

function diffSorted(actual: Page, desired: Page): MemberDiff {
  const added: string[] = [];
  const removed: string[] = [];
  let at = 0;
  for (const member of desired) {
    for (let have = actual[at]; have !== undefined && have < member; have = actual[at]) {
      removed.push(have);
      at += 1;
    }
    if (actual[at] === member) at += 1;
    else added.push(member);
  }
  for (; at < actual.length; at += 1) removed.push(actual[at] ?? "");
  return { added, removed };
}

/** Two lists as one. */
export function mergeMembers(some: MemberList, others: readonly string[]): MemberList {
  return changeMembers(some, new Map(others.map((member) => [member, true])));
}

export function withoutMembers(members: MemberList, gone: readonly string[]): MemberList {
  return changeMembers(members, new Map(gone.map((member) => [member, false])));
}

export function hasMember(list: MemberList, member: string): boolean {
  const pages = pagesOf(list);
  const page = pages.find((one) => member <= (one.at(-1) ?? "")) ?? [];
  return page[placeOf(page, member)] === member;
}

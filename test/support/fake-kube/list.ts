// List requests: revision rules, pages with continue tokens, and the text of the answer (API concepts, "Retrieving large results sets in chunks").
import { ApiError, badRequest, expired, invalidOptions, unforeseen } from "./api-error.ts";
import type { KubeObject } from "./objects.ts";
import { apiVersionOf } from "./resources.ts";
import type { ResourceType } from "./resources.ts";
import type { ObjectFilter } from "./selectors.ts";
import type { Snapshot, Store } from "./store.ts";

export interface ListQuery {
  readonly limit: number;
  readonly continueToken: string;
  readonly resourceVersion: string;
  readonly resourceVersionMatch: string;
  /** With a selector the server does not count what remains. */
  readonly isSelective: boolean;
}

export interface Page {
  readonly revision: number;
  readonly items: readonly KubeObject[];
  readonly continueToken?: string;
  readonly remainingItemCount?: number;
}

const TOO_OLD_TO_CONTINUE =
  "The provided continue parameter is too old to display a consistent list result. You can start a new list without the continue parameter, or use the continue token in this response to retrieve the remainder of the results. Continuing with the provided token results in an inconsistent list - objects that were created, modified, or deleted between the time the first chunk was returned and now may show up in the list.";

/** @throws {ApiError} 400 for a bad query, 410 for a revision that is gone, 504 for one that is not there yet */
export function readPage(store: Store, type: ResourceType, query: ListQuery, filter: ObjectFilter): Page {
  checkListQuery(query);
  if (query.continueToken !== "") return continuePage(store, type, query, filter);
  const asked = parseRevision(query.resourceVersion);
  if (asked > store.revision) throw tooLargeRevision(asked, store.revision);
  // A page or an exact match is read at the revision itself; anything else may be newer. Version 0 ignores the limit.
  const isExact = asked > 0 && (query.limit > 0 || query.resourceVersionMatch === "Exact");
  const isFromCache = query.resourceVersion === "0";
  const isNotOlder = query.resourceVersionMatch === "NotOlderThan";
  const snapshot = store.snapshot(type.resource, isExact && !isNotOlder ? asked : store.revision);
  if (snapshot === undefined) {
    throw expired("The resourceVersion for the provided list is too old.");
  }
  if (!isFromCache) return cutPage(snapshot, "", query, filter);
  // The watch cache gives everything at once and in no order: here reversed, so that nobody relies on one.
  const page = cutPage(snapshot, "", { ...query, limit: 0 }, filter);
  return { ...page, items: page.items.toReversed() };
}

const MATCHES = ["Exact", "NotOlderThan", ""];

function checkListQuery({ continueToken, resourceVersion, resourceVersionMatch: match }: ListQuery): void {
  if (match !== "" && resourceVersion === "") {
    throw forbiddenMatch("resourceVersionMatch is forbidden unless resourceVersion is provided");
  }
  if (match !== "" && continueToken !== "") {
    throw forbiddenMatch("resourceVersionMatch is forbidden when continue is provided");
  }
  if (!MATCHES.includes(match)) {
    const supported = MATCHES.map((name) => JSON.stringify(name)).join(", ");
    const message = `Unsupported value: ${JSON.stringify(match)}: supported values: ${supported}`;
    const problem = { reason: "FieldValueNotSupported", message, field: "resourceVersionMatch" } as const;
    throw invalidOptions("ListOptions", [problem]);
  }
  if (match === "Exact" && resourceVersion === "0") {
    throw forbiddenMatch('resourceVersionMatch "exact" is forbidden for resourceVersion "0"');
  }
}

/** @throws {ApiError} 422: streamed lists (`sendInitialEvents`) came with 1.27, and here the parameter itself is ignored */
export function checkWatchQuery(query: Pick<ListQuery, "resourceVersion" | "resourceVersionMatch">): void {
  if (query.resourceVersionMatch === "") return;
  const whys = ["resourceVersionMatch is forbidden for watch"];
  if (query.resourceVersion === "")
    whys.push("resourceVersionMatch is forbidden unless resourceVersion is provided");
  throw forbiddenMatch(...whys);
}

function forbiddenMatch(...whys: readonly string[]): ApiError {
  return invalidOptions(
    "ListOptions",
    whys.map((why) => ({
      reason: "FieldValueForbidden",
      message: `Forbidden: ${why}`,
      field: "resourceVersionMatch",
    })),
  );
}

interface ContinueToken {
  readonly v: "meta.k8s.io/v1";
  /** -1: go on from the key with what is there now. */
  readonly rv: number;
  /** The first key of the next page. */
  readonly start: string;
}

function encodeToken(rv: number, start: string): string {
  const token: ContinueToken = { v: "meta.k8s.io/v1", rv, start };
  return Buffer.from(JSON.stringify(token)).toString("base64url");
}

function decodeToken(text: string): ContinueToken {
  try {
    const token = JSON.parse(Buffer.from(text, "base64url").toString()) as ContinueToken;
    if (token.v === "meta.k8s.io/v1" && typeof token.rv === "number" && typeof token.start === "string")
      return token;
  } catch {
    // Refused below.
  }
  throw badRequest(`invalid continue token: continue key is not valid: ${JSON.stringify(text)}`);
}

function continuePage(store: Store, type: ResourceType, query: ListQuery, filter: ObjectFilter): Page {
  const { rv, start } = decodeToken(query.continueToken);
  if (query.resourceVersion !== "" && query.resourceVersion !== "0") {
    throw badRequest("specifying resource version is not allowed when using continue");
  }
  const snapshot = store.snapshot(type.resource, rv === -1 ? store.revision : rv);
  if (snapshot === undefined) throw expired(TOO_OLD_TO_CONTINUE, { continue: encodeToken(-1, start) });
  return cutPage(snapshot, start, query, filter);
}

function cutPage(snapshot: Snapshot, start: string, query: ListQuery, filter: ObjectFilter): Page {
  const { revision } = snapshot;
  const matching = snapshot.entries.filter(([key, object]) => key >= start && filter(object));
  if (query.limit <= 0 || matching.length <= query.limit) {
    return { revision, items: matching.map(([, object]) => object) };
  }
  const page = matching.slice(0, query.limit);
  const lastKey = page.at(-1)?.[0] ?? "";
  return {
    revision,
    items: page.map(([, object]) => object),
    continueToken: encodeToken(revision, `${lastKey}\0`),
    ...(query.isSelective ? {} : { remainingItemCount: matching.length - page.length }),
  };
}

/** "" and "0" are 0. @throws {ApiError} 500 */
export function parseRevision(text: string): number {
  if (text === "") return 0;
  if (!/^\d+$/.test(text)) {
    throw unforeseen(
      `resourceVersion: Invalid value: ${JSON.stringify(text)}: strconv.ParseUint: parsing ${JSON.stringify(text)}: invalid syntax`,
    );
  }
  return Number(text);
}

function tooLargeRevision(asked: number, current: number): ApiError {
  return new ApiError(504, "Timeout", `Timeout: Too large resource version: ${asked}, current: ${current}`, {
    details: {
      causes: [{ reason: "ResourceVersionTooLarge", message: "Too large resource version" }],
      retryAfterSeconds: 1,
    },
  });
}

/** The answer in pieces, one per item, so that it can be sent slowly or cut. Items carry no kind, as in the real one. */
export function* renderList(type: ResourceType, page: Page): Generator<string> {
  const metadata = {
    resourceVersion: String(page.revision),
    ...(page.continueToken === undefined ? {} : { continue: page.continueToken }),
    ...(page.remainingItemCount === undefined ? {} : { remainingItemCount: page.remainingItemCount }),
  };
  const head = { kind: `${type.kind}List`, apiVersion: apiVersionOf(type), metadata };
  yield `${JSON.stringify(head).slice(0, -1)},"items":[`;
  for (const [i, item] of page.items.entries()) yield `${i === 0 ? "" : ","}${renderItem(item)}`;
  yield "]}\n";
}

const texts = new WeakMap<KubeObject, string>();

/** Objects never change once stored, so that each is turned into text once. */
function renderItem(object: KubeObject): string {
  let text = texts.get(object);
  if (text === undefined) texts.set(object, (text = JSON.stringify(object)));
  return text;
}

/** An object with its kind first, as single reads and watch events have it. */
export function renderObject(type: ResourceType, object: KubeObject): string {
  return `{"kind":"${type.kind}","apiVersion":"${apiVersionOf(type)}",${renderItem(object).slice(1)}`;
}

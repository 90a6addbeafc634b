// One request to the fake API server: who asks, for what, and the answer.
import type { IncomingMessage, ServerResponse } from "node:http";
import { ApiError, badRequest, methodNotAllowed, noSuchResource, notFound } from "./api-error.ts";
import type { StatusBody } from "./api-error.ts";
import { authenticate, authorize } from "./authenticate.ts";
import type { Authentication } from "./authenticate.ts";
import { discover, isKnownGroup, ROOT_PATHS } from "./discovery.ts";
import { OverloadError } from "./faults.ts";
import type { FaultState } from "./faults.ts";
import { checkWatchQuery, parseRevision, readPage, renderList, renderObject } from "./list.ts";
import { isJsonObject, objectKey } from "./objects.ts";
import type { JsonObject, KubeObject } from "./objects.ts";
import { checkPatchOptions, parsePatch, parsePatchType } from "./patch.ts";
import { parseResourcePath } from "./resources.ts";
import type { ResourcePath, ResourceType } from "./resources.ts";
import { compileFilter } from "./selectors.ts";
import type { ObjectFilter } from "./selectors.ts";
import { sendList } from "./send-list.ts";
import type { Store } from "./store.ts";
import { renderErrorEvent, serveWatch, watchRefusal } from "./watch.ts";
import type { WatchStream } from "./watch.ts";
import { createObject, deleteObject, patchObject, updateObject } from "./writes.ts";

export type Verb = "get" | "list" | "watch" | "create" | "update" | "patch" | "delete" | "deletecollection";

export interface RequestRecord {
  readonly verb: Verb | "raw";
  readonly method: string;
  /** With the query. */
  readonly path: string;
  readonly contentType: string | undefined;
  readonly userAgent: string | undefined;
  readonly user: string | undefined;
  readonly body: string;
}

export interface ServeModules {
  readonly store: Store;
  readonly faults: FaultState;
  readonly streams: Set<WatchStream>;
  readonly requests: RequestRecord[];
  readonly authentication: () => Authentication;
  readonly bookmarkIntervalMs: number;
}

/** Answers one request, whatever happens. */
export async function serveRequest(
  request: IncomingMessage,
  response: ServerResponse,
  modules: ServeModules,
): Promise<void> {
  try {
    const body = await readBody(request);
    await modules.faults.thawed();
    await answer(request, body, response, modules);
  } catch (error) {
    if (response.headersSent || response.destroyed) {
      response.destroy();
      return;
    }
    if (error instanceof OverloadError) {
      const headers = { "Content-Type": "text/plain; charset=utf-8", "Retry-After": error.retryAfterSeconds };
      response.writeHead(429, headers).end(`${error.message}\n`);
      return;
    }
    const refusal =
      error instanceof ApiError
        ? error
        : new ApiError(
            500,
            "InternalError",
            `Internal error occurred: ${error instanceof Error ? error.stack : String(error)}`,
          );
    sendJson(response, refusal.code, JSON.stringify(refusal.body), refusal.headers);
  }
}

async function answer(
  request: IncomingMessage,
  body: string,
  response: ServerResponse,
  modules: ServeModules,
): Promise<void> {
  const url = new URL(request.url ?? "/", "http://fake");
  const path = parseResourcePath(url.pathname);
  const method = request.method ?? "GET";
  const verb: RequestRecord["verb"] = path === undefined ? "raw" : verbOf(method, path, url.searchParams);
  const record: Omit<RequestRecord, "user"> = {
    verb,
    method,
    path: request.url ?? "/",
    contentType: request.headers["content-type"],
    userAgent: request.headers["user-agent"],
    body,
  };
  let user: string | undefined;
  try {
    const asking = authenticate(request, modules.authentication());
    user = asking.name;
    if (path !== undefined && verb !== "raw") authorize(asking, verb, path);
  } finally {
    modules.requests.push({ ...record, user });
  }
  if (path === undefined || verb === "raw") {
    modules.faults.strike({ verb });
    serveDiscovery(url.pathname, response);
    return;
  }
  modules.faults.strike({
    verb,
    resource: path.type.resource,
    ...(path.name === undefined ? {} : { name: path.name }),
  });
  await serveVerb({ verb, path, query: url.searchParams, body, request, response }, modules);
}

function serveDiscovery(path: string, response: ServerResponse): void {
  const found = discover(path);
  if (found === undefined) {
    if (isKnownGroup(path)) throw noSuchResource();
    if (path.startsWith("/apis/")) {
      response.writeHead(404, { "Content-Type": "text/plain; charset=utf-8" }).end("404 page not found\n");
    } else {
      sendJson(response, 404, JSON.stringify({ paths: ROOT_PATHS }));
    }
  } else if (typeof found === "string") {
    response.writeHead(200, { "Content-Type": "text/plain; charset=utf-8" }).end(found);
  } else {
    sendJson(response, 200, JSON.stringify(found));
  }
}

/** @throws {ApiError} 405 */
function verbOf(method: string, path: ResourcePath, query: URLSearchParams): Verb {
  if (path.name === undefined) {
    if (method === "GET") return isTrue(query.get("watch")) ? "watch" : "list";
    // Creating needs the namespace in the path; a cluster-wide path only lists.
    if (method === "POST" && path.type.namespaced === (path.namespace !== undefined)) return "create";
    if (method === "DELETE" && path.type.namespaced === (path.namespace !== undefined))
      return "deletecollection";
  } else {
    if (method === "GET") return "get";
    if (method === "PUT") return "update";
    if (method === "PATCH") return "patch";
    if (method === "DELETE") return "delete";
  }
  throw methodNotAllowed();
}

interface Call {
  readonly verb: Verb;
  readonly path: ResourcePath;
  readonly query: URLSearchParams;
  readonly body: string;
  readonly request: IncomingMessage;
  readonly response: ServerResponse;
}

async function serveVerb(call: Call, modules: ServeModules): Promise<void> {
  const { path, query, body, request, response } = call;
  const { type } = path;
  const { store } = modules;
  const send = (code: number, object: KubeObject): void =>
    sendJson(response, code, renderObject(type, object));
  switch (call.verb) {
    case "get": {
      const { namespace, name = "" } = path;
      const found = store.get(type.resource, objectKey({ namespace, name }));
      if (found === undefined) throw notFound(type, name);
      return send(200, found);
    }
    case "list":
      return await serveList(call, modules);
    case "watch":
      return startWatch(call, modules);
    case "create":
      return send(201, createObject(store, path, parseJsonBody(type, body)));
    case "update":
      return send(200, updateObject(store, path, parseJsonBody(type, body)));
    case "patch": {
      const patchType = parsePatchType(request.headers["content-type"]);
      checkPatchOptions(patchType, query);
      const existed = store.get(
        type.resource,
        objectKey({ namespace: path.namespace, name: path.name ?? "" }),
      );
      const patched = patchObject(store, path, parsePatch(patchType, body, type));
      return send(existed === undefined ? 201 : 200, patched);
    }
    case "deletecollection": {
      const filter = filterOf(call);
      const doomed = (store.snapshot(type.resource)?.entries ?? []).filter(([, object]) => filter(object));
      for (const [, { metadata }] of doomed) deleteObject(store, { ...path, name: metadata.name }, {});
      const items = doomed.map(([, object]) => object);
      return sendJson(response, 200, [...renderList(type, { revision: store.revision, items })].join(""));
    }
    case "delete": {
      const gone = deleteObject(store, path, parseDeleteOptions(query, body));
      if (isStatus(gone)) return sendJson(response, 200, JSON.stringify(gone));
      return send(200, gone);
    }
  }
}

/** In the query or in the body. */
function parseDeleteOptions(query: URLSearchParams, body: string): JsonObject {
  const grace = query.get("gracePeriodSeconds");
  const options: unknown = body === "" ? {} : JSON.parse(body);
  return {
    ...(isJsonObject(options) ? options : {}),
    ...(grace === null ? {} : { gracePeriodSeconds: parseInteger(grace) }),
  };
}

function isStatus(answer: KubeObject | StatusBody): answer is StatusBody {
  return answer.kind === "Status";
}

function filterOf({ path, query }: Call): ObjectFilter {
  const selectors = {
    labelSelector: query.get("labelSelector") ?? "",
    fieldSelector: query.get("fieldSelector") ?? "",
  };
  return compileFilter(path.type, { ...selectors, namespace: path.namespace });
}

async function serveList(call: Call, { store, faults }: ServeModules): Promise<void> {
  const { path, query, request, response } = call;
  const page = readPage(
    store,
    path.type,
    {
      limit: parseInteger(query.get("limit")),
      continueToken: query.get("continue") ?? "",
      resourceVersion: query.get("resourceVersion") ?? "",
      resourceVersionMatch: query.get("resourceVersionMatch") ?? "",
      isSelective: (query.get("labelSelector") ?? "") + (query.get("fieldSelector") ?? "") !== "",
    },
    filterOf(call),
  );
  await sendList(response, path.type, page, {
    acceptsGzip: /\bgzip\b/.test(request.headers["accept-encoding"] ?? ""),
    isCut: faults.takeListCut(),
    delayMs: faults.slowListMs,
  });
}

const DEFAULT_WATCH_TIMEOUT_MS = 30 * 60_000;

function startWatch(call: Call, modules: ServeModules): void {
  const { path, query, response } = call;
  const { store, faults, streams } = modules;
  const filter = filterOf(call);
  const resourceVersion = query.get("resourceVersion") ?? "";
  checkWatchQuery({ resourceVersion, resourceVersionMatch: query.get("resourceVersionMatch") ?? "" });
  const fromRevision = parseRevision(resourceVersion);
  const refusal = watchRefusal(store, path.type, fromRevision);
  if (refusal !== undefined) {
    if (faults.expiredWatchAs === "status") throw refusal;
    response.writeHead(200, { "Content-Type": "application/json" }).end(renderErrorEvent(refusal));
    return;
  }
  const timeoutSeconds = parseInteger(query.get("timeoutSeconds"));
  const stream = serveWatch(
    path.type,
    {
      fromRevision,
      wantsBookmarks: isTrue(query.get("allowWatchBookmarks")),
      timeoutMs: timeoutSeconds > 0 ? timeoutSeconds * 1000 : DEFAULT_WATCH_TIMEOUT_MS,
      bookmarkIntervalMs: modules.bookmarkIntervalMs,
    },
    {
      store,
      filter,
      response,
      mayBookmark: () => !faults.dropBookmarks,
      onEnd: () => streams.delete(stream),
    },
  );
  streams.add(stream);
  if (faults.isStalling) stream.stall();
}

/** Everything but "false" and "0" is true to the server; absent is false. */
function isTrue(value: string | null): boolean {
  return value !== null && value !== "false" && value !== "0";
}

/** @throws {ApiError} 400 */
function parseInteger(text: string | null): number {
  if (text === null || text === "") return 0;
  if (!/^-?\d+$/.test(text))
    throw badRequest(`strconv.ParseInt: parsing ${JSON.stringify(text)}: invalid syntax`);
  return Number(text);
}

function parseJsonBody(type: ResourceType, body: string): unknown {
  let parsed: unknown;
  let why = "json: cannot unmarshal array into Go value";
  try {
    parsed = JSON.parse(body);
  } catch (error) {
    why = String(error);
  }
  if (isJsonObject(parsed)) return parsed;
  throw badRequest(
    `the object provided is unrecognized (must be of type ${type.kind}): couldn't get version/kind; json parse error: ${why}`,
  );
}

async function readBody(request: IncomingMessage): Promise<string> {
  const chunks: Buffer[] = [];
  for await (const chunk of request) chunks.push(chunk as Buffer);
  return Buffer.concat(chunks).toString();
}

function sendJson(
  response: ServerResponse,
  code: number,
  text: string,
  headers: Readonly<Record<string, string>> = {},
): void {
  response
    .writeHead(code, { "Cache-Control": "no-cache, private", "Content-Type": "application/json", ...headers })
    .end(`${text}\n`);
}

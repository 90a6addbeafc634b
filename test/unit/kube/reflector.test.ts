// List and watch through everything that a server, a proxy or a network can do to them.
import { once } from "node:events";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { afterEach, beforeEach, expect, test } from "vitest";
import { startFakeKube } from "../../support/fake-kube/fake-kube.ts";
import type { FakeKube } from "../../support/fake-kube/fake-kube.ts";
import { putNode, startMirror } from "../../support/kube-mirror.ts";
import type { Mirror } from "../../support/kube-mirror.ts";
import { waitFor } from "../../support/wait.ts";

let fake: FakeKube;
let mirror: Mirror;
beforeEach(async () => {
  fake = await startFakeKube();
  putNode(fake, "a", "1");
  putNode(fake, "b", "1");
});
afterEach(async () => {
  await mirror.stop();
  await fake.close();
});

const watching = (): Promise<boolean> =>
  waitFor("one watch", () => fake.watchCount("nodes") === 1 && mirror.told.length > 0);
const last = (): string | undefined => mirror.told.at(-1);
const queries = (verb: string): URLSearchParams[] =>
  fake.requests
    .filter((request) => request.verb === verb)
    .map(({ path }) => new URL(path, "http://api").searchParams)
    // Not the small read that asks how far the server is.
    .filter((query) => query.get("limit") !== "1");

test("a snapshot first, then puts and deletes in order", async () => {
  mirror = startMirror(fake);
  await watching();
  putNode(fake, "c", "1");
  putNode(fake, "a", "2");
  fake.delete("nodes", "b");
  await waitFor("the last event", () => last() === "delete b");
  expect(mirror.told).toEqual(["snapshot a,b", "put c 1", "put a 2", "delete b"]);
  expect(mirror.health).toEqual([{ connected: true }]);
});

test("asks as client-go does: from the cache, in pages, with bookmarks and an end", async () => {
  mirror = startMirror(fake);
  await watching();
  const [list] = queries("list");
  expect(Object.fromEntries(list ?? [])).toEqual({ limit: "500", resourceVersion: "0" });
  const [watch] = queries("watch");
  expect(watch?.get("allowWatchBookmarks")).toBe("true");
  expect(Number(watch?.get("timeoutSeconds"))).toBeGreaterThanOrEqual(300);
  expect(Number(watch?.get("timeoutSeconds"))).toBeLessThanOrEqual(600);
  expect(Number(watch?.get("resourceVersion"))).toBe(fake.revision());
});

test.each(["between-lines", "inside-line"] as const)(
  "a stream cut %s is resumed without loss or repetition",
  async (where) => {
    mirror = startMirror(fake);
    await watching();
    putNode(fake, "c", "1");
    await waitFor("the event", () => last() === "put c 1");
    fake.faults.cutWatches(where);
    putNode(fake, "d", "1");
    putNode(fake, "e", "1");
    await waitFor("the events after the cut", () => last() === "put e 1");
    expect(mirror.told).toEqual(["snapshot a,b", "put c 1", "put d 1", "put e 1"]);
    expect(queries("list")).toHaveLength(1);
    expect(mirror.tallied).toEqual(["nodes cut"]);
  },
);

test("the server's own end of a watch is no failure", async () => {
  mirror = startMirror(fake);
  await watching();
  fake.faults.endWatches();
  putNode(fake, "c", "1");
  await waitFor("the event", () => last() === "put c 1");
  expect(mirror.health).toEqual([{ connected: true }]);
  expect(mirror.tallied).toEqual([]);
});

test.each(["event", "status"] as const)(
  "a version that has expired, told as %s, is listed anew",
  async (how) => {
    fake.faults.expiredWatchAs = how;
    mirror = startMirror(fake);
    await watching();
    await fake.faults.down();
    fake.delete("nodes", "a");
    putNode(fake, "c", "1");
    fake.faults.expireHistory();
    await fake.faults.up();
    await waitFor("the second snapshot", () => last() === "snapshot b,c");
    expect(mirror.tallied).toEqual(["nodes cut", "nodes relist expired"]);
    await watching();
    putNode(fake, "b", "2");
    await waitFor("an event after it", () => last() === "put b 2");
  },
);

test("bookmarks move the version on, so that a quiet watch does not expire", async () => {
  mirror = startMirror(fake, {}, { fieldSelector: "metadata.name=a" });
  await watching();
  putNode(fake, "b", "2");
  fake.faults.sendBookmarks();
  const version = String(fake.revision());
  fake.faults.endWatches();
  await waitFor("the second watch", () => queries("watch").length === 2);
  expect(queries("watch")[1]?.get("resourceVersion")).toBe(version);
  expect(mirror.told).toEqual(["snapshot a"]);
});

test("a peer that says nothing any more is given up", async () => {
  mirror = startMirror(fake, { watchIdleMs: 200 });
  await watching();
  fake.faults.stallWatches();
  putNode(fake, "c", "1");
  await waitFor("another attempt", () => queries("watch").length >= 2);
  fake.faults.resumeWatches();
  await waitFor("the event", () => last() === "put c 1");
  expect(queries("list")).toHaveLength(1);
});

test("a list that stands still is given up", async () => {
  const hanging = createServer((_, response) => void response.write('{"metadata":{},"items":[{"me'));
  hanging.listen(0, "127.0.0.1");
  await once(hanging, "listening");
  const { port } = hanging.address() as AddressInfo;
  mirror = startMirror({ url: `http://127.0.0.1:${port}` }, { listIdleMs: 100 });
  await waitFor("the problem", () => mirror.health.some(({ problem }) => problem?.includes("stands still")));
  expect(mirror.told).toEqual([]);
  hanging.closeAllConnections();
  hanging.close();
});

test("a list that breaks off gives no half snapshot", async () => {
  fake.faults.cutLists(2);
  mirror = startMirror(fake);
  await watching();
  expect(mirror.told).toEqual(["snapshot a,b"]);
  expect(mirror.health[0]?.connected).toBe(false);
  expect(mirror.health.at(-1)).toEqual({ connected: true });
});

test("pages are read to the last; a page whose token has expired begins the list anew", async () => {
  for (let i = 0; i < 1200; i += 1) putNode(fake, `n${i}`, "1");
  mirror = startMirror(fake);
  await watching();
  expect(mirror.map.size).toBe(1202);
  // The server keeps its history no longer than a page takes: the first consistent list fails in its middle.
  await fake.faults.down();
  fake.faults.expireHistory();
  fake.faults.answer({ verb: "list", status: 410 });
  await fake.faults.up();
  await waitFor("the second snapshot", () => mirror.told.length === 2);
  expect(mirror.map.size).toBe(1202);
});

test.each([500, 503, 504])("HTTP %i is tried again, and said", async (status) => {
  fake.faults.answer({ verb: "list", status, times: 3 });
  mirror = startMirror(fake);
  await watching();
  expect(mirror.health[0]).toEqual({
    connected: false,
    problem: expect.stringMatching(new RegExp(`list nodes: HTTP ${status}`)) as string,
  });
  expect(queries("list")).toHaveLength(4);
});

test("HTTP 429 is obeyed: not before Retry-After", async () => {
  fake.faults.answer({ verb: "list", status: 429, retryAfterSeconds: 1 });
  const startedAt = performance.now();
  mirror = startMirror(fake);
  await watching();
  expect(performance.now() - startedAt).toBeGreaterThanOrEqual(990);
});

test("a missing permission names the verb, and is no reason to give up", async () => {
  fake.faults.answer({ verb: "list", resource: "nodes", status: 403, times: 2 });
  mirror = startMirror(fake);
  await watching();
  expect(mirror.health[0]?.problem).toMatch(/list nodes: HTTP 403: .*ClusterRole/);
});

test("an API that is away at start is waited for", async () => {
  await fake.faults.down();
  mirror = startMirror(fake);
  await waitFor("the problem", () => mirror.health.length > 0);
  expect(mirror.health[0]?.problem).toMatch(/ECONNREFUSED.*is the API server running/);
  await fake.faults.up();
  await watching();
  expect(mirror.told).toEqual(["snapshot a,b"]);
});

test("a history that went back (etcd restored) is listed anew, from etcd", async () => {
  mirror = startMirror(fake);
  await watching();
  const { port } = fake;
  for (let i = 0; i < 50; i += 1) putNode(fake, "a", `x${i}`);
  await waitFor("the last event", () => last() === "put a x49");
  await fake.close();
  fake = await startFakeKube({ port });
  putNode(fake, "restored", "1");
  await waitFor("the restored state", () => mirror.map.has("restored") && !mirror.map.has("a"));
});

test("nothing is told after the abort", async () => {
  mirror = startMirror(fake);
  await watching();
  await mirror.stop();
  const { length } = mirror.told;
  putNode(fake, "c", "1");
  await waitFor("the end of the watch", () => fake.watchCount() === 0);
  expect(mirror.told).toHaveLength(length);
});

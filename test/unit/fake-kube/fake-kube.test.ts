// The fake API server's own behaviour: its faults, its back door and its log, which no real server has.
import { afterEach, expect, test } from "vitest";
import { startFakeKube } from "../../support/fake-kube/fake-kube.ts";
import type { FakeKube, FakeKubeOptions } from "../../support/fake-kube/fake-kube.ts";
import { watchLines } from "../../support/fake-kube/watch-lines.ts";
import type { WatchLines } from "../../support/fake-kube/watch-lines.ts";
import { waitFor } from "../../support/wait.ts";

let fake: FakeKube | undefined;

async function start(options?: FakeKubeOptions): Promise<FakeKube> {
  fake = await startFakeKube(options);
  return fake;
}

async function openLines(url: string): Promise<WatchLines> {
  return watchLines((await fetch(url)).body ?? new ReadableStream());
}

afterEach(async () => await fake?.close());

function putNodes(kube: FakeKube, count: number): void {
  for (let i = 0; i < count; i++) kube.put("nodes", { metadata: { name: `n${String(i).padStart(4, "0")}` } });
}

async function watch(kube: FakeKube, query = ""): Promise<WatchLines> {
  const lines = await openLines(
    `${kube.url}/api/v1/nodes?watch=1&resourceVersion=${kube.revision()}${query}`,
  );
  await waitFor("the watch", () => kube.watchCount("nodes") > 0);
  return lines;
}

test("an object put by the back door is read, listed, watched and deleted", async () => {
  const kube = await start();
  const events = await watch(kube);
  const put = kube.put("nodes", { metadata: { name: "n1" }, spec: { podCIDR: "10.244.1.0/24" } });
  expect(put.metadata.uid).toBeDefined();
  kube.put("nodes", { ...put, status: { phase: "x" } });
  expect(kube.delete("nodes", "n1")).toBe(true);
  await waitFor("three events", () => events.lines.length === 3);
  expect(events.lines.map(({ type }) => type)).toEqual(["ADDED", "MODIFIED", "DELETED"]);
  expect(kube.requests).toMatchObject([{ verb: "watch", user: "system:unsecured" }]);
});

test("watches break between lines and inside one", async () => {
  const kube = await start();
  for (const where of ["between-lines", "inside-line"] as const) {
    const events = await watch(kube);
    putNodes(kube, 2);
    kube.faults.cutWatches(where);
    await expect(events.ended).rejects.toThrow();
    expect(events.rest === "").toBe(where === "between-lines");
    kube.delete("nodes", "n0000");
  }
});

test("a stalled watch says nothing, and everything when it is resumed", async () => {
  const kube = await start();
  const events = await watch(kube);
  kube.faults.stallWatches();
  putNodes(kube, 3);
  const other = await watch(kube);
  kube.faults.cutWatches("between-lines", { resource: "pods" });
  expect([events.lines.length, other.lines.length]).toEqual([0, 0]);
  kube.faults.resumeWatches();
  await waitFor("the events", () => events.lines.length === 3);
});

test("a list breaks off in its middle, once", async () => {
  const kube = await start();
  putNodes(kube, 250);
  kube.faults.cutLists(1);
  await expect(fetch(`${kube.url}/api/v1/nodes`).then((answer) => answer.text())).rejects.toThrow();
  const list = (await (await fetch(`${kube.url}/api/v1/nodes`)).json()) as { items: unknown[] };
  expect(list.items).toHaveLength(250);
});

test("a compressed list breaks off too", async () => {
  const kube = await start();
  putNodes(kube, 2000);
  kube.faults.cutLists(1);
  const answer = await fetch(`${kube.url}/api/v1/nodes`);
  expect(answer.headers.get("content-encoding")).toBe("gzip");
  await expect(answer.text()).rejects.toThrow();
});

test("requests are refused as told, those that match and so often", async () => {
  const kube = await start();
  putNodes(kube, 1);
  kube.faults.answer({ status: 429, retryAfterSeconds: 3, verb: "list", resource: "nodes", times: 2 });
  const statuses: number[] = [];
  for (const path of ["nodes/n0000", "nodes", "pods", "nodes", "nodes"]) {
    const answer = await fetch(`${kube.url}/api/v1/${path}`);
    if (answer.status === 429) {
      expect(answer.headers.get("retry-after")).toBe("3");
      // Not a Status: the real server says this in plain text.
      expect(await answer.text()).toBe("Too many requests, please try again later.\n");
    }
    statuses.push(answer.status);
  }
  expect(statuses).toEqual([200, 429, 200, 429, 200]);
});

test("a restart breaks connections; history is kept or lost", async () => {
  const kube = await start();
  const before = kube.revision();
  putNodes(kube, 1);
  for (const [history, first] of [
    ["keep", "ADDED"],
    ["lose", "ERROR"],
  ] as const) {
    const events = await watch(kube);
    kube.faults.restart(history);
    await expect(events.ended).rejects.toThrow();
    const again = await openLines(`${kube.url}/api/v1/nodes?watch=1&resourceVersion=${before}`);
    await waitFor("a line", () => again.lines.length > 0);
    expect(again.lines[0]?.type).toBe(first);
  }
  kube.faults.expiredWatchAs = "status";
  expect((await fetch(`${kube.url}/api/v1/nodes?watch=1&resourceVersion=${before}`)).status).toBe(410);
});

test("a server that is down refuses connections and comes back on its port", async () => {
  const kube = await start();
  await kube.faults.down();
  await expect(fetch(`${kube.url}/version`)).rejects.toThrow();
  await kube.faults.up();
  expect((await fetch(`${kube.url}/version`)).status).toBe(200);
});

test("a frozen server answers nothing until it thaws", async () => {
  const kube = await start();
  kube.faults.freeze();
  const answer = fetch(`${kube.url}/api/v1/nodes`);
  const first = await Promise.race([answer, new Promise((resolve) => setTimeout(resolve, 100, "silence"))]);
  expect(first).toBe("silence");
  kube.faults.thaw();
  expect((await answer).status).toBe(200);
});

test("bookmarks come by themselves unless dropped", async () => {
  const kube = await start({ bookmarkIntervalMs: 10 });
  kube.faults.dropBookmarks = true;
  const events = await watch(kube, "&allowWatchBookmarks=true");
  putNodes(kube, 1);
  await waitFor("the node", () => events.lines.length > 0);
  expect(events.lines.map(({ type }) => type)).toEqual(["ADDED"]);
  kube.faults.dropBookmarks = false;
  await waitFor("a bookmark", () => events.lines.length > 1);
  expect(events.lines[1]).toMatchObject({
    type: "BOOKMARK",
    object: { kind: "Node", metadata: { resourceVersion: String(kube.revision()) } },
  });
});

test("a full history expires the oldest events alone", async () => {
  const kube = await start({ historyLimit: 10 });
  const before = kube.revision();
  putNodes(kube, 11);
  const path = `${kube.url}/api/v1/nodes?watch=1&resourceVersion=`;
  const old = await openLines(`${path}${before}`);
  await waitFor("the error", () => old.lines.length > 0);
  expect(old.lines).toMatchObject([{ type: "ERROR", object: { code: 410, reason: "Expired" } }]);
  const recent = await openLines(`${path}${kube.revision() - 2}`);
  await waitFor("two events", () => recent.lines.length === 2);
});

// Conformance: watches, what they resume from, how they end, and bookmarks.
import { expect, test } from "vitest";
import type { KubeObject } from "../../support/fake-kube/objects.ts";
import { waitFor } from "../../support/wait.ts";
import { expectRefusal, MERGE_PATCH, NODES, revisionOf, takeLines, uniqueName } from "./target.ts";
import type { Api } from "./target.ts";

export function watchingCases(api: Api): void {
  const currentRevision = async (): Promise<string> =>
    revisionOf((await api.call("GET", NODES)).body as { metadata: { resourceVersion: string } });
  const label = (name: string, labels: object): Promise<unknown> =>
    api.patch(`${NODES}/${name}`, MERGE_PATCH, { metadata: { labels } });

  test("a watch from a revision gives what came after it, whole objects with their kind", async () => {
    const name = uniqueName();
    const before = await api.createNode(`${name}-before`, { labels: { set: name } });
    const watch = await api.watch(
      `${NODES}?watch=1&labelSelector=set%3D${name}&resourceVersion=${revisionOf(before)}`,
    );
    const created = await api.createNode(name, { labels: { set: name } });
    await label(name, { more: "1" });
    await api.call("DELETE", `${NODES}/${name}`);
    const lines = await takeLines(watch, 3);
    expect(lines.map(({ type }) => type)).toEqual(["ADDED", "MODIFIED", "DELETED"]);
    expect(lines[0]?.object).toMatchObject({
      kind: "Node",
      apiVersion: "v1",
      metadata: { name, uid: created.metadata.uid },
    });
    const revisions = lines.map(({ object }) => Number(revisionOf(object)));
    expect(revisions[0]).toBe(Number(revisionOf(created)));
    // A deletion has a revision of its own, so that a watch can go on from it.
    expect(revisions.toSorted((a, b) => a - b)).toEqual(revisions);
    expect(new Set(revisions).size).toBe(3);
    expect(lines[2]?.object.metadata.labels).toMatchObject({ more: "1" });
  });

  test.each(["", "&resourceVersion=0"])(
    "a watch without a revision (%j) begins with what is there",
    async (query) => {
      const name = uniqueName();
      const created = await api.createNode(name, { labels: { set: name } });
      const watch = await api.watch(`${NODES}?watch=true&labelSelector=set%3D${name}${query}`);
      await takeLines(watch, 1);
      await label(name, { more: "1" });
      const lines = await takeLines(watch, 2);
      expect(lines.map(({ type }) => type)).toEqual(["ADDED", "MODIFIED"]);
      expect(revisionOf(lines[0]!.object)).toBe(revisionOf(created));
    },
  );

  test("with a selector, an object that begins to match is added and one that stops is deleted as it was", async () => {
    const name = uniqueName();
    const from = revisionOf(await api.createNode(name));
    const watch = await api.watch(`${NODES}?watch=1&labelSelector=set%3D${name}&resourceVersion=${from}`);
    await label(name, { set: name });
    await label(name, { set: "other" });
    await label(name, { unseen: "1" });
    await label(name, { set: name });
    const lines = await takeLines(watch, 3);
    expect(lines.map(({ type }) => type)).toEqual(["ADDED", "DELETED", "ADDED"]);
    expect(lines[1]?.object.metadata.labels).toEqual({ set: name });
    expect(Number(revisionOf(lines[1]!.object))).toBeGreaterThan(Number(revisionOf(lines[0]!.object)));
  });

  test("a field selector follows one object", async () => {
    const name = uniqueName();
    const from = await currentRevision();
    const watch = await api.watch(
      `${NODES}?watch=1&fieldSelector=metadata.name%3D${name}&resourceVersion=${from}`,
    );
    await api.createNode(`${name}-other`);
    await api.createNode(name);
    const lines = await takeLines(watch, 1);
    expect(lines.map(({ object }) => object.metadata.name)).toEqual([name]);
  });

  test("a write that changes nothing is no event and no new revision", async () => {
    const name = uniqueName();
    const created = await api.createNode(name, { labels: { set: name } });
    const watch = await api.watch(
      `${NODES}?watch=1&labelSelector=set%3D${name}&resourceVersion=${revisionOf(created)}`,
    );
    const unchanged = await api.patch(`${NODES}/${name}`, MERGE_PATCH, {
      metadata: { labels: { set: name } },
    });
    expect(revisionOf(unchanged.body as KubeObject)).toBe(revisionOf(created));
    await label(name, { more: "1" });
    expect(await takeLines(watch, 1)).toMatchObject([{ object: { metadata: { labels: { more: "1" } } } }]);
  });

  test("a watch ends in good order at its timeout", async () => {
    const watch = await api.watch(
      `${NODES}?watch=1&timeoutSeconds=1&resourceVersion=${await currentRevision()}`,
    );
    expect(watch.status).toBe(200);
    await watch.ended;
    expect(watch.rest).toBe("");
  });

  test("a restart breaks the stream, and what was before it is expired", async () => {
    const name = uniqueName();
    const old = revisionOf(await api.createNode(name));
    await label(name, { more: "1" });
    const watch = await api.watch(`${NODES}?watch=1&resourceVersion=${await currentRevision()}`);
    await api.target().restart();
    await expect(watch.ended).rejects.toThrow();
    const expired = await api.watch(`${NODES}?watch=1&resourceVersion=${old}`);
    // Not a refusal but a stream with one line.
    expect(expired.status).toBe(200);
    expect(await takeLines(expired, 1)).toMatchObject([
      {
        type: "ERROR",
        object: {
          kind: "Status",
          status: "Failure",
          reason: "Expired",
          code: 410,
          message: expect.stringMatching(/^too old resource version: \d+ \(\d+\)$/) as string,
        },
      },
    ]);
    await expired.ended;
    const resumed = await api.watch(
      `${NODES}?watch=1&fieldSelector=metadata.name%3D${name}&resourceVersion=${await currentRevision()}`,
    );
    await label(name, { more: "2" });
    expect(await takeLines(resumed, 1)).toMatchObject([{ type: "MODIFIED" }]);
  });

  test("bookmarks come to those who ask, with a revision to go on from and an empty object", async () => {
    const name = uniqueName();
    const from = revisionOf(await api.createNode(name));
    const query = `watch=1&fieldSelector=metadata.name%3D${name}&resourceVersion=${from}`;
    const asking = await api.watch(`${NODES}?${query}&allowWatchBookmarks=true`);
    const silent = await api.watch(`${NODES}?${query}`);
    // Something that the watch itself does not show.
    await api.createNode(`${name}-other`);
    await waitFor("a bookmark", () => asking.lines.length > 0, { timeoutMs: 90_000 });
    expect(asking.lines[0]?.type).toBe("BOOKMARK");
    const { object } = asking.lines[0]!;
    expect(object).toMatchObject({ kind: "Node", apiVersion: "v1", metadata: { creationTimestamp: null } });
    expect(object.metadata).not.toHaveProperty("name");
    expect(Number(revisionOf(object))).toBeGreaterThan(Number(from));
    expect(silent.lines).toEqual([]);
  }, 120_000);

  test("a streamed list (sendInitialEvents) is refused or not understood, as in every server before 1.27", async () => {
    const streamed = "watch=1&sendInitialEvents=true&allowWatchBookmarks=true";
    const refused = await api.call("GET", `${NODES}?${streamed}&resourceVersionMatch=NotOlderThan`);
    expectRefusal(refused, 422, "Invalid", /resourceVersionMatch is forbidden for watch/);
    const name = uniqueName();
    await api.createNode(name);
    const watch = await api.watch(
      `${NODES}?${streamed}&timeoutSeconds=1&fieldSelector=metadata.name%3D${name}`,
    );
    await watch.ended;
    // The object comes, the bookmark that ends the list does not.
    expect(watch.lines.filter(({ type }) => type !== "BOOKMARK")).toMatchObject([{ type: "ADDED" }]);
    for (const { object } of watch.lines) expect(object.metadata).not.toHaveProperty("annotations");
  });

  test("a watch from a revision that is no number is refused", async () => {
    const refused = await api.call("GET", `${NODES}?watch=1&resourceVersion=abc`);
    expectRefusal(refused, 500, "", /strconv.ParseUint: parsing "abc": invalid syntax/);
  });
}

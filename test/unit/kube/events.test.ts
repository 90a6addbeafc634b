// Events about our Node: written once, counted, limited, and never a burden.
import { afterEach, beforeEach, expect, test } from "vitest";
import { createEventWriter } from "../../../src/kube/events.ts";
import type { EventWriter, NodeEvent } from "../../../src/kube/events.ts";
import { startFakeKube } from "../../support/fake-kube/fake-kube.ts";
import type { FakeKube } from "../../support/fake-kube/fake-kube.ts";
import { clientOf } from "../../support/kube-mirror.ts";
import { memoryLogger } from "../../support/memory-logger.ts";
import { waitFor } from "../../support/wait.ts";

let fake: FakeKube;
let writer: EventWriter;
let log: ReturnType<typeof memoryLogger>;
let nowMs = Date.UTC(2026, 0, 2, 3, 4, 5);
const stop = new AbortController();
beforeEach(async () => {
  fake = await startFakeKube();
  log = memoryLogger();
  writer = createEventWriter(
    { nodeName: "n1" },
    { client: clientOf(fake), log, now: () => nowMs, retryMs: 10 },
    stop.signal,
  );
});
afterEach(() => fake.close());

const event = (reason: string): NodeEvent => ({ type: "Warning", reason, message: `${reason} happened` });
async function write(...reasons: readonly string[]): Promise<void> {
  for (const reason of reasons) writer.write(event(reason));
  await writer.idle();
}
const counts = () => fake.list("events").map(({ reason, count }) => `${String(reason)} ${String(count)}`);

test("where kubectl describe node finds it", async () => {
  await write("Trouble");
  expect(fake.list("events")[0]).toMatchObject({
    metadata: { namespace: "default", name: expect.stringMatching(/^n1\.[0-9a-f]{16}$/) as string },
    involvedObject: { apiVersion: "v1", kind: "Node", name: "n1", uid: "n1" },
    type: "Warning",
    reason: "Trouble",
    message: "Trouble happened",
    source: { component: "flanneld", host: "n1" },
    firstTimestamp: "2026-01-02T03:04:05Z",
    lastTimestamp: "2026-01-02T03:04:05Z",
    count: 1,
  });
});

test("the same again only counts, and is written at most each ten minutes", async () => {
  await write("Trouble", "Trouble", "Trouble");
  expect(counts()).toEqual(["Trouble 1"]);
  nowMs += 11 * 60_000;
  await write("Trouble");
  expect(counts()).toEqual(["Trouble 4"]);
});

test("an event that the API has forgotten is made anew", async () => {
  await write("Trouble");
  const [{ metadata }] = fake.list("events") as [ReturnType<FakeKube["list"]>[number]];
  fake.delete("events", metadata.name, "default");
  nowMs += 11 * 60_000;
  await write("Trouble");
  expect(counts()).toEqual(["Trouble 1"]);
});

test("a flood is cut, and the writer recovers", async () => {
  await write(...Array.from({ length: 100 }, (_, i) => `Flood${i}`));
  expect(fake.list("events")).toHaveLength(10);
  nowMs += 60_000;
  await write("After1", "After2", "After3");
  expect(fake.list("events")).toHaveLength(12);
});

test("no permission is one warning with the rule that is missing, and no more requests", async () => {
  fake.faults.answer({ verb: "create", resource: "events", status: 403, times: Number.POSITIVE_INFINITY });
  await write("A");
  await write("B");
  await write("C");
  expect(log.lines.filter(({ level }) => level === "warn")).toHaveLength(1);
  expect(log.lines[0]?.fields["cure"]).toContain("resources: [events], verbs: [create, patch]");
  expect(fake.requests).toHaveLength(1);
});

test("an API that is away costs nothing, not even the event", async () => {
  await fake.faults.down();
  for (const reason of ["A", "B"]) writer.write(event(reason));
  await waitFor("an attempt", () => log.lines.length > 0);
  expect(log.lines.filter(({ level }) => level !== "debug")).toEqual([]);
  await fake.faults.up();
  await write("C");
  expect(counts().toSorted()).toEqual(["A 1", "B 1", "C 1"]);
});

test("an event that the API does not want is dropped, and the next one is written", async () => {
  fake.faults.answer({ verb: "create", resource: "events", status: 422, times: 1 });
  await write("A", "B");
  expect(counts()).toEqual(["B 1"]);
});

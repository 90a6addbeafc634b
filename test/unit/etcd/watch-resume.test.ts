// Where a cut watch goes on, response by response.
import type { IEvent, IWatchResponse } from "etcd3";
import { describe, expect, test } from "vitest";
import { resumeFrom, stepWatch } from "../../../src/etcd/watch-resume.ts";

function put(revision: number): IEvent {
  const kv = {
    key: Buffer.from("/k"),
    value: Buffer.from("v"),
    create_revision: "1",
    mod_revision: String(revision),
    version: "1",
    lease: "0",
  };
  // The enumeration says numbers; the wire format is decoded to names.
  return { type: "Put", kv, prev_kv: kv } as unknown as IEvent;
}

function response(revision: number, more: Partial<IWatchResponse> = {}): IWatchResponse {
  const header = { cluster_id: "1", member_id: "1", revision: String(revision), raft_term: "1" };
  const plain = {
    created: false,
    canceled: false,
    compact_revision: "0",
    cancel_reason: "",
    fragment: false,
  };
  return { header, watch_id: "0", ...plain, events: [], ...more };
}

describe("the resume point", () => {
  test("is not moved by the confirmation, whose header is the store's revision", () => {
    const { point, step } = stepWatch(resumeFrom(5n), response(3000, { created: true }));
    expect(point.next).toBe(5n);
    expect(step).toEqual({ type: "created", storeRevision: 3000n });
  });

  test("follows the events, not the header", () => {
    const { point, step } = stepWatch(resumeFrom(5n), response(3000, { events: [put(5), put(8)] }));
    expect(point.next).toBe(9n);
    expect(step).toMatchObject({
      type: "events",
      events: [{ kv: { modRevision: 5n } }, { kv: { modRevision: 8n } }],
    });
  });

  test("follows the header of a progress notification, forwards only", () => {
    expect(stepWatch(resumeFrom(5n), response(70)).point.next).toBe(71n);
    expect(stepWatch(resumeFrom(100n), response(70)).point.next).toBe(100n);
  });

  test("waits for the last fragment", () => {
    const first = stepWatch(resumeFrom(5n), response(9, { fragment: true, events: [put(5), put(6)] }));
    expect(first.step.type).toBe("nothing");
    expect(first.point.next).toBe(5n);
    const last = stepWatch(first.point, response(9, { events: [put(6), put(7)] }));
    expect(last.step).toMatchObject({ type: "events", events: { length: 4 } });
    expect(last.point).toEqual(resumeFrom(8n));
  });

  test("passes over events that have been delivered", () => {
    const { step } = stepWatch(resumeFrom(6n), response(9, { events: [put(5), put(6)] }));
    expect(step).toMatchObject({ type: "events", events: { length: 1 } });
  });
});

describe("the end of a watch", () => {
  test("compaction", () => {
    const compacted = response(200, { canceled: true, compact_revision: "102" });
    expect(stepWatch(resumeFrom(5n), compacted).step).toEqual({ type: "compacted", compactRevision: 102n });
  });

  test("a refusal, which comes as a confirmation that is cancelled", () => {
    const refused = response(200, { created: true, canceled: true, cancel_reason: "permission denied" });
    expect(stepWatch(resumeFrom(5n), refused).step).toEqual({
      type: "canceled",
      reason: "permission denied",
    });
  });

  test("forgets the fragments, which will be sent again", () => {
    const { point } = stepWatch(resumeFrom(5n), response(9, { fragment: true, events: [put(5)] }));
    expect(stepWatch(point, response(9, { canceled: true })).point).toEqual(resumeFrom(5n));
  });
});

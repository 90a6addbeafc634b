// Is a store that answers again the one that we knew? By what its answers carry, and by what it had at our revision.
import { describe, expect, test } from "vitest";
import type { HistoryMark, KeyValue, WatchEvent } from "../../../src/etcd/client.ts";
import { describeOtherHistory, foldHistory, historyOfList } from "../../../src/etcd/history.ts";
import type { KnownHistory } from "../../../src/etcd/history.ts";

const STORE = { clusterId: "7", raftTerm: 4n };

function kv(
  key: string,
  modRevision: bigint,
  createRevision = modRevision,
  leaseId = `lease of ${key}`,
): KeyValue {
  return { key, value: "", createRevision, modRevision, leaseId };
}
const put = (value: KeyValue): WatchEvent => ({ type: "put", kv: value });
const gone = (key: string, modRevision: bigint): WatchEvent => ({ type: "delete", key, modRevision });

const known = historyOfList([kv("a", 5n), kv("b", 9n, 3n)], STORE);
const same: HistoryMark = { store: STORE, count: 2, newest: kv("b", 9n) };

describe("a store that answers again", () => {
  test.each<{ name: string; found: HistoryMark; why: string | undefined }>([
    { name: "as it was", found: same, why: undefined },
    { name: "after an election", found: { ...same, store: { ...STORE, raftTerm: 5n } }, why: undefined },
    { name: "of another cluster", found: { ...same, store: { ...STORE, clusterId: "8" } }, why: "its cluster ID is 8 and was 7" },
    { name: "made anew with the same flags", found: { ...same, store: { ...STORE, raftTerm: 2n } }, why: "its raft term is 2 and was 4" },
    { name: "with more keys at our revision", found: { ...same, count: 3 }, why: "it had 3 keys then and not 2" },
    { name: "with none", found: { store: STORE, count: 0 }, why: "it had 0 keys then and not 2" },
    { name: "that wrote another key last", found: { ...same, newest: kv("a", 9n) }, why: "b was not written last then" },
    { name: "that wrote it at another revision", found: { ...same, newest: kv("b", 8n) }, why: "b was not written last then" },
    { name: "that wrote it under another lease", found: { ...same, newest: kv("b", 9n, 3n, "x") }, why: "b was not written last then" },
    { name: "of a client that does not say which it is", found: { count: 2, newest: kv("b", 9n) }, why: undefined },
  ])("$name", ({ found, why }) => {
    expect(describeOtherHistory(known, found)).toBe(why);
  }); // prettier-ignore
});

test("what is known follows the events: what the store says at their end is the same history", () => {
  const events = [
    put(kv("c", 10n)),
    // One transaction: any of them may be the one that the store names.
    put(kv("d", 11n)),
    put(kv("a", 11n, 5n)),
    gone("c", 12n),
    gone("d", 13n),
  ];
  const ends: readonly HistoryMark[] = [
    { count: 3, newest: kv("c", 10n) },
    { count: 4, newest: kv("d", 11n) },
    { count: 4, newest: kv("d", 11n) },
    { count: 3, newest: kv("a", 11n) },
    { count: 2, newest: kv("a", 11n) },
  ];
  let now: KnownHistory = known;
  for (const [i, event] of events.entries()) {
    now = foldHistory(now, event);
    expect(describeOtherHistory(now, ends[i]!), `after event ${i}`).toBeUndefined();
  }
  // The key that was written last goes: only the count is left to compare.
  now = foldHistory(now, gone("a", 14n));
  expect(describeOtherHistory(now, { count: 1, newest: kv("b", 9n) })).toBeUndefined();
  expect(describeOtherHistory(now, { count: 2, newest: kv("b", 9n) })).toContain("2 keys");
});

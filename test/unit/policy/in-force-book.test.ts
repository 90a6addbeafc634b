// Since when a policy is in force: from the first complete pass that knew it as it is now.
import { expect, it } from "vitest";
import { createInForceBook } from "../../../src/policy/in-force-book.ts";
import type { Policy } from "../../../src/policy/snapshot.ts";
import { policyOf } from "../../support/policy-cluster.ts";

const DENY = policyOf("x/deny", "{podSelector: {}}");
const put = (object: Policy) => ({ type: "put", kind: "policies", object }) as const;

it("says nothing of a policy until a pass that knew it is complete", () => {
  const book = createInForceBook();
  const early = book.beginPass();
  book.onEvent(put(DENY));
  early.done(1);
  expect(book.since("x/deny")).toBeUndefined();
  const pass = book.beginPass();
  expect(book.since("x/deny")).toBeUndefined();
  pass.done(2);
  expect(book.since("x/deny")).toBe(2);
  book.beginPass().done(3);
  expect(book.since("x/deny")).toBe(2);
});

it("waits for the next pass when one has failed", () => {
  const book = createInForceBook();
  book.onEvent(put(DENY));
  book.beginPass().failed();
  expect(book.since("x/deny")).toBeUndefined();
  book.beginPass().done(5);
  expect(book.since("x/deny")).toBe(5);
});

it("begins anew with each change, and not with an object that is only told again", () => {
  const book = createInForceBook();
  const first = { ...DENY, uid: "u", generation: 1 };
  book.onEvent(put(first));
  book.beginPass().done(1);
  book.onEvent(put({ ...first }));
  book.onEvent({ type: "snapshot", kind: "policies", objects: [{ ...first }] });
  expect(book.since("x/deny")).toBe(1);
  const second = { ...first, generation: 2 };
  book.onEvent(put(second));
  expect(book.since("x/deny")).toBeUndefined();
  book.beginPass().done(2);
  expect(book.since("x/deny")).toBe(2);
  // The same name, another object.
  book.onEvent(put({ ...second, uid: "v" }));
  expect(book.since("x/deny")).toBeUndefined();
});

it("compares what objects without a generation say", () => {
  const book = createInForceBook();
  book.onEvent(put(DENY));
  book.beginPass().done(1);
  book.onEvent(put(policyOf("x/deny", "{podSelector: {}}")));
  expect(book.since("x/deny")).toBe(1);
  book.onEvent(put(policyOf("x/deny", "{podSelector: {}, policyTypes: [Egress]}")));
  expect(book.since("x/deny")).toBeUndefined();
});

it("forgets what is removed or missing in a snapshot, even while a pass runs", () => {
  const book = createInForceBook();
  book.onEvent(put(DENY));
  const pass = book.beginPass();
  book.onEvent({ type: "removed", kind: "policies", key: "x/deny" });
  pass.done(1);
  expect(book.since("x/deny")).toBeUndefined();
  book.onEvent(put(DENY));
  book.beginPass().done(2);
  book.onEvent({ type: "snapshot", kind: "policies", objects: [] });
  expect(book.since("x/deny")).toBeUndefined();
});

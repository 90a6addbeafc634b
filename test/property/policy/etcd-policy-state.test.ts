// Policy objects in etcd: following every event comes to the same as reading all keys anew, whatever the events.
import * as fc from "fast-check";
import { expect, test } from "vitest";
import type { KeyValue } from "../../../src/etcd/client.ts";
import { SILENT_LOGGER } from "../../../src/net/logger.ts";
import { formatPolicyKey } from "../../../src/policy/etcd-keys.ts";
import { EtcdPolicyState } from "../../../src/policy/etcd-policy-state.ts";
import { ObjectFeed } from "../../../src/policy/object-feed.ts";
import { keyOf } from "../../../src/policy/source-objects.ts";

const PREFIX = "/net";

/** A state with what its events add up to: "kind/key" -> object. */
function follow() {
  const world = new Map<string, unknown>();
  const feed = new ObjectFeed({
    log: SILENT_LOGGER,
    onEvent: (event) => {
      if (event.type === "removed") {
        // Nothing goes that is not there.
        expect(world.delete(`${event.kind}/${event.key}`)).toBe(true);
        return;
      }
      if (event.type === "snapshot")
        for (const key of [...world.keys()].filter((known) => known.startsWith(`${event.kind}/`)))
          world.delete(key);
      for (const object of event.type === "put" ? [event.object] : event.objects) {
        const key = `${event.kind}/${keyOf(object)}`;
        // Nothing is said twice.
        if (event.type === "put") expect(world.get(key)).not.toEqual(object);
        world.set(key, object);
      }
    },
  });
  return { world, feed, state: new EtcdPolicyState(PREFIX, feed) };
}

const namespace = fc.constantFrom("a", "b");
const name = fc.constantFrom("x", "y");
const node = fc.constantFrom("n1", "n2");
const labels = fc.dictionary(fc.constantFrom("app", "tier"), fc.constantFrom("1", "2"));
const broken = fc.constantFrom(
  "",
  "{",
  "[]",
  '{"metadata":{"labels":{"app":7}}}',
  '{"metadata":7,"spec":[]}',
);
const entry = fc.oneof(
  fc.record({
    key: name.map((n) => formatPolicyKey(PREFIX, { kind: "namespaces", name: n === "x" ? "a" : "b" })),
    // Of a namespace that has become unreadable the last labels stay: not the same as from scratch, and on purpose.
    value: labels.map((l) => JSON.stringify({ metadata: { labels: l } })),
  }),
  fc.record({
    key: fc.record({ namespace, name }).map((id) => formatPolicyKey(PREFIX, { kind: "policies", ...id })),
    value: fc.oneof(
      broken,
      labels.map((l) => JSON.stringify({ spec: { podSelector: { matchLabels: l } } })),
    ),
  }),
  fc.record({
    key: fc.oneof(
      fc.record({ namespace, name }).map((id) => formatPolicyKey(PREFIX, { kind: "pods", ...id })),
      fc
        .record({ namespace, name, node })
        .map((id) => formatPolicyKey(PREFIX, { kind: "registered", ...id })),
    ),
    value: fc.oneof(
      broken,
      fc
        .record({ labels, uid: fc.constantFrom("u1", "u2"), ip: fc.constantFrom("10.0.0.1", "10.0.0.2") })
        .map(({ labels: l, uid, ip }) =>
          JSON.stringify({ metadata: { labels: l, uid }, status: { podIPs: [{ ip }] } }),
        ),
    ),
  }),
  fc.record({
    key: node.map((n) => formatPolicyKey(PREFIX, { kind: "nodes", name: n })),
    value: fc.oneof(broken, fc.constant('{"spec":{"podCIDR":"10.0.0.0/24"}}')),
  }),
  fc.record({
    key: fc.constantFrom("/net/policy/", "/net/policy/else/x", "/net/policy/pods/a", "/net/policy/pods//x"),
    value: broken,
  }),
);
const oneIn = (times: number) => fc.integer({ min: 1, max: times }).map((n) => n === times);
const step = fc.record({
  entry,
  remove: oneIn(4),
  listAgain: oneIn(20),
});

test("events and a fresh list tell of the same cluster", () => {
  fc.assert(
    fc.property(fc.array(step, { maxLength: 60, size: "max" }), (steps) => {
      const store = new Map<string, string>();
      const list = (): readonly KeyValue[] =>
        [...store]
          // As etcd lists them.
          .toSorted(([a], [b]) => (a < b ? -1 : 1))
          .map(([key, value]) => ({ key, value, createRevision: 1n, modRevision: 1n, leaseId: "0" }));
      const live = follow();
      live.state.replace([], { rewound: false });
      for (const {
        entry: { key, value },
        remove,
        listAgain,
      } of steps) {
        if (remove) {
          store.delete(key);
          live.state.remove(key);
        } else {
          store.set(key, value);
          live.state.put(key, value);
        }
        if (listAgain) live.state.replace(list(), { rewound: false });
      }
      const fresh = follow();
      fresh.state.replace(list(), { rewound: false });
      expect(Object.fromEntries(live.world)).toEqual(Object.fromEntries(fresh.world));
      expect(live.feed.skipped().toSorted(byKey)).toEqual(fresh.feed.skipped().toSorted(byKey));
    }),
    { numRuns: 500 },
  );
});

function byKey(
  a: { readonly kind: string; readonly key: string },
  b: { readonly kind: string; readonly key: string },
): number {
  return `${a.kind}/${a.key}` < `${b.kind}/${b.key}` ? -1 : 1;
}

// Properties of the pure parts of the etcd store: codecs round-trip, and no cut or fragment loses or repeats an event.
import type { IEvent, IWatchResponse } from "etcd3";
import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import { resumeFrom, stepWatch } from "../../src/etcd/watch-resume.ts";
import {
  formatLeaseKey,
  formatLeaseValue,
  parseLeaseKey,
  parseLeaseValue,
  readLeaseEntry,
} from "../../src/ipam/etcd-lease-codec.ts";
import { cidrOf } from "../../src/net/cidr.ts";
import { bigintToIp } from "../../src/net/ip.ts";

const ip4 = fc.integer({ min: 0, max: 2 ** 32 - 1 }).map((n) => bigintToIp(4, BigInt(n)));
const ip6 = fc.bigInt({ min: 0n, max: 2n ** 128n - 1n }).map((n) => bigintToIp(6, n));
const subnet = fc.tuple(ip4, fc.integer({ min: 8, max: 32 })).map(([ip, length]) => cidrOf(ip, length));
const subnet6 = fc.tuple(ip6, fc.integer({ min: 16, max: 128 })).map(([ip, length]) => cidrOf(ip, length));
/** JSON values whose keys do not differ in case alone, which Go would merge. */
const data = fc.oneof(
  fc.string({ unit: "binary" }),
  fc.record({ VNI: fc.nat(), VtepMAC: fc.string() }),
  fc.array(fc.oneof(fc.boolean(), fc.integer(), fc.string())),
);

describe("lease codec", () => {
  test("keys", () => {
    const subnets = fc.record({ subnet, subnet6 }, { requiredKeys: ["subnet"] });
    fc.assert(
      fc.property(subnets, (value) => {
        expect(parseLeaseKey("/net", formatLeaseKey("/net", value))).toEqual(value);
      }),
    );
  });

  test("values", () => {
    const attributes = fc.record(
      { publicIp: ip4, publicIp6: ip6, backendType: fc.string(), backendData: data, backendData6: data },
      { requiredKeys: ["publicIp", "backendType"] },
    );
    fc.assert(
      fc.property(attributes, (value) => {
        const text = formatLeaseValue(value);
        expect(text).not.toMatch(/[<>&\u2028\u2029]/);
        expect(parseLeaseValue(text)).toEqual(value);
      }),
    );
  });

  test("no key and no value, however strange, makes it throw", () => {
    const name = fc.oneof(
      fc.string(),
      fc.stringMatching(/^[0-9.]{1,15}-\d{1,3}(&[0-9a-f:]{1,20}-\d{1,3})?$/),
    );
    fc.assert(
      fc.property(name, fc.oneof(fc.string(), fc.json()), (text, value) => {
        const entry = readLeaseEntry("/net", `/net/subnets/${text}`, value);
        expect(entry.lease === undefined).toBe(entry.reason !== undefined);
      }),
    );
  });
});

/** A store in which revision n has 1 to 3 events, and a server that replays it in batches and fragments. */
describe("watch", () => {
  const header = (revision: number) => ({
    cluster_id: "1",
    member_id: "1",
    revision: String(revision),
    raft_term: "1",
  });
  const event = (revision: number, i: number): IEvent => {
    const kv = {
      key: Buffer.from(`/k/${revision}/${i}`),
      value: Buffer.alloc(0),
      create_revision: String(revision),
      mod_revision: String(revision),
      version: "1",
      lease: "0",
    };
    return { type: "Put", kv, prev_kv: kv } as unknown as IEvent;
  };
  const reply = (head: number, more: Partial<IWatchResponse>): IWatchResponse => ({
    header: header(head),
    watch_id: "0",
    created: false,
    canceled: false,
    compact_revision: "0",
    cancel_reason: "",
    fragment: false,
    events: [],
    ...more,
  });

  test("each event once and in order, over any batches, fragments, notifications and cuts", () => {
    const scenario = fc.record({
      sizes: fc.array(fc.integer({ min: 1, max: 3 }), { minLength: 1, maxLength: 40 }),
      batch: fc.integer({ min: 1, max: 10 }),
      fragment: fc.integer({ min: 1, max: 5 }),
      // Responses that each stream lives for; the last one lives for ever.
      cuts: fc.array(fc.integer({ min: 1, max: 12 }), { maxLength: 8 }),
    });
    fc.assert(
      fc.property(scenario, ({ sizes, batch, fragment, cuts }) => {
        const head = sizes.length;
        const eventsOf = (revision: number) =>
          Array.from({ length: sizes[revision - 1]! }, (_, i) => event(revision, i));
        function* stream(from: number): Generator<IWatchResponse> {
          yield reply(head, { created: true });
          for (let first = from; first <= head; first += batch) {
            const revisions = Array.from({ length: Math.min(batch, head + 1 - first) }, (_, i) => first + i);
            const events = revisions.flatMap(eventsOf);
            for (let i = 0; i < events.length; i += fragment) {
              const more = i + fragment < events.length;
              yield reply(head, { fragment: more, events: events.slice(i, i + fragment) });
            }
          }
          yield reply(head, {});
        }
        let point = resumeFrom(1n);
        const seen: string[] = [];
        for (const lifetime of [...cuts, Number.POSITIVE_INFINITY]) {
          point = resumeFrom(point.next);
          let left = lifetime;
          for (const response of stream(Number(point.next))) {
            if (left-- <= 0) break;
            const { point: next, step } = stepWatch(point, response);
            point = next;
            if (step.type === "events")
              seen.push(...step.events.map((e) => (e.type === "put" ? e.kv.key : e.key)));
          }
        }
        expect(seen).toEqual(
          sizes.flatMap((size, r) => Array.from({ length: size }, (_, i) => `/k/${r + 1}/${i}`)),
        );
        expect(point.next).toBe(BigInt(head + 1));
      }),
    );
  });
});

// The pod book after any events is what a daemon that starts now, with the same API and the same files, would have.
import * as fc from "fast-check";
import { expect, it } from "vitest";
import type { StoredAttachment } from "../../../src/daemon/policy/attachment.ts";
import { attachmentId } from "../../../src/daemon/policy/attachment.ts";
import { PodBook } from "../../../src/daemon/policy/pod-book.ts";
import type { PodEvent } from "../../../src/daemon/policy/pod-book.ts";
import { parseIp } from "../../../src/net/ip.ts";
import { objectKey } from "../../../src/policy/snapshot.ts";
import type { Pod } from "../../../src/policy/snapshot.ts";

const NAMES = ["p", "q", "r"] as const;
const IPS = ["10.0.0.1", "10.0.0.2", "10.0.0.3"].map(parseIp);
const UIDS = ["u1", "u2"] as const;

const pod = fc
  .record({
    name: fc.constantFrom(...NAMES),
    uid: fc.constantFrom(...UIDS),
    nodeName: fc.constantFrom("n1", "n2"),
    ips: fc.uniqueArray(fc.constantFrom(...IPS), { maxLength: 2 }),
  })
  .map(({ name, uid, nodeName, ips }): Pod => ({
    name,
    uid,
    nodeName,
    ips,
    namespace: "a",
    labels: {},
    hostNetwork: false,
    finished: false,
    terminating: false,
    ports: [],
  }));

const attachment = fc
  .record({
    name: fc.constantFrom(...NAMES),
    uid: fc.constantFrom(...UIDS),
    containerId: fc.constantFrom("c1", "c2", "c3", "c4"),
    ips: fc.uniqueArray(fc.constantFrom(...IPS), { minLength: 1, maxLength: 1 }),
  })
  .map(({ name, uid, containerId, ips }): StoredAttachment => ({
    name,
    uid,
    containerId,
    ips,
    namespace: "a",
    ifName: "eth0",
    labels: {},
    ports: [],
    attachedAtMs: 0,
    detached: false,
  }));

type Step =
  | { readonly do: "put"; readonly pod: Pod }
  | { readonly do: "remove"; readonly name: string }
  | { readonly do: "list" }
  | { readonly do: "attach" | "detach"; readonly attachment: StoredAttachment };

const step: fc.Arbitrary<Step> = fc.oneof(
  pod.map((some): Step => ({ do: "put", pod: some })),
  fc.constantFrom(...NAMES).map((name): Step => ({ do: "remove", name })),
  fc.constant<Step>({ do: "list" }),
  attachment.map((some): Step => ({ do: "attach", attachment: some })),
  attachment.map((some): Step => ({ do: "detach", attachment: some })),
);

function openBook(stored: readonly StoredAttachment[]) {
  const graph = new Map<string, Pod>();
  const disk = new Map(stored.map((each) => [attachmentId(each), each]));
  const emit = (event: PodEvent): void => {
    if (event.type === "put") graph.set(objectKey(event.object), event.object);
    else if (event.type === "removed") graph.delete(event.key);
    else {
      graph.clear();
      for (const object of event.objects) graph.set(objectKey(object), object);
    }
  };
  const book = new PodBook(
    { nodeName: "n1", selfDescribing: false },
    {
      emit,
      save: (each) => disk.set(attachmentId(each), each),
      remove: (key) => disk.delete(attachmentId(key)),
      now: () => 0,
    },
    stored,
  );
  return { graph, disk, book };
}

function describe(graph: ReadonlyMap<string, Pod>): readonly string[] {
  return [...graph.values()]
    .map(({ name, uid, nodeName, ips }) => `${name} ${uid} ${nodeName} ${ips.toSorted().join()}`)
    .toSorted();
}

it("is as after a start, and no address is two local pods' by attachment", () => {
  fc.assert(
    fc.property(fc.array(step, { maxLength: 25 }), (steps) => {
      const api = new Map<string, Pod>();
      const running = openBook([]);
      const list = (): PodEvent => ({ type: "snapshot", kind: "pods", objects: [...api.values()] });
      running.book.apply(list());
      for (const one of steps) {
        if (one.do === "put") {
          api.set(objectKey(one.pod), one.pod);
          running.book.apply({ type: "put", kind: "pods", object: one.pod });
        } else if (one.do === "remove") {
          api.delete(`a/${one.name}`);
          running.book.apply({ type: "removed", kind: "pods", key: `a/${one.name}` });
        } else if (one.do === "list") running.book.apply(list());
        else if (one.do === "attach") running.book.attach(one.attachment);
        else running.book.detach(one.attachment);
      }
      const started = openBook([...running.disk.values()]);
      started.book.apply(list());
      expect(describe(running.graph)).toEqual(describe(started.graph));
      const attached = running.book.attachments.flatMap(({ ips }) => ips);
      expect(new Set(attached).size).toBe(attached.length);
      for (const each of running.book.attachments) {
        const isAdmitted = running.book.admittedAt(each) !== undefined;
        const known = running.graph.get(objectKey(each));
        const isHere = known?.nodeName === "n1" && known.uid === each.uid;
        expect(isAdmitted).toBe(isHere && each.ips.every((ip) => known.ips.includes(ip)));
      }
    }),
    { numRuns: 500 },
  );
});

// Pods as the API and CNI ADD tell of them, joined: whose address is whose, and when a pod is known.
import { describe, expect, it } from "vitest";
import type { StoredAttachment } from "../../../../src/daemon/policy/attachment.ts";
import { PodBook } from "../../../../src/daemon/policy/pod-book.ts";
import type { PodEvent } from "../../../../src/daemon/policy/pod-book.ts";
import { parseIp } from "../../../../src/net/ip.ts";
import { objectKey } from "../../../../src/policy/snapshot.ts";
import type { Pod } from "../../../../src/policy/snapshot.ts";

const NODE = "n1";
const HOUR_MS = 3_600_000;

function pod(name: string, ips: readonly string[], rest: Partial<Pod> = {}): Pod {
  return {
    namespace: "a",
    name,
    uid: `uid-${name}`,
    nodeName: NODE,
    labels: { app: name },
    ips: ips.map(parseIp),
    hostNetwork: false,
    finished: false,
    terminating: false,
    ports: [],
    ...rest,
  };
}

function attachment(
  name: string,
  ips: readonly string[],
  rest: Partial<StoredAttachment> = {},
): StoredAttachment {
  return {
    containerId: `c-${name}`,
    ifName: "eth0",
    namespace: "a",
    name,
    uid: `uid-${name}`,
    ips: ips.map(parseIp),
    labels: {},
    ports: [],
    attachedAtMs: 0,
    detached: false,
    ...rest,
  };
}

function start(selfDescribing: boolean, stored: readonly StoredAttachment[] = []) {
  const graph = new Map<string, Pod>();
  const disk = new Map(stored.map((each) => [each.containerId, each]));
  const clock = { ms: 0 };
  const emit = (event: PodEvent): void => {
    if (event.type === "put") graph.set(objectKey(event.object), event.object);
    else if (event.type === "removed") graph.delete(event.key);
    else {
      graph.clear();
      for (const object of event.objects) graph.set(objectKey(object), object);
    }
  };
  const book = new PodBook(
    { nodeName: NODE, selfDescribing },
    {
      emit,
      save: (each) => disk.set(each.containerId, each),
      remove: ({ containerId }) => disk.delete(containerId),
      now: () => clock.ms,
    },
    stored,
  );
  const put = (object: Pod): void => book.apply({ type: "put", kind: "pods", object });
  const snapshot = (...objects: readonly Pod[]): void =>
    book.apply({ type: "snapshot", kind: "pods", objects });
  const remove = (key: string): void => book.apply({ type: "removed", kind: "pods", key });
  const ips = (name: string): readonly string[] | undefined => graph.get(`a/${name}`)?.ips;
  return { book, graph, disk, clock, put, snapshot, remove, ips };
}

describe("on Kubernetes", () => {
  it("gives a pod the address that ADD has told before the API shows it", () => {
    const { book, put, ips } = start(false);
    put(pod("web", []));
    book.attach(attachment("web", ["10.0.0.5"]));
    expect(ips("web")).toEqual(["10.0.0.5"]);
    put(pod("web", ["10.0.0.5"]));
    expect(ips("web")).toEqual(["10.0.0.5"]);
  });

  it("does not know a pod that the API has not shown: nobody could say which policies it is under", () => {
    const { book, graph, put, ips } = start(false);
    book.attach(attachment("web", ["10.0.0.5"]));
    expect(graph.size).toBe(0);
    expect(book.admittedAt(attachment("web", []))).toBeUndefined();
    put(pod("web", []));
    expect(ips("web")).toEqual(["10.0.0.5"]);
    expect(book.admittedAt(attachment("web", []))).toBe(book.revision);
  });

  it("waits for the new incarnation of a name, whose labels may be others", () => {
    const { book, put, ips } = start(false);
    put(pod("web", ["10.0.0.4"], { uid: "old" }));
    book.attach(attachment("web", ["10.0.0.5"], { uid: "new" }));
    expect(ips("web")).toEqual(["10.0.0.4"]);
    put(pod("web", [], { uid: "new" }));
    expect(ips("web")).toEqual(["10.0.0.5"]);
  });

  it("closes the last incarnation's address when ADD gives it to the next one, until the API shows that", () => {
    const { book, put, ips } = start(false);
    put(pod("web", ["10.0.0.5"], { uid: "old" }));
    book.attach(attachment("web", ["10.0.0.5"], { uid: "new" }));
    expect(ips("web")).toEqual([]);
    expect(book.admittedAt(attachment("web", []))).toBeUndefined();
    put(pod("web", [], { uid: "new" }));
    expect(ips("web")).toEqual(["10.0.0.5"]);
    expect(book.admittedAt(attachment("web", []))).toBe(book.revision);
  });

  it("takes an address from a pod whose end the API has not told yet when ADD gives it to another", () => {
    const { book, put, ips } = start(false);
    put(pod("old", ["10.0.0.5"]));
    put(pod("new", []));
    book.attach(attachment("new", ["10.0.0.5"]));
    expect(ips("old")).toEqual([]);
    expect(ips("new")).toEqual(["10.0.0.5"]);
  });

  it("closes an address at DEL, whatever the API still shows, also after a restart", () => {
    const { book, disk, put, ips } = start(false);
    put(pod("web", ["10.0.0.5"]));
    book.attach(attachment("web", ["10.0.0.5"]));
    expect(book.detach(attachment("web", []))).toBe(true);
    expect(ips("web")).toEqual([]);
    put(pod("web", ["10.0.0.5"], { terminating: true }));
    expect(ips("web")).toEqual([]);
    const restarted = start(false, [...disk.values()]);
    restarted.snapshot(pod("web", ["10.0.0.5"]));
    expect(restarted.ips("web")).toEqual([]);
    restarted.remove("a/web");
    expect(restarted.disk.size).toBe(0);
  });

  it("follows a pod to a new sandbox", () => {
    const { book, put, ips } = start(false);
    put(pod("web", ["10.0.0.5"]));
    book.attach(attachment("web", ["10.0.0.5"]));
    book.attach(attachment("web", ["10.0.0.6"], { containerId: "second", attachedAtMs: 1 }));
    expect(ips("web")).toEqual(["10.0.0.6"]);
    expect(book.attachments.map(({ containerId }) => containerId)).toEqual(["second"]);
  });

  it("keeps what it has read from disk until the list shows the pod, and drops it when the pod is gone", () => {
    const stored = [attachment("web", ["10.0.0.5"]), attachment("gone", ["10.0.0.6"])];
    const { disk, clock, snapshot, remove, ips } = start(false, stored);
    clock.ms = HOUR_MS;
    snapshot(pod("web", []), pod("other", ["10.9.0.1"], { nodeName: "n2" }));
    expect(ips("web")).toEqual(["10.0.0.5"]);
    expect([...disk.keys()]).toEqual(["c-web"]);
    remove("a/web");
    expect(disk.size).toBe(0);
  });

  it("keeps a young attachment that an older list does not show", () => {
    const { book, snapshot, put, ips } = start(false);
    book.attach(attachment("web", ["10.0.0.5"]));
    snapshot();
    put(pod("web", []));
    expect(ips("web")).toEqual(["10.0.0.5"]);
  });

  it("lets pods of other nodes pass, and a pod that moves away", () => {
    const { put, remove, ips, graph } = start(false);
    put(pod("web", ["10.9.0.1"], { nodeName: "n2" }));
    expect(ips("web")).toEqual(["10.9.0.1"]);
    put(pod("web", ["10.0.0.5"]));
    put(pod("web", ["10.9.0.2"], { nodeName: "n2", uid: "moved" }));
    expect(ips("web")).toEqual(["10.9.0.2"]);
    remove("a/web");
    expect(graph.size).toBe(0);
  });

  it("is told nothing when ADD repeats itself", () => {
    const { book, put } = start(false);
    put(pod("web", []));
    book.attach(attachment("web", ["10.0.0.5"]));
    const { revision } = book;
    book.attach(attachment("web", ["10.0.0.5"], { attachedAtMs: 7 }));
    expect(book.revision).toBe(revision);
  });
});

describe("on etcd", () => {
  it("knows a pod by what ADD tells, at once and after a restart", () => {
    const { book, graph, disk } = start(true);
    book.attach(attachment("web", ["10.0.0.5"], { labels: { app: "x" } }));
    expect(graph.get("a/web")).toMatchObject({ labels: { app: "x" }, ips: ["10.0.0.5"], nodeName: NODE });
    expect(book.admittedAt(attachment("web", []))).toBe(book.revision);
    expect(start(true, [...disk.values()]).ips("web")).toEqual(["10.0.0.5"]);
  });

  it("takes changed labels from the store", () => {
    const { book, graph, put } = start(true);
    book.attach(attachment("web", ["10.0.0.5"], { labels: { app: "x" } }));
    put(pod("web", ["10.0.0.5"], { labels: { app: "y" } }));
    expect(graph.get("a/web")?.labels).toEqual({ app: "y" });
  });

  it("gives the next incarnation of a name what people have declared of it, and nothing of the last one", () => {
    const { book, graph, put } = start(true);
    put(pod("web", [], { uid: "", nodeName: "", labels: { tier: "db" } }));
    book.attach(attachment("web", ["10.0.0.5"], { labels: { app: "x" } }));
    expect(graph.get("a/web")?.labels).toEqual({ app: "x", tier: "db" });
    put(pod("web", ["10.0.0.5"], { labels: { app: "x", tier: "db" } }));
    book.attach(
      attachment("web", ["10.0.0.6"], { uid: "second", containerId: "second", labels: { app: "y" } }),
    );
    expect(graph.get("a/web")).toMatchObject({ ips: ["10.0.0.6"], labels: { app: "y", tier: "db" } });
  });

  it("keeps a pod whose registration the store has lost, until DEL", () => {
    const { book, graph, disk, put, remove, snapshot, ips } = start(true);
    book.attach(attachment("web", ["10.0.0.5"]));
    put(pod("web", ["10.0.0.5"]));
    remove("a/web");
    expect(ips("web")).toEqual(["10.0.0.5"]);
    snapshot();
    expect(ips("web")).toEqual(["10.0.0.5"]);
    book.detach(attachment("web", []));
    expect(graph.size + disk.size).toBe(0);
  });

  it("joins the interfaces of one pod", () => {
    const { book, ips } = start(true);
    book.attach(attachment("web", ["10.0.0.5"]));
    book.attach(attachment("web", ["fd00::5"], { ifName: "net1" }));
    expect(ips("web")?.toSorted()).toEqual(["10.0.0.5", "fd00::5"]);
  });
});

it("changes nothing if the disk refuses", () => {
  const book = new PodBook(
    { nodeName: NODE, selfDescribing: true },
    {
      emit: () => {
        throw new Error("emitted");
      },
      save: () => {
        throw new Error("disk full");
      },
      remove: () => undefined,
      now: () => 0,
    },
  );
  expect(() => book.attach(attachment("web", ["10.0.0.5"]))).toThrow("disk full");
  expect(book.attachments).toEqual([]);
});

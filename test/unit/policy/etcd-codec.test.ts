// Keys and values of policy objects in etcd, and what becomes of several words about one pod.
import { describe, expect, it } from "vitest";
import { SILENT_LOGGER } from "../../../src/net/logger.ts";
import { parseIp } from "../../../src/net/ip.ts";
import { mergePod, readStoredObject } from "../../../src/policy/etcd-codec.ts";
import { formatPolicyKey, isKeySegment, parsePolicyKey } from "../../../src/policy/etcd-keys.ts";
import type { PolicyKey } from "../../../src/policy/etcd-keys.ts";
import { EtcdPolicyState } from "../../../src/policy/etcd-policy-state.ts";
import { ObjectFeed } from "../../../src/policy/object-feed.ts";
import type { Pod } from "../../../src/policy/snapshot.ts";

describe("keys", () => {
  it.each<[string, PolicyKey]>([
    ["/net/policy/namespaces/shop", { kind: "namespaces", name: "shop" }],
    ["/net/policy/policies/shop/web.v1", { kind: "policies", namespace: "shop", name: "web.v1" }],
    ["/net/policy/pods/shop/web", { kind: "pods", namespace: "shop", name: "web" }],
    ["/net/policy/nodes/192.0.2.1", { kind: "nodes", name: "192.0.2.1" }],
    [
      "/net/policy/nodes/n1/pods/shop/web",
      { kind: "registered", node: "n1", namespace: "shop", name: "web" },
    ],
  ])("%s", (text, key) => {
    expect(formatPolicyKey("/net", key)).toBe(text);
    expect(parsePolicyKey("/net", text)).toEqual(key);
  });

  it.each([
    "/net/subnets/10.5.1.0-24",
    "/net/policy",
    "/net/policy/",
    "/net/policy/namespaces",
    "/net/policy/namespaces/",
    "/net/policy/namespaces/a/b",
    "/net/policy/policies/a",
    "/net/policy/policies//a",
    "/net/policy/nodes/n1/pods/a",
    "/net/policy/nodes/n1/labels/a/b",
    "/other/policy/namespaces/a",
  ])("%s is none", (text) => {
    expect(parsePolicyKey("/net", text)).toBeUndefined();
  });

  it.each([
    ["web-1", true],
    ["192.0.2.1", true],
    ["2001:db8::1", true],
    ["My_Container", true],
    ["", false],
    ["a/b", false],
    ["..", false],
    ["a b", false],
    ["a\u001b", false],
    ["a".repeat(254), false],
  ])("%j as a part of a key: %s", (name, expected) => {
    expect(isKeySegment(name)).toBe(expected);
  });
});

describe("readStoredObject", () => {
  const names = { namespace: "shop", name: "web" };

  it("believes the key, and says where the value contradicts it", () => {
    const { input, reason } = readStoredObject(
      '{"metadata":{"name":"db","labels":{"a":"b"}},"spec":{}}',
      names,
    );
    expect(input).toEqual({ metadata: { ...names, labels: { a: "b" } }, spec: {} });
    expect(reason).toBe('metadata.name: is "db", but the key says web');
  });

  it.each(["", "{", "[]", "7", "null"])("%j is no object", (value) => {
    expect(readStoredObject(value, names)).toMatchObject({ isUnreadable: true, input: { metadata: names } });
  });
});

describe("one pod of several words", () => {
  const pod = (more: Partial<Pod>): Pod => ({
    namespace: "shop",
    name: "web",
    uid: "u",
    nodeName: "n1",
    labels: {},
    ips: [],
    hostNetwork: false,
    finished: false,
    terminating: false,
    ports: [],
    ...more,
  });
  const web80 = { name: "web", protocol: "TCP", port: 80 } as const;
  const web8080 = { name: "web", protocol: "TCP", port: 8080 } as const;
  const webUdp = { name: "web", protocol: "UDP", port: 80 } as const;

  it("where and which addresses: the node's; labels and ports of one name: the people's", () => {
    const declared = pod({
      nodeName: "",
      labels: { a: "people", b: "people" },
      ports: [web80],
      ips: [parseIp("192.0.2.9")],
    });
    const own = pod({
      labels: { a: "node", c: "node" },
      ports: [web8080, webUdp],
      ips: [parseIp("10.0.0.1")],
    });
    expect(mergePod(declared, [own])).toEqual(
      pod({
        labels: { a: "people", b: "people", c: "node" },
        ports: [web80, webUdp],
        ips: [parseIp("10.0.0.1")],
      }),
    );
    expect(mergePod(declared, [])).toBe(declared);
    expect(mergePod(undefined, [own])).toBe(own);
    expect(mergePod(undefined, [])).toBeUndefined();
  });

  it("of two nodes, the one where it began last", () => {
    const [earlier, later] = [pod({ createdAtMs: 1 }), pod({ nodeName: "n2", createdAtMs: 2 })];
    expect(mergePod(undefined, [earlier, later])).toBe(later);
    expect(mergePod(undefined, [later, earlier])).toBe(later);
  });

  // Found by the property test: each node chose whom it had heard of first.
  it("of two nodes with nothing to choose by, the same everywhere", () => {
    const choose = (...nodes: readonly string[]): unknown => {
      let last: unknown;
      const feed = new ObjectFeed({
        log: SILENT_LOGGER,
        onEvent: (event) => {
          if (event.type === "put" && event.kind === "pods") last = event.object.labels;
        },
      });
      const state = new EtcdPolicyState("/net", feed);
      for (const node of nodes)
        state.put(
          `/net/policy/nodes/${node}/pods/shop/web`,
          JSON.stringify({ metadata: { uid: "u", labels: { node } } }),
        );
      return last;
    };
    expect(choose("n2", "n1")).toEqual(choose("n1", "n2"));
  });
});

// Pods, namespaces and nodes as the API gives them.
import { describe, expect, test } from "vitest";
import { translateNamespace, translateNode, translatePod } from "../../../src/policy/translate-objects.ts";

const metadata = { namespace: "a", name: "x", uid: "u1" };

describe("pods", () => {
  test("a running pod of both families", () => {
    const { object, problems } = translatePod({
      metadata: { ...metadata, labels: { app: "web" }, creationTimestamp: "2026-01-01T00:00:00Z" },
      spec: {
        nodeName: "n1",
        containers: [{ ports: [{ name: "http", containerPort: 8080 }, { containerPort: 9 }] }],
      },
      status: { phase: "Running", podIP: "10.244.1.5", podIPs: [{ ip: "10.244.1.5" }, { ip: "FD00::5" }] },
    });
    expect(problems).toEqual([]);
    expect(object).toEqual({
      namespace: "a",
      name: "x",
      uid: "u1",
      nodeName: "n1",
      labels: { app: "web" },
      ips: ["10.244.1.5", "fd00::5"],
      hostNetwork: false,
      finished: false,
      terminating: false,
      createdAtMs: 1_767_225_600_000,
      ports: [{ name: "http", protocol: "TCP", port: 8080 }],
    });
  });

  test("a static pod is known by the uid that its kubelet tells CNI ADD", () => {
    const annotations = { "kubernetes.io/config.mirror": "static-1" };
    expect(translatePod({ metadata: { ...metadata, annotations } }).object?.uid).toBe("static-1");
  });

  test("one address in podIP alone, and none at all", () => {
    expect(translatePod({ metadata, status: { podIP: "10.244.1.5" } }).object?.ips).toEqual(["10.244.1.5"]);
    expect(translatePod({ metadata, status: { podIP: "", podIPs: null } })).toMatchObject({
      object: { ips: [] },
      problems: [],
    });
  });

  test.for([
    { phase: "Succeeded", finished: true },
    { phase: "Failed", finished: true },
    { phase: "Pending", finished: false },
    { phase: "Unknown", finished: false },
  ])("$phase: finished $finished", ({ phase, finished }) => {
    expect(translatePod({ metadata, status: { phase } }).object?.finished).toBe(finished);
  });

  test("host network and deletion are noted", () => {
    const pod = {
      metadata: { ...metadata, deletionTimestamp: "2026-01-01T00:00:00Z" },
      spec: { hostNetwork: true },
    };
    expect(translatePod(pod).object).toMatchObject({ hostNetwork: true, terminating: true, finished: false });
  });

  test("ports of sidecars count, of init containers that end not; equal names add up", () => {
    const port = (containerPort: number, protocol?: string) => ({
      ports: [{ name: "web", containerPort, protocol }],
    });
    const spec = {
      initContainers: [{ restartPolicy: "Always", ...port(1) }, port(2)],
      containers: [port(3), port(4, "UDP"), port(5, "QUIC"), port(0)],
    };
    expect(translatePod({ metadata, spec }).object?.ports).toEqual([
      { name: "web", protocol: "TCP", port: 1 },
      { name: "web", protocol: "TCP", port: 3 },
      { name: "web", protocol: "UDP", port: 4 },
    ]);
  });

  test("rubbish becomes problems, not members", () => {
    const pod = {
      metadata: { ...metadata, labels: { a: 1, b: "c" } },
      status: { podIPs: [{ ip: "010.1.1.1" }, null] },
    };
    const { object, problems } = translatePod(pod);
    expect(object).toMatchObject({ labels: { b: "c" }, ips: [] });
    expect(problems.map(({ path }) => path)).toEqual([
      "metadata.labels.a",
      "status.podIPs[0]",
      "status.podIPs[1]",
    ]);
  });

  test.for([null, 1, {}, { metadata: { name: "x" } }])("nobody: %j", (input) => {
    expect(translatePod(input).object).toBeUndefined();
    expect(translatePod(input).problems).toHaveLength(1);
  });
});

test("a namespace always has its name as a label, and cannot have another's", () => {
  expect(translateNamespace({ metadata: { name: "a" } }).object?.labels).toEqual({
    "kubernetes.io/metadata.name": "a",
  });
  const forged = { metadata: { name: "a", labels: { "kubernetes.io/metadata.name": "b", env: "x" } } };
  expect(translateNamespace(forged).object?.labels).toEqual({ "kubernetes.io/metadata.name": "a", env: "x" });
});

test("a node is recognised by the addresses of its status, its overlay devices and its bridge", () => {
  const { object } = translateNode({
    metadata: { name: "n1" },
    spec: { podCIDR: "10.244.1.0/24", podCIDRs: ["10.244.1.0/24", "fd00:1::/64"] },
    status: {
      addresses: [
        { type: "InternalIP", address: "192.0.2.1" },
        { type: "Hostname", address: "n1" },
      ],
    },
  });
  expect(object).toEqual({
    name: "n1",
    addresses: ["192.0.2.1", "10.244.1.0", "10.244.1.1", "fd00:1::", "fd00:1::1"],
    podCidrs: ["10.244.1.0/24", "fd00:1::/64"],
  });
});

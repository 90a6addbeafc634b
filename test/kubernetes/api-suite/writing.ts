// Conformance: create, update and delete, and what the server refuses of them.
import { expect, test } from "vitest";
import type { KubeObject } from "../../support/fake-kube/objects.ts";
import {
  expectRefusal,
  MERGE_PATCH,
  NODES,
  PODS,
  POLICIES,
  revisionOf,
  takeLines,
  uniqueName,
} from "./target.ts";
import type { Api } from "./target.ts";

const EVENTS = "/api/v1/namespaces/default/events";
const CONTAINERS = [{ name: "c", image: "x" }];

export function writingCases(api: Api): void {
  const create = (path: string, body: unknown): ReturnType<Api["call"]> => api.call("POST", path, { body });
  const update = (path: string, body: unknown): ReturnType<Api["call"]> => api.call("PUT", path, { body });

  test("a created object gets a uid, a time and a revision, and a node its taint and its first podCIDR", async () => {
    const name = uniqueName();
    const created = await create(NODES, { metadata: { name }, spec: { podCIDRs: ["10.1.2.0/24"] } });
    expect(created.status).toBe(201);
    expect(created.body).toMatchObject({
      kind: "Node",
      apiVersion: "v1",
      metadata: {
        name,
        uid: expect.stringMatching(/^[0-9a-f-]{36}$/) as string,
        resourceVersion: expect.stringMatching(/^\d+$/) as string,
        creationTimestamp: expect.stringMatching(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$/) as string,
      },
      spec: {
        podCIDR: "10.1.2.0/24",
        podCIDRs: ["10.1.2.0/24"],
        taints: [{ key: "node.kubernetes.io/not-ready", effect: "NoSchedule" }],
      },
    });
    expect((await api.call("GET", `${NODES}/${name}`)).body).toEqual(created.body);
    expectRefusal(
      await create(NODES, { metadata: { name } }),
      409,
      "AlreadyExists",
      `^nodes "${name}" already exists$`,
    );
  });

  test("a name is made from generateName", async () => {
    const involvedObject = { kind: "Node", name: "n" };
    const created = await create(EVENTS, {
      metadata: { generateName: "made." },
      involvedObject,
      reason: "R",
    });
    expect(created.status, created.text).toBe(201);
    expect((created.body as KubeObject).metadata.name).toMatch(/^made\..{5}$/);
    expect(created.body).toMatchObject({ eventTime: null, firstTimestamp: null, reportingComponent: "" });
  });

  test.each([
    ["no name", {}, 422, "Invalid", /name or generateName is required/],
    [
      "a bad name",
      { name: "Bad_Name" },
      422,
      "Invalid",
      /^Node "Bad_Name" is invalid: metadata.name: Invalid value/,
    ],
    ["a bad label", { name: "x", labels: { a: "b c" } }, 422, "Invalid", /a valid label must be/],
    [
      "a number as annotation",
      { name: "x", annotations: { a: 1 } },
      400,
      "BadRequest",
      /Annotations: ReadString: expects/,
    ],
    [
      "a revision",
      { name: "x", resourceVersion: "5" },
      500,
      "",
      /should not be set on objects to be created/,
    ],
    [
      "an unqualified finalizer",
      { name: "x", finalizers: ["f"] },
      422,
      "Invalid",
      /nor is it fully qualified/,
    ],
  ])("a node with %s is refused", async (_, metadata, code, reason, message) => {
    expectRefusal(await create(NODES, { metadata }), code, reason, message);
  });

  test.each([
    [{ kind: "Pod", apiVersion: "v1", metadata: { name: "x" } }, /converting \(v1.Pod\) to \(core.Node\)/],
    [
      { kind: "Node", apiVersion: "v9", metadata: { name: "x" } },
      /no kind "Node" is registered for version "v9"/,
    ],
    ["{broken", /the object provided is unrecognized \(must be of type Node\)/],
    ["[]", /the object provided is unrecognized \(must be of type Node\)/],
  ])("what is no node is refused: %j", async (body, message) => {
    expectRefusal(await create(NODES, body), 400, "BadRequest", message);
  });

  test("an object is created in a namespace that is there, by a path that names it", async () => {
    const pod = { metadata: { name: uniqueName() }, spec: { containers: CONTAINERS } };
    const missing = await create("/api/v1/namespaces/nowhere/pods", pod);
    expectRefusal(missing, 404, "NotFound", /^namespaces "nowhere" not found$/);
    const elsewhere = { ...pod, metadata: { ...pod.metadata, namespace: "kube-system" } };
    expectRefusal(
      await create(PODS, elsewhere),
      400,
      "BadRequest",
      /namespace .* does not match the namespace/,
    );
    expectRefusal(await create("/api/v1/pods", pod), 405, "MethodNotAllowed", /does not allow this method/);
    const namespace = uniqueName();
    expect((await create("/api/v1/namespaces", { metadata: { name: namespace } })).status).toBe(201);
    const going = await api.call("DELETE", `/api/v1/namespaces/${namespace}`);
    expect(going.body).toMatchObject({ kind: "Namespace", status: { phase: "Terminating" } });
    const refused = await create(`/api/v1/namespaces/${namespace}/pods`, pod);
    expectRefusal(refused, 403, "Forbidden", /because it is being terminated$/);
  });

  test("an update needs the latest revision, or none", async () => {
    const name = uniqueName();
    const path = `${NODES}/${name}`;
    const created = await api.createNode(name);
    const first = await update(path, { ...created, metadata: { ...created.metadata, labels: { a: "1" } } });
    expect(first.status).toBe(200);
    expect(first.body).toMatchObject({ metadata: { labels: { a: "1" }, uid: created.metadata.uid } });
    const stale = await update(path, { ...created, metadata: { ...created.metadata, labels: { a: "2" } } });
    expectRefusal(
      stale,
      409,
      "Conflict",
      `^Operation cannot be fulfilled on nodes "${name}": the object has been modified; please apply your changes to the latest version and try again$`,
    );
    expect(stale.body).toMatchObject({ details: { name, kind: "nodes" } });
    const { resourceVersion: _, ...metadata } = created.metadata;
    expect((await update(path, { ...created, metadata })).status).toBe(200);
    const renamed = await update(path, { ...created, metadata: { ...metadata, name: "other" } });
    expectRefusal(
      renamed,
      400,
      "BadRequest",
      /the name of the object \(other\) does not match the name on the URL/,
    );
    const replaced = await update(path, { ...created, metadata: { ...metadata, uid: "another" } });
    expectRefusal(replaced, 409, "Conflict", /UID in precondition: another/);
    const garbled = await update(path, { ...created, metadata: { ...metadata, resourceVersion: "abc" } });
    expectRefusal(garbled, 500, "", /strconv.ParseUint: parsing "abc"/);
    const missing = await update(`${path}-not`, { metadata: { name: `${name}-not` } });
    expectRefusal(missing, 404, "NotFound", `^nodes "${name}-not" not found$`);
  });

  test("a lease is never updated without its revision", async () => {
    const name = uniqueName();
    const leases = "/apis/coordination.k8s.io/v1/namespaces/default/leases";
    const created = await create(leases, { metadata: { name }, spec: { holderIdentity: "a" } });
    expect(created.status).toBe(201);
    const blind = await update(`${leases}/${name}`, { metadata: { name }, spec: { holderIdentity: "b" } });
    expectRefusal(
      blind,
      422,
      "Invalid",
      /metadata.resourceVersion: Invalid value: 0x0: must be specified for an update$/,
    );
    const taken = await update(`${leases}/${name}`, {
      ...(created.body as object),
      spec: { holderIdentity: "b" },
    });
    expect(taken.body).toMatchObject({ spec: { holderIdentity: "b" } });
  });

  test("the status is written by itself; labels and annotations go either way", async () => {
    const name = uniqueName();
    const path = `${NODES}/${name}`;
    await api.createNode(name);
    const annotated = {
      metadata: { annotations: { a: "1" } },
      spec: { unschedulable: true },
      status: { phase: "Running" },
    };
    const viaStatus = (await api.patch(`${path}/status`, MERGE_PATCH, annotated)).body as KubeObject;
    expect(viaStatus).toMatchObject({ metadata: { annotations: { a: "1" } }, status: { phase: "Running" } });
    expect(viaStatus["spec"]).not.toHaveProperty("unschedulable");
    const viaObject = await api.patch(path, MERGE_PATCH, {
      spec: { unschedulable: true },
      status: { phase: "Pending" },
    });
    expect(viaObject.body).toMatchObject({ spec: { unschedulable: true }, status: { phase: "Running" } });
    expect((await api.call("GET", `${path}/status`)).body).toEqual(viaObject.body);
  });

  test("podCIDR is set once, and is the first of podCIDRs", async () => {
    const name = uniqueName();
    const path = `${NODES}/${name}`;
    await api.createNode(name);
    const set = await api.patch(path, MERGE_PATCH, { spec: { podCIDR: "10.1.0.0/24" } });
    expect(set.body).toMatchObject({ spec: { podCIDR: "10.1.0.0/24", podCIDRs: ["10.1.0.0/24"] } });
    const changed = await api.patch(path, MERGE_PATCH, { spec: { podCIDR: "10.2.0.0/24" } });
    expectRefusal(
      changed,
      422,
      "Invalid",
      /spec.podCIDRs: Forbidden: node updates may not change podCIDR except from "" to valid/,
    );
    // Where the two differ podCIDR is believed, and so nothing changes.
    const ignored = await api.patch(path, MERGE_PATCH, { spec: { podCIDRs: ["10.2.0.0/24"] } });
    expect(ignored.body).toMatchObject({ spec: { podCIDR: "10.1.0.0/24", podCIDRs: ["10.1.0.0/24"] } });
  });

  test("a NetworkPolicy counts changes of its spec, has no status and forgets empty lists", async () => {
    const name = uniqueName();
    const path = `${POLICIES}/${name}`;
    const created = await create(POLICIES, { metadata: { name }, spec: { podSelector: {}, egress: [] } });
    expect(created.body).toMatchObject({
      metadata: { generation: 1 },
      spec: { podSelector: {}, policyTypes: ["Ingress"] },
    });
    expect((created.body as { spec: object }).spec).not.toHaveProperty("egress");
    await api.patch(path, MERGE_PATCH, { metadata: { labels: { a: "b" } } });
    const changed = await api.patch(path, MERGE_PATCH, {
      spec: { podSelector: { matchLabels: { a: "b" } } },
    });
    expect(changed.body).toMatchObject({ metadata: { generation: 2 } });
    const refused = await api.patch(`${path}/status`, MERGE_PATCH, { metadata: {} });
    expectRefusal(refused, 404, "NotFound", /could not find the requested resource/);
    const open = await create(POLICIES, {
      metadata: { name: `${name}-e` },
      spec: { podSelector: {}, egress: [{}] },
    });
    expect(open.body).toMatchObject({ spec: { egress: [{}], policyTypes: ["Ingress", "Egress"] } });
  });

  test("an event is in the namespace of what it is about, that of a node in default", async () => {
    const name = uniqueName();
    const event = { metadata: { name }, reason: "R", message: "m", type: "Warning" };
    const pod = { kind: "Pod", name: "p", namespace: "kube-system" };
    const refused = await create(EVENTS, { ...event, involvedObject: pod });
    expectRefusal(
      refused,
      422,
      "Invalid",
      /involvedObject.namespace: Invalid value: "kube-system": does not match/,
    );
    const elsewhere = { ...event, involvedObject: { kind: "Node", name: "n" } };
    const node = await create("/api/v1/namespaces/kube-system/events", elsewhere);
    expectRefusal(node, 422, "Invalid", /involvedObject.namespace/);
    expect((await create(EVENTS, elsewhere)).status).toBe(201);
    const counted = await api.patch(`${EVENTS}/${name}`, MERGE_PATCH, { count: 2 });
    expect(counted.body).toMatchObject({ count: 2, message: "m" });
  });

  test("a deleted object is gone at once, and its answer says what it was", async () => {
    const name = uniqueName();
    const { uid } = (await api.createNode(name)).metadata;
    const path = `${NODES}/${name}`;
    const wrongUid = await api.call("DELETE", path, { body: { preconditions: { uid: "another" } } });
    expectRefusal(
      wrongUid,
      409,
      "Conflict",
      /the UID in the precondition \(another\) does not match the UID in record/,
    );
    const stale = await api.call("DELETE", path, { body: { preconditions: { resourceVersion: "1" } } });
    expectRefusal(stale, 409, "Conflict", /the ResourceVersion in the precondition \(1\) does not match/);
    const deleted = await api.call("DELETE", path);
    expect(deleted.status).toBe(200);
    expect(deleted.body).toEqual({
      kind: "Status",
      apiVersion: "v1",
      metadata: {},
      status: "Success",
      details: { name, kind: "nodes", uid },
    });
    expectRefusal(await api.call("DELETE", path), 404, "NotFound", `^nodes "${name}" not found$`);
  });

  test("a pod on a node is only marked as going, until its kubelet deletes it", async () => {
    const name = uniqueName();
    const path = `${PODS}/${name}`;
    const pod = { metadata: { name }, spec: { nodeName: "some-node", containers: CONTAINERS } };
    const created = (await create(PODS, pod)).body as KubeObject;
    expect(created).toMatchObject({ status: { phase: "Pending" }, spec: { restartPolicy: "Always" } });
    const moved = await api.patch(path, MERGE_PATCH, { spec: { nodeName: "other" } });
    expectRefusal(moved, 422, "Invalid", /pod updates may not change fields other than/);
    const watch = await api.watch(
      `${PODS}?watch=1&fieldSelector=metadata.name%3D${name}&resourceVersion=${revisionOf(created)}`,
    );
    const going = await api.call("DELETE", path);
    expect(going.body).toMatchObject({ kind: "Pod", metadata: { deletionGracePeriodSeconds: 30 } });
    expect((await api.call("GET", path)).body).toMatchObject({
      metadata: { deletionTimestamp: expect.stringMatching(/Z$/) as string },
    });
    const gone = await api.call("DELETE", `${path}?gracePeriodSeconds=0`);
    expect(gone.body).toMatchObject({ kind: "Pod", metadata: { deletionGracePeriodSeconds: 0 } });
    expect((await api.call("GET", path)).status).toBe(404);
    const lines = await takeLines(watch, 3);
    // That it shall go, that it goes now, that it is gone.
    expect(lines.map(({ type }) => type)).toEqual(["MODIFIED", "MODIFIED", "DELETED"]);
  });

  test("a pod on no node goes at once", async () => {
    const name = uniqueName();
    await create(PODS, { metadata: { name }, spec: { containers: CONTAINERS } });
    expect((await api.call("DELETE", `${PODS}/${name}`)).body).toMatchObject({ kind: "Pod" });
    expect((await api.call("GET", `${PODS}/${name}`)).status).toBe(404);
  });

  test("an object with finalizers goes with the last of them", async () => {
    const name = uniqueName();
    const path = `${NODES}/${name}`;
    await api.createNode(name, { finalizers: ["example.com/one"] });
    expect((await api.call("DELETE", path)).body).toMatchObject({
      kind: "Node",
      metadata: { deletionTimestamp: expect.stringMatching(/Z$/) as string, deletionGracePeriodSeconds: 0 },
    });
    expect((await api.patch(path, MERGE_PATCH, { metadata: { labels: { a: "b" } } })).status).toBe(200);
    expect((await api.patch(path, MERGE_PATCH, { metadata: { finalizers: null } })).status).toBe(200);
    expect((await api.call("GET", path)).status).toBe(404);
  });

  test("a collection is deleted by selector", async () => {
    const set = uniqueName();
    for (const name of [`${set}-a`, `${set}-b`]) await api.createNode(name, { labels: { set } });
    await api.createNode(`${set}-c`);
    const deleted = await api.call("DELETE", `${NODES}?labelSelector=set%3D${set}`);
    expect(deleted.body).toMatchObject({ kind: "NodeList", items: [{}, {}] });
    expect((await api.call("GET", `${NODES}/${set}-a`)).status).toBe(404);
    expect((await api.call("GET", `${NODES}/${set}-c`)).status).toBe(200);
  });
}

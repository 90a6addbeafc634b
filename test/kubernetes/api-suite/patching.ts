// Conformance: the four kinds of patch, what each does, and what each refuses.
import { beforeEach, expect, test } from "vitest";
import type { KubeObject } from "../../support/fake-kube/objects.ts";
import {
  APPLY_PATCH,
  expectRefusal,
  JSON_PATCH,
  MERGE_PATCH,
  NODES,
  STRATEGIC_PATCH,
  uniqueName,
} from "./target.ts";
import type { Api } from "./target.ts";

export function patchingCases(api: Api): void {
  let name = "";
  let path = "";
  beforeEach(async () => {
    name = uniqueName();
    path = `${NODES}/${name}`;
    await api.createNode(name, { annotations: { a: "1", "x/y": "2" } });
  });
  const patched = async (contentType: string, body: unknown, query = ""): Promise<KubeObject> => {
    const { status, text, body: object } = await api.patch(`${path}${query}`, contentType, body);
    expect(status, text).toBe(200);
    return object as KubeObject;
  };
  const refused = async (
    contentType: string,
    body: unknown,
    ...refusal: [code: number, reason: string, message: RegExp]
  ): Promise<void> => expectRefusal(await api.patch(path, contentType, body), ...refusal);

  test.each(["application/json", "text/plain", "application/yaml", ""])(
    "a patch of content type %j is refused",
    async (contentType) => {
      await refused(
        contentType,
        { metadata: {} },
        415,
        "UnsupportedMediaType",
        /^415: Unsupported Media Type$/,
      );
    },
  );

  test("the content type may name a charset", async () => {
    const annotations = { b: "2" };
    const { metadata } = await patched(`${MERGE_PATCH}; charset=utf-8`, { metadata: { annotations } });
    expect(metadata.annotations).toMatchObject({ a: "1", b: "2" });
  });

  test("an object sent as JSON patch is refused: the mistake that clients make", async () => {
    await refused(
      JSON_PATCH,
      { metadata: { annotations: { a: "2" } } },
      400,
      "BadRequest",
      /^json: cannot unmarshal object into Go value of type jsonpatch.Patch$/,
    );
  });

  test("a JSON patch applies its operations in order", async () => {
    const { metadata } = await patched(JSON_PATCH, [
      { op: "test", path: "/metadata/name", value: name },
      { op: "replace", path: "/metadata/annotations/a", value: "7" },
      { op: "remove", path: "/metadata/annotations/x~1y" },
      // This library takes it for "add".
      { op: "replace", path: "/metadata/annotations/new", value: "3" },
      { op: "copy", from: "/metadata/annotations/a", path: "/metadata/annotations/b" },
      { op: "move", from: "/metadata/annotations/b", path: "/metadata/annotations/c" },
      { op: "add", path: "/metadata/finalizers", value: ["example.com/one"] },
      { op: "add", path: "/metadata/finalizers/-", value: "example.com/three" },
      { op: "add", path: "/metadata/finalizers/1", value: "example.com/two" },
    ]);
    expect(metadata.annotations).toEqual({ a: "7", new: "3", c: "7" });
    expect(metadata.finalizers).toEqual(["example.com/one", "example.com/two", "example.com/three"]);
  });

  test.each([
    ["a test that fails", [{ op: "test", path: "/metadata/annotations/a", value: "9" }]],
    ["a removal of nothing", [{ op: "remove", path: "/metadata/annotations/none" }]],
    ["a replacement below nothing", [{ op: "replace", path: "/metadata/none/below", value: "1" }]],
    ["an addition below nothing", [{ op: "add", path: "/metadata/none/below", value: "1" }]],
    ["an unknown operation", [{ op: "bogus", path: "/metadata/annotations/a", value: "1" }]],
  ])("a JSON patch with %s is refused", async (_, operations) => {
    await refused(
      JSON_PATCH,
      operations,
      422,
      "Invalid",
      /^the server rejected our request due to an error in our request$/,
    );
  });

  test("a merge patch merges objects, deletes by null and replaces lists", async () => {
    const conditions = [
      { type: "A", status: "True" },
      { type: "B", status: "True" },
    ];
    await patched(MERGE_PATCH, { status: { conditions } }, "/status");
    const { metadata } = await patched(MERGE_PATCH, {
      metadata: { annotations: { a: null, b: "2", none: null } },
    });
    expect(metadata.annotations).toEqual({ "x/y": "2", b: "2" });
    const { status } = await patched(
      MERGE_PATCH,
      { status: { conditions: [{ type: "C", status: "True" }] } },
      "/status",
    );
    expect((status as { conditions: object[] }).conditions).toMatchObject([{ type: "C" }]);
  });

  test.each([
    ["broken JSON", "{broken", 500, "", /^Invalid JSON Patch$/],
    ["a text", '"text"', 500, "", /^Invalid JSON Patch$/],
    ["a list", "[]", 422, "Invalid", /^ "" is invalid: patch: Invalid value: "\[\]"/],
    [
      "a number as annotation",
      { metadata: { annotations: { a: 1 } } },
      422,
      "Invalid",
      /^ "" is invalid: patch: Invalid value/,
    ],
    [
      "another name",
      { metadata: { name: "other" } },
      400,
      "BadRequest",
      /the name of the object \(other\) does not match/,
    ],
    [
      "an old revision",
      { metadata: { resourceVersion: "1" } },
      409,
      "Conflict",
      /the object has been modified/,
    ],
    ["a bad label", { metadata: { labels: { a: "b c" } } }, 422, "Invalid", /a valid label must be/],
  ])("a merge patch with %s is refused", async (_, body, code, reason, message) => {
    await refused(MERGE_PATCH, body, code, reason, message);
  });

  test("a strategic merge patch merges conditions by type, addresses by type and finalizers as a set", async () => {
    const condition = (type: string, status: string, reason?: string): object => ({
      type,
      status,
      ...(reason && { reason }),
    });
    await patched(STRATEGIC_PATCH, {
      status: {
        conditions: [condition("Ready", "True"), condition("NetworkUnavailable", "True", "NoRouteCreated")],
        addresses: [{ type: "InternalIP", address: "192.0.2.1" }, { type: "Hostname", address: "h" }],
      },
    }, "/status"); // prettier-ignore
    const { status } = await patched(
      STRATEGIC_PATCH,
      {
        status: {
          conditions: [condition("NetworkUnavailable", "False", "FlannelIsUp"), condition("New", "True")],
          addresses: [{ type: "InternalIP", address: "192.0.2.2" }],
        },
      },
      "/status",
    );
    expect(status).toMatchObject({
      conditions: [
        { type: "Ready", status: "True", lastHeartbeatTime: null },
        { type: "NetworkUnavailable", status: "False", reason: "FlannelIsUp" },
        { type: "New", status: "True" },
      ],
      addresses: [
        { type: "InternalIP", address: "192.0.2.2" },
        { type: "Hostname", address: "h" },
      ],
    });
    await patched(STRATEGIC_PATCH, { metadata: { finalizers: ["example.com/one"] } });
    const second = await patched(STRATEGIC_PATCH, { metadata: { finalizers: ["example.com/two"] } });
    expect(second.metadata.finalizers).toEqual(["example.com/two", "example.com/one"]);
  });

  test("a strategic merge patch deletes by null and by directive, and replaces lists without a key", async () => {
    const conditions = ["A", "B", "C"].map((type) => ({ type, status: "True" }));
    await patched(STRATEGIC_PATCH, { status: { conditions } }, "/status");
    const deleted = await patched(
      STRATEGIC_PATCH,
      { status: { conditions: [{ type: "B", $patch: "delete" }] } },
      "/status",
    );
    expect(deleted["status"]).toMatchObject({ conditions: [{ type: "A" }, { type: "C" }] });
    const replacement = [{ $patch: "replace" }, { type: "D", status: "True" }];
    const replaced = await patched(STRATEGIC_PATCH, { status: { conditions: replacement } }, "/status");
    expect(replaced["status"]).toMatchObject({ conditions: [{ type: "D" }] });
    const { status } = await patched(STRATEGIC_PATCH, { status: { conditions: null } }, "/status");
    expect(status).not.toHaveProperty("conditions");
    const { metadata } = await patched(STRATEGIC_PATCH, { metadata: { annotations: { a: null } } });
    expect(metadata.annotations).toEqual({ "x/y": "2" });
    const { spec } = await patched(STRATEGIC_PATCH, {
      spec: { taints: [{ key: "k", effect: "NoSchedule" }] },
    });
    expect((spec as { taints: object[] }).taints).toEqual([{ key: "k", effect: "NoSchedule" }]);
    await patched(STRATEGIC_PATCH, { metadata: { finalizers: ["example.com/one", "example.com/two"] } });
    const fewer = await patched(STRATEGIC_PATCH, {
      metadata: { "$deleteFromPrimitiveList/finalizers": ["example.com/one"] },
    });
    expect(fewer.metadata.finalizers).toEqual(["example.com/two"]);
  });

  test.each([
    ["broken JSON", "{broken", 400, "BadRequest", /^invalid character/],
    [
      "a list",
      "[]",
      400,
      "BadRequest",
      /^json: cannot unmarshal array into Go value of type map\[string\]interface \{\}$/,
    ],
    [
      "a number as annotation",
      { metadata: { annotations: { a: 1 } } },
      422,
      "Invalid",
      /^ "" is invalid: patch: Invalid value/,
    ],
    [
      "an old revision",
      { metadata: { resourceVersion: "1" } },
      409,
      "Conflict",
      /the object has been modified/,
    ],
  ])("a strategic merge patch with %s is refused", async (_, body, code, reason, message) => {
    await refused(STRATEGIC_PATCH, body, code, reason, message);
  });

  test("a strategic merge patch of a list that is there needs the merge key in each item", async () => {
    const keyless = { status: { conditions: [{ status: "True" }] } };
    await patched(STRATEGIC_PATCH, { status: { conditions: [{ type: "A", status: "True" }] } }, "/status");
    const refusal = await api.patch(`${path}/status`, STRATEGIC_PATCH, keyless);
    expectRefusal(refusal, 500, "", /^map: map\[status:True\] does not contain declared merge key: type$/);
    await patched(STRATEGIC_PATCH, { status: { conditions: null } }, "/status");
    // Where there is no list yet nothing is merged, and nothing looked for.
    await patched(STRATEGIC_PATCH, keyless, "/status");
  });

  test("an apply patch changes what it names, and creates what is not there", async () => {
    const applied = { apiVersion: "v1", kind: "Node", metadata: { annotations: { b: "2" } } };
    const { metadata } = await patched(APPLY_PATCH, applied, "?fieldManager=me");
    expect(metadata.annotations).toEqual({ a: "1", "x/y": "2", b: "2" });
    const text = `apiVersion: v1\nkind: Node\nmetadata:\n  name: ${name}-new\n`;
    const created = await api.patch(`${path}-new?fieldManager=me`, APPLY_PATCH, text);
    expect(created.status).toBe(201);
    expect(created.body).toMatchObject({ kind: "Node", metadata: { name: `${name}-new` } });
  });

  test("an apply patch without a manager, a version or an object is refused, and force belongs to it alone", async () => {
    const applied = { apiVersion: "v1", kind: "Node" };
    await refused(
      APPLY_PATCH,
      applied,
      422,
      "Invalid",
      /^PatchOptions.meta.k8s.io "" is invalid: fieldManager: Required value/,
    );
    const query = `${path}?fieldManager=me`;
    const unversioned = await api.patch(query, APPLY_PATCH, { kind: "Node" });
    expectRefusal(unversioned, 400, "BadRequest", /^Incorrect version specified in apply patch/);
    expectRefusal(await api.patch(query, APPLY_PATCH, "[]"), 400, "BadRequest", /^error decoding YAML/);
    // YAML 1.1: y is a boolean.
    const yes = "apiVersion: v1\nkind: Node\nmetadata: {annotations: {b: y}}";
    expectRefusal(
      await api.patch(query, APPLY_PATCH, yes),
      500,
      "",
      /^failed to create typed patch object: .metadata.annotations.b/,
    );
    const forced = await api.patch(`${path}?force=true`, MERGE_PATCH, { metadata: {} });
    expectRefusal(forced, 422, "Invalid", /force: Forbidden: may not be specified for non-apply patch$/);
  });

  test("a patch of what is not there is refused", async () => {
    const missing = await api.patch(`${path}-not`, MERGE_PATCH, { metadata: {} });
    expectRefusal(missing, 404, "NotFound", `^nodes "${name}-not" not found$`);
  });
}

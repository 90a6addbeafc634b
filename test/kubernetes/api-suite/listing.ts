// Conformance: lists, pages, revisions of lists and selectors.
import { expect, test } from "vitest";
import type { KubeObject } from "../../support/fake-kube/objects.ts";
import type { KubeAnswer } from "../../support/kube-caller.ts";
import { expectRefusal, NODES, PODS, POLICIES, revisionOf, uniqueName } from "./target.ts";
import type { Api } from "./target.ts";

interface List {
  readonly kind: string;
  readonly metadata: {
    readonly resourceVersion: string;
    readonly continue?: string;
    readonly remainingItemCount?: number;
  };
  readonly items: readonly KubeObject[];
}

export function listingCases(api: Api): void {
  const list = async (query: string, path = NODES): Promise<List> => {
    const { status, text, body } = await api.call("GET", `${path}?${query}`);
    expect(status, text).toBe(200);
    return body as List;
  };
  const names = ({ items }: List): string[] => items.map(({ metadata }) => metadata.name);
  const createNodes = async (set: string, count: number): Promise<string[]> => {
    const created: string[] = [];
    for (let i = 0; i < count; i++) {
      const node = await api.createNode(`${set}-${i}`, { labels: { set, index: String(i) } });
      created.push(node.metadata.name);
    }
    return created;
  };

  test("a list is in the order of names, and its items carry no kind", async () => {
    const set = uniqueName();
    const created = await createNodes(set, 3);
    const all = await list(`labelSelector=set%3D${set}`);
    expect(all).toMatchObject({ kind: "NodeList", apiVersion: "v1" });
    expect(names(all)).toEqual(created);
    expect(all.items[0]).not.toHaveProperty("kind");
    expect(Number(revisionOf(all.items[2]!))).toBeLessThanOrEqual(Number(all.metadata.resourceVersion));
    expect(all.metadata).not.toHaveProperty("continue");
    expect(await list("labelSelector=set%3Dnobody")).toMatchObject({ items: [] });
  });

  test("pages show how things were when the first was read", async () => {
    const set = uniqueName();
    const created = await createNodes(set, 5);
    const query = `labelSelector=set%3D${set}&limit=2`;
    const first = await list(query);
    expect(names(first)).toEqual(created.slice(0, 2));
    // With a selector nobody counts the rest.
    expect(first.metadata).not.toHaveProperty("remainingItemCount");
    await api.call("DELETE", `${NODES}/${created[2]}`);
    await api.createNode(`${set}-9`, { labels: { set } });
    const second = await list(`${query}&continue=${first.metadata.continue}`);
    expect(names(second)).toEqual(created.slice(2, 4));
    expect(second.metadata.resourceVersion).toBe(first.metadata.resourceVersion);
    const third = await list(`${query}&continue=${second.metadata.continue}`);
    expect(names(third)).toEqual(created.slice(4));
    expect(third.metadata).not.toHaveProperty("continue");
  });

  test("a page without a selector says how many remain", async () => {
    await createNodes(uniqueName(), 3);
    const total = (await list("")).items.length;
    expect((await list("limit=1")).metadata.remainingItemCount).toBe(total - 1);
  });

  test("a list at revision 0 ignores the limit", async () => {
    const set = uniqueName();
    await createNodes(set, 3);
    const all = await list(`labelSelector=set%3D${set}&limit=1&resourceVersion=0`);
    expect(names(all).toSorted()).toEqual([0, 1, 2].map((i) => `${set}-${i}`));
    expect(all.metadata).not.toHaveProperty("continue");
  });

  test("a page whose revision is gone answers 410 and offers the rest as it is now", async () => {
    const set = uniqueName();
    const created = await createNodes(set, 4);
    const query = `labelSelector=set%3D${set}&limit=2`;
    const first = await list(query);
    await api.call("DELETE", `${NODES}/${created[2]}`);
    await api.target().compact();
    const refused: KubeAnswer = await api.call(
      "GET",
      `${NODES}?${query}&continue=${first.metadata.continue}`,
    );
    expect(refused.status).toBe(410);
    expect(refused.body).toMatchObject({
      reason: "Expired",
      code: 410,
      message: expect.stringContaining("continue parameter is too old") as string,
    });
    const rest = await list(`${query}&continue=${(refused.body as List).metadata.continue}`);
    expect(names(rest)).toEqual([created[3]]);
  });

  test("a list at an exact revision shows it, and 410 once it is gone", async () => {
    const set = uniqueName();
    await createNodes(set, 2);
    const { metadata } = await list(`labelSelector=set%3D${set}`);
    await api.createNode(`${set}-9`, { labels: { set } });
    const query = `labelSelector=set%3D${set}&resourceVersion=${metadata.resourceVersion}`;
    expect(names(await list(`${query}&resourceVersionMatch=Exact`))).toHaveLength(2);
    expect(names(await list(`${query}&limit=5`))).toHaveLength(2);
    expect(names(await list(`${query}&resourceVersionMatch=NotOlderThan&limit=5`))).toHaveLength(3);
    await api.target().compact();
    const refused = await api.call("GET", `${NODES}?${query}&resourceVersionMatch=Exact`);
    expectRefusal(refused, 410, "Expired", /resourceVersion for the provided list is too old/);
  });

  test("a revision of the future is refused with a time to try again", async () => {
    const refused = await api.call("GET", `${NODES}?resourceVersion=99999999`);
    expectRefusal(refused, 504, "Timeout", /^Timeout: Too large resource version: 99999999, current: \d+$/);
    expect(refused.body).toMatchObject({
      details: { causes: [{ reason: "ResourceVersionTooLarge" }], retryAfterSeconds: 1 },
    });
  });

  test.each([
    ["continue=zzz", 400, "BadRequest", /continue key is not valid/],
    ["limit=abc", 400, "BadRequest", /strconv.ParseInt: parsing "abc": invalid syntax/],
    ["resourceVersion=abc", 500, "", /strconv.ParseUint: parsing "abc": invalid syntax/],
    ["resourceVersionMatch=Exact", 422, "Invalid", /forbidden unless resourceVersion is provided/],
    ["resourceVersionMatch=Some&resourceVersion=5", 422, "Invalid", /Unsupported value: "Some"/],
    ["resourceVersionMatch=Exact&resourceVersion=0", 422, "Invalid", /forbidden for resourceVersion "0"/],
    ["labelSelector=a%3Db+c", 400, "BadRequest", /found 'c', expected: ',' or 'end of string'/],
    ["labelSelector=a+b+c", 400, "BadRequest", /unable to parse requirement/],
    ["fieldSelector=spec.foo%3D1", 400, "BadRequest", /^field label not supported: spec.foo$/],
    ["fieldSelector=foo", 400, "BadRequest", /invalid selector: 'foo'; can't understand 'foo'/],
  ])("a list with %s is refused", async (query, code, reason, message) => {
    expectRefusal(await api.call("GET", `${NODES}?${query}`), code, reason, message);
  });

  test("label selectors", async () => {
    const set = uniqueName();
    await createNodes(set, 2);
    await api.createNode(`${set}-bare`, { labels: { set } });
    const select = async (selector: string): Promise<string[]> =>
      names(await list(`labelSelector=${encodeURIComponent(`set=${set},${selector}`)}`)).map((name) =>
        name.slice(set.length + 1),
      );
    expect(await select("index=0")).toEqual(["0"]);
    expect(await select("index==1")).toEqual(["1"]);
    // A label that is not there differs too.
    expect(await select("index!=0")).toEqual(["1", "bare"]);
    expect(await select("index")).toEqual(["0", "1"]);
    expect(await select("!index")).toEqual(["bare"]);
    expect(await select("index in (0, 1)")).toEqual(["0", "1"]);
    expect(await select("index notin (0,7)")).toEqual(["1", "bare"]);
  });

  test("field selectors: name, node and phase", async () => {
    const set = uniqueName();
    await createNodes(set, 2);
    expect(names(await list(`fieldSelector=metadata.name%3D${set}-1`))).toEqual([`${set}-1`]);
    for (const nodeName of [`${set}-0`, `${set}-1`]) {
      const containers = [{ name: "c", image: "x" }];
      const body = { metadata: { name: `p-${nodeName}`, labels: { set } }, spec: { nodeName, containers } };
      expect((await api.call("POST", PODS, { body })).status).toBe(201);
    }
    await api.patch(`${PODS}/p-${set}-1/status`, "application/merge-patch+json", {
      status: { phase: "Running" },
    });
    const pods = (selector: string): Promise<List> =>
      list(`labelSelector=set%3D${set}&fieldSelector=${encodeURIComponent(selector)}`, "/api/v1/pods");
    expect(names(await pods(`spec.nodeName=${set}-0`))).toEqual([`p-${set}-0`]);
    expect(names(await pods(`spec.nodeName!=${set}-0`))).toEqual([`p-${set}-1`]);
    expect(names(await pods("status.phase=Running"))).toEqual([`p-${set}-1`]);
    expect(names(await pods(`metadata.namespace=default,status.phase=Pending`))).toEqual([`p-${set}-0`]);
    const refused = await api.call("GET", `${POLICIES}?fieldSelector=spec.foo%3D1`);
    expectRefusal(refused, 400, "BadRequest", /"spec.foo" is not a known field selector/);
  });

  test("a long list is compressed for those who take it", async () => {
    const set = uniqueName();
    const annotations = { long: "x".repeat(90_000) };
    for (const name of [`${set}-a`, `${set}-b`]) await api.createNode(name, { labels: { set }, annotations });
    const ask = (encoding: string): Promise<KubeAnswer> =>
      api.call("GET", `${NODES}?labelSelector=set%3D${set}`, { headers: { "Accept-Encoding": encoding } });
    const plain = await ask("identity");
    expect(plain.headers).not.toHaveProperty("content-encoding");
    const compressed = await ask("gzip, deflate");
    expect(compressed.headers).toMatchObject({ "content-encoding": "gzip", vary: "Accept-Encoding" });
    expect(compressed.body).toEqual(plain.body);
    for (const name of [`${set}-a`, `${set}-b`]) await api.call("DELETE", `${NODES}/${name}`);
  });

  test("a path of one namespace lists that namespace alone", async () => {
    const name = uniqueName();
    const body = { metadata: { name }, data: { key: "value" } };
    expect((await api.call("POST", "/api/v1/namespaces/kube-system/configmaps", { body })).status).toBe(201);
    const query = `fieldSelector=metadata.name%3D${name}`;
    expect(names(await list(query, "/api/v1/configmaps"))).toEqual([name]);
    expect(names(await list(query, "/api/v1/namespaces/kube-system/configmaps"))).toEqual([name]);
    expect(names(await list(query, "/api/v1/namespaces/default/configmaps"))).toEqual([]);
  });
}

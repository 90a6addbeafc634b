// Conformance: who may ask, and paths that lead nowhere.
import { expect, test } from "vitest";
import { createKubeCaller } from "../../support/kube-caller.ts";
import type { KubeCallerOptions } from "../../support/kube-caller.ts";
import { expectRefusal, MERGE_PATCH, NODES, PODS, uniqueName } from "./target.ts";
import type { Api } from "./target.ts";

export function accessCases(api: Api): void {
  const as = (who: Partial<KubeCallerOptions>): ReturnType<typeof createKubeCaller> => {
    const { token: _, ...anonymous } = api.target().admin;
    return createKubeCaller({ ...anonymous, ...who });
  };

  test("a wrong token is refused", async () => {
    const refused = await as({ token: "wrong" })("GET", NODES);
    expectRefusal(refused, 401, "Unauthorized", /^Unauthorized$/);
  });

  test("nobody may do nothing", async () => {
    const refused = await as({})("GET", NODES);
    expectRefusal(
      refused,
      403,
      "Forbidden",
      /^nodes is forbidden: User "system:anonymous" cannot list resource "nodes" in API group "" at the cluster scope$/,
    );
    expect(refused.body).toMatchObject({ details: { kind: "nodes" } });
  });

  test("a client certificate stands for its owner, one by another authority for nobody", async () => {
    const { certificate, foreignCertificate } = api.target();
    expect((await as({ certificate })("GET", NODES)).status).toBe(200);
    const refused = await as({ certificate: foreignCertificate })("GET", NODES);
    expectRefusal(refused, 401, "Unauthorized", /^Unauthorized$/);
  });

  test("a role is held to its verbs, resources and subresources", async () => {
    const name = uniqueName();
    await api.createNode(name);
    const { limitedToken: token, limitedUser } = api.target();
    const limited = as({ token });
    expect((await limited("GET", NODES)).status).toBe(200);
    expect((await limited("GET", `${NODES}/${name}`)).status).toBe(200);
    const patch = { contentType: MERGE_PATCH, body: { metadata: { annotations: { a: "1" } } } };
    expect((await limited("PATCH", `${NODES}/${name}/status`, patch)).status).toBe(200);
    expectRefusal(
      await limited("PATCH", `${NODES}/${name}`, patch),
      403,
      "Forbidden",
      `^nodes "${name}" is forbidden: User "${limitedUser}" cannot patch resource "nodes" in API group "" at the cluster scope$`,
    );
    expectRefusal(
      await limited("GET", PODS),
      403,
      "Forbidden",
      `^pods is forbidden: User "${limitedUser}" cannot list resource "pods" in API group "" in the namespace "default"$`,
    );
    expectRefusal(
      await limited("GET", "/apis/networking.k8s.io/v1/networkpolicies?watch=1"),
      403,
      "Forbidden",
      `^networkpolicies.networking.k8s.io is forbidden: User "${limitedUser}" cannot watch resource "networkpolicies" in API group "networking.k8s.io" at the cluster scope$`,
    );
  });

  test("paths that lead nowhere", async () => {
    const name = uniqueName();
    await api.createNode(name);
    const nowhere = /^the server could not find the requested resource$/;
    for (const path of [
      "/api/v1/nosuch",
      `${NODES}/${name}/nosuch`,
      "/apis/networking.k8s.io/v9/networkpolicies",
    ]) {
      expectRefusal(await api.call("GET", path), 404, "NotFound", nowhere);
    }
    const missing = await api.call("GET", `${NODES}/${name}-not`);
    expectRefusal(missing, 404, "NotFound", `^nodes "${name}-not" not found$`);
    expect(missing.body).toMatchObject({ details: { name: `${name}-not`, kind: "nodes" } });
    const grouped = await api.call("GET", "/apis/networking.k8s.io/v1/namespaces/default/networkpolicies/no");
    expectRefusal(grouped, 404, "NotFound", /^networkpolicies.networking.k8s.io "no" not found$/);
    expect(grouped.body).toMatchObject({
      details: { name: "no", group: "networking.k8s.io", kind: "networkpolicies" },
    });
    expect(await api.call("GET", "/apis/nosuch/v1/things")).toMatchObject({
      status: 404,
      text: "404 page not found\n",
    });
  });

  test("health, version and discovery", async () => {
    for (const path of ["/healthz", "/livez", "/readyz"]) {
      expect(await api.call("GET", path)).toMatchObject({ status: 200, text: "ok" });
    }
    expect((await api.call("GET", "/version")).body).toMatchObject({ major: "1", minor: "20" });
    expect((await api.call("GET", "/api/v1")).body).toMatchObject({
      kind: "APIResourceList",
      groupVersion: "v1",
      resources: expect.arrayContaining([
        expect.objectContaining({ name: "nodes", kind: "Node", namespaced: false }),
        expect.objectContaining({ name: "pods/status", kind: "Pod", namespaced: true }),
      ]) as unknown,
    });
  });
}

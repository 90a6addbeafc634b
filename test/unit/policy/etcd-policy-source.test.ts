// The policy source over a store that loses events without a word.
import { expect, test } from "vitest";
import { formatPolicyKey } from "../../../src/policy/etcd-keys.ts";
import { createEtcdPolicySource } from "../../../src/policy/etcd-policy-source.ts";
import type { PolicyEvent } from "../../../src/policy/source.ts";
import { createFakeEtcd } from "../../support/fake-etcd-client.ts";
import { forgetful, manualTimers } from "../../support/silent-loss.ts";
import { waitFor } from "../../support/wait.ts";

const keyOf = (name: string): string =>
  formatPolicyKey("/net", { kind: "policies", namespace: "shop", name });
const policy = (name: string): string =>
  JSON.stringify({
    apiVersion: "networking.k8s.io/v1",
    kind: "NetworkPolicy",
    metadata: { namespace: "shop", name },
    spec: { podSelector: {} },
  });

test("policies that go and come while nobody hears of it are in force rightly with the next list", async () => {
  const store = createFakeEtcd({ [keyOf("old")]: policy("old") });
  const { after, fire, pendingMs } = manualTimers();
  const source = createEtcdPolicySource({ client: forgetful(store, () => true), prefix: "/net" }, { after });
  const stop = new AbortController();
  const policies = new Set<string>();
  const onEvent = (event: PolicyEvent): void => {
    if (event.kind !== "policies") return;
    if (event.type === "snapshot") policies.clear();
    if (event.type === "snapshot") for (const { name } of event.objects) policies.add(name);
    if (event.type === "put") policies.add(event.object.name);
    if (event.type === "removed") policies.delete(event.key.replace("shop/", ""));
  };
  const ended = source.watch(onEvent, stop.signal);
  await waitFor("the first list", () => pendingMs().length === 1);
  expect([...policies]).toEqual(["old"]);
  await store.delete(keyOf("old"));
  await store.put(keyOf("new"), policy("new"));
  fire();
  await waitFor("the next list", () => pendingMs().length === 1);
  expect([...policies]).toEqual(["new"]);
  stop.abort();
  await ended;
});

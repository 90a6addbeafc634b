// Requests to the API over TLS: who we are, whom we trust, and what failures tell.
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterAll, afterEach, beforeAll, expect, test } from "vitest";
import { createKubeClient } from "../../../src/kube/api-client.ts";
import type { KubeClient } from "../../../src/kube/api-client.ts";
import type { KubeConnection, KubeCredentials } from "../../../src/kube/connection.ts";
import { KubeApiError } from "../../../src/kube/errors.ts";
import { patchNodeStatus } from "../../../src/kube/patch.ts";
import { makeCertificates } from "../../support/certificates.ts";
import type { Certificates } from "../../support/certificates.ts";
import { startFakeKube } from "../../support/fake-kube/fake-kube.ts";
import type { FakeKube, FakeKubeOptions } from "../../support/fake-kube/fake-kube.ts";

let directory: string;
let pki: Certificates;
beforeAll(async () => {
  directory = mkdtempSync(path.join(tmpdir(), "fts-kube-client-"));
  pki = await makeCertificates(directory);
});
afterAll(() => rmSync(directory, { recursive: true, force: true }));

const cleanups: (() => unknown)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).toReversed()) await cleanup();
});

async function start(options: FakeKubeOptions = {}): Promise<FakeKube> {
  const { ca, serverCert, serverKey } = pki;
  const fake = await startFakeKube({ tls: { ca, serverCert, serverKey }, ...options });
  cleanups.push(() => fake.close());
  fake.put("nodes", { metadata: { name: "n1" } });
  return fake;
}

function client(
  fake: { readonly url: string },
  credentials: KubeConnection["credentials"] | KubeCredentials,
  more: Partial<KubeConnection> = {},
): KubeClient {
  const made = createKubeClient({
    baseUrl: fake.url,
    source: "a test",
    credentials: typeof credentials === "function" ? credentials : () => Promise.resolve(credentials),
    ...more,
  });
  cleanups.push(() => made.close());
  return made;
}

const getNode = { what: "get node n1", path: "/api/v1/nodes/n1" };
const failure = async (work: Promise<unknown>): Promise<KubeApiError> => {
  const error: unknown = await work.catch((reason: unknown) => reason);
  expect(error).toBeInstanceOf(KubeApiError);
  return error as KubeApiError;
};
const pem = (file: string): string => readFileSync(file, "utf8");

test("a bearer token over TLS; the connection is used again", async () => {
  const fake = await start({ tokens: { secret: { name: "flannel" } } });
  const api = client(fake, { ca: pem(pki.ca), token: "secret" });
  for (let i = 0; i < 3; i += 1) expect(await api.call(getNode)).toMatchObject({ metadata: { name: "n1" } });
  expect(fake.requests.map(({ user }) => user)).toEqual(["flannel", "flannel", "flannel"]);
});

test("a token that was rotated is read anew at a 401, once", async () => {
  const fake = await start({ tokens: { old: { name: "flannel" } } });
  let token = "old";
  const asked: (boolean | undefined)[] = [];
  const api = client(fake, ({ fresh } = {}) => {
    asked.push(fresh);
    if (fresh) token = "new";
    return Promise.resolve({ ca: pem(pki.ca), token });
  });
  await api.call(getNode);
  fake.setTokens({ new: { name: "flannel" } });
  await api.call(getNode);
  expect(asked).toEqual([false, false, true]);
  fake.setTokens({ other: { name: "flannel" } });
  const error = await failure(api.call(getNode));
  expect(error).toMatchObject({ status: 401, retryable: false });
  expect(error.message).toMatch(/check the service account or the kubeconfig's user/);
});

test("a client certificate", async () => {
  const fake = await start({ clientCa: pki.ca });
  const api = client(fake, { ca: pem(pki.ca), cert: pem(pki.clientCert), key: pem(pki.clientKey) });
  await api.call(getNode);
  expect(fake.requests[0]?.user).not.toBe("system:anonymous");
  const nobody = client(fake, { ca: pem(pki.ca) });
  expect([401, 403]).toContain((await failure(nobody.call(getNode))).status);
});

test("a server that we have no reason to trust is not told our token", async () => {
  const fake = await start();
  const error = await failure(client(fake, { token: "secret" }).call(getNode));
  expect(error.message).toMatch(/not signed by the certificate authority/);
  expect(error.message).not.toContain("secret");
  expect(fake.requests).toEqual([]);
  // As the kubeconfig may wish.
  await client(fake, {}, { insecure: true }).call(getNode);
});

test("a missing permission: the verb, the resource and the cure", async () => {
  const fake = await start();
  fake.faults.answer({ verb: "patch", status: 403 });
  const api = client(fake, { ca: pem(pki.ca) });
  const error = await failure(patchNodeStatus(api, "n1", { annotations: { a: "b" } }, { now: Date.now }));
  expect(error).toMatchObject({ status: 403, retryable: false });
  expect(error.message).toMatch(/^patch nodes\/status of n1: HTTP 403: .*ClusterRole/);
});

test("a patch of nodes/status as flannel sends it: what it does not name stays", async () => {
  const fake = await start();
  fake.put("nodes", {
    metadata: { name: "n1", annotations: { theirs: "1", gone: "1" } },
    spec: { podCIDR: "10.244.1.0/24" },
    status: { conditions: [{ type: "Ready", status: "True" }] },
  });
  const api = client(fake, { ca: pem(pki.ca) });
  await patchNodeStatus(
    api,
    "n1",
    {
      annotations: { ours: "2", gone: null },
      conditions: [{ type: "NetworkUnavailable", status: "False", reason: "FlannelIsUp", message: "m" }],
    },
    { now: () => Date.UTC(2026, 0, 2, 3, 4, 5, 678) },
  );
  const request = fake.requests.at(-1);
  expect(request?.path).toBe("/api/v1/nodes/n1/status");
  expect(request?.contentType).toBe("application/strategic-merge-patch+json");
  const at = "2026-01-02T03:04:05Z";
  expect(fake.get("nodes", "n1")).toMatchObject({
    metadata: { annotations: { theirs: "1", ours: "2" } },
    spec: { podCIDR: "10.244.1.0/24" },
    status: {
      conditions: expect.arrayContaining([
        expect.objectContaining({ type: "Ready", status: "True" }),
        expect.objectContaining({
          type: "NetworkUnavailable",
          lastTransitionTime: at,
          lastHeartbeatTime: at,
        }),
      ]) as unknown,
    },
  });
  expect(fake.get("nodes", "n1")?.metadata.annotations).not.toHaveProperty("gone");
});

test.each([
  [409, true],
  [429, true],
  [500, true],
  [503, true],
  [404, false],
  [422, false],
])("HTTP %i: retryable %s", async (status, retryable) => {
  const fake = await start();
  fake.faults.answer({ verb: "get", status, retryAfterSeconds: 7 });
  const error = await failure(client(fake, { ca: pem(pki.ca) }).call(getNode));
  expect(error).toMatchObject({ status, retryable, retryAfterMs: 7000 });
});

test("a server that does not answer is given up", async () => {
  const fake = await start();
  fake.faults.freeze();
  const error = await failure(client(fake, { ca: pem(pki.ca) }).call({ ...getNode, timeoutMs: 100 }));
  expect(error).toMatchObject({ status: undefined, retryable: true });
  expect(error.message).toMatch(/no answer in time/);
});

test("a server that is not there", async () => {
  const fake = await start();
  await fake.faults.down();
  const error = await failure(client(fake, { ca: pem(pki.ca) }).call(getNode));
  expect(error.retryable).toBe(true);
  expect(error.message).toMatch(/ECONNREFUSED.*does this node reach/);
});

test("an abort ends a call with the caller's own reason", async () => {
  const fake = await start();
  fake.faults.freeze();
  const stop = new AbortController();
  const call = client(fake, { ca: pem(pki.ca) }).call({ ...getNode, signal: stop.signal });
  stop.abort(new Error("stopping"));
  await expect(call).rejects.toThrow("stopping");
});

test("a connection that the server closed while it was idle is no failure", async () => {
  const fake = await start();
  const api = client(fake, { ca: pem(pki.ca) });
  for (let i = 0; i < 5; i += 1) {
    await api.call(getNode);
    fake.faults.restart("keep");
    await api.call(getNode);
  }
});

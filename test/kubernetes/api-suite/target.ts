// What the API conformance suite runs against: a real kube-apiserver or the fake, seen through the same calls.
import { randomBytes } from "node:crypto";
import { expect } from "vitest";
import type { KubeObject } from "../../support/fake-kube/objects.ts";
import type { WatchLine } from "../../support/fake-kube/watch-lines.ts";
import { createKubeCaller, openWatch } from "../../support/kube-caller.ts";
import type { KubeAnswer, KubeCaller, KubeCallerOptions, KubeWatch } from "../../support/kube-caller.ts";
import { waitFor } from "../../support/wait.ts";

export interface KubeApiTarget {
  /** Address, authority and the token of somebody who may do everything. */
  readonly admin: KubeCallerOptions;
  /** The token of a user who may get, list and watch nodes and patch nodes/status, and nothing else. */
  readonly limitedToken: string;
  readonly limitedUser: string;
  /** PEM of a client certificate of somebody who may do everything, and of one by an authority nobody knows. */
  readonly certificate: { readonly cert: Buffer; readonly key: Buffer };
  readonly foreignCertificate: { readonly cert: Buffer; readonly key: Buffer };
  /** Breaks every connection and forgets what watches could resume from. */
  restart(): Promise<void>;
  /** Forgets how things were before now: lists that are being paged expire. */
  compact(): Promise<void>;
  close(): Promise<void>;
}

export const NODES = "/api/v1/nodes";
export const PODS = "/api/v1/namespaces/default/pods";
export const POLICIES = "/apis/networking.k8s.io/v1/namespaces/default/networkpolicies";

export const JSON_PATCH = "application/json-patch+json";
export const MERGE_PATCH = "application/merge-patch+json";
export const STRATEGIC_PATCH = "application/strategic-merge-patch+json";
export const APPLY_PATCH = "application/apply-patch+yaml";

/** What the cases of the suite use. `target` is there from `beforeAll` on. */
export interface Api {
  target(): KubeApiTarget;
  readonly call: KubeCaller;
  /** PATCH by its content type, an object being sent as JSON. */
  patch(path: string, contentType: string, body: unknown): Promise<KubeAnswer>;
  /** Creates a node with the given extras in its metadata. */
  createNode(name: string, metadata?: object): Promise<KubeObject>;
  /** Opens a watch as admin; it is closed after the test. */
  watch(pathAndQuery: string): Promise<KubeWatch>;
  closeWatches(): void;
}

export function createApi(target: () => KubeApiTarget): Api {
  let watches: KubeWatch[] = [];
  const call: KubeCaller = (method, path, options) => createKubeCaller(target().admin)(method, path, options);
  return {
    target,
    call,
    patch: (path, contentType, body) => call("PATCH", path, { contentType, body }),
    createNode: async (name, metadata = {}) => {
      const { status, text, body } = await call("POST", NODES, { body: { metadata: { name, ...metadata } } });
      expect(status, text).toBe(201);
      return body as KubeObject;
    },
    watch: async (path) => {
      const watch = await openWatch(target().admin, path);
      watches.push(watch);
      return watch;
    },
    closeWatches: () => {
      for (const watch of watches) watch.close();
      watches = [];
    },
  };
}

/** A name that no other test uses. */
export function uniqueName(): string {
  return `t${randomBytes(5).toString("hex")}`;
}

/** Waits for so many lines of a watch. */
export async function takeLines(watch: KubeWatch, count: number): Promise<readonly WatchLine[]> {
  await waitFor(`${count} lines`, () => watch.lines.length >= count, { timeoutMs: 20_000 });
  return watch.lines;
}

export function revisionOf(
  object: KubeObject | { readonly metadata: { readonly resourceVersion?: string } },
): string {
  return object.metadata.resourceVersion ?? "";
}

/** A refusal as the API server words it. */
export function expectRefusal(
  answer: KubeAnswer,
  code: number,
  reason: string,
  message: string | RegExp,
): void {
  expect(answer.status, answer.text).toBe(code);
  expect(answer.headers["content-type"]).toBe("application/json");
  expect(answer.body).toMatchObject({
    kind: "Status",
    apiVersion: "v1",
    metadata: {},
    status: "Failure",
    code,
    message: expect.stringMatching(message) as string,
  });
  // Not every refusal has a reason.
  expect((answer.body as { reason?: string }).reason ?? "").toBe(reason);
}

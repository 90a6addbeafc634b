// The API conformance suite: one set of cases, run on the real kube-apiserver and on the fake that stands in for it.
import { afterAll, afterEach, beforeAll, describe } from "vitest";
import { accessCases } from "./access.ts";
import { listingCases } from "./listing.ts";
import { patchingCases } from "./patching.ts";
import { createApi } from "./target.ts";
import type { KubeApiTarget } from "./target.ts";
import { watchingCases } from "./watching.ts";
import { writingCases } from "./writing.ts";

export function describeKubeApi(name: string, start: () => Promise<KubeApiTarget>): void {
  describe(name, () => {
    let target: KubeApiTarget | undefined;
    const api = createApi(() => {
      if (target === undefined) throw new Error("the API server has not been started");
      return target;
    });
    beforeAll(async () => {
      target = await start();
    });
    afterEach(() => api.closeWatches());
    afterAll(async () => await target?.close());
    describe("lists", () => listingCases(api));
    describe("watches", () => watchingCases(api));
    describe("writes", () => writingCases(api));
    describe("patches", () => patchingCases(api));
    describe("access", () => accessCases(api));
  });
}

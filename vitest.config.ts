// One vitest project per tier, so that the fast tiers run alone in under a minute.
import { defineConfig } from "vitest/config";

/** Tiers that touch the kernel, etcd or processes run one file at a time: the machine has two cores. */
const serial = { fileParallelism: false, maxWorkers: 1 };

/** No test asserts a time: its limit only ends what hangs, on a machine of any speed and load. A hunt takes longer. */
const fastLimitMs = 60_000 * Math.max(1, Number(process.env["PROPERTY_RUNS"] ?? 1));

/**
 * Files share their worker's modules: to load them for every file anew took half of the time. A file must leave behind what
 * it found: fake clocks, environment, umask.
 */
const fast = {
  testTimeout: fastLimitMs,
  hookTimeout: fastLimitMs,
  isolate: false,
  setupFiles: ["test/support/property-setup.ts"],
};

export default defineConfig({
  test: {
    pool: "forks",
    projects: [
      { test: { name: "unit", include: ["test/unit/**/*.test.ts"], ...fast } },
      { test: { name: "golden", include: ["test/golden/**/*.test.ts"], ...fast } },
      { test: { name: "property", include: ["test/property/**/*.test.ts"], ...fast } },
      { test: { name: "architecture", include: ["test/architecture/**/*.test.ts"], ...fast } },
      {
        test: {
          name: "kernel",
          include: ["test/kernel/**/*.test.ts"],
          testTimeout: 60_000,
          hookTimeout: 60_000,
          ...serial,
        },
      },
      {
        test: {
          name: "conformance",
          include: ["test/conformance/**/*.test.ts"],
          testTimeout: 120_000,
          hookTimeout: 120_000,
          ...serial,
        },
      },
      {
        test: {
          name: "e2e",
          include: ["test/e2e/**/*.test.ts"],
          testTimeout: 180_000,
          hookTimeout: 180_000,
          ...serial,
        },
      },
      {
        // A real Kubernetes, built on first use: `npm run test:kubernetes`, or `npm test -- --kubernetes` as CI runs it.
        test: {
          name: "kubernetes",
          include: ["test/kubernetes/**/*.test.ts"],
          testTimeout: 300_000,
          hookTimeout: 300_000,
          ...serial,
        },
      },
    ],
  },
});

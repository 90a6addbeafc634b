// What a scrape tells of the udp backend's data path.
import { readFileSync } from "node:fs";
import { expect, test } from "vitest";
import { registerDataPathMetrics } from "../../../src/daemon/data-path-metrics.ts";
import { createMetrics } from "../../../src/daemon/metrics.ts";

/** The names in the native part's one list. */
const NAMES = [...readFileSync("native/udp/counters.h", "utf8").matchAll(/^ {2}X\((\w+)\)/gm)].map(
  ([, name]) => name ?? "",
);

test("each counter of the native part is a series, and drops tell the reason", async () => {
  expect(NAMES.length).toBeGreaterThan(10);
  const metrics = createMetrics();
  // Each its own value, so that none can stand for another.
  const counters = Object.fromEntries(NAMES.map((name, i) => [name, 1000 + i]));
  registerDataPathMetrics(metrics, () => counters);
  const text = await metrics.render();
  for (const [name, value] of Object.entries(counters)) expect(text, name).toContain(` ${value}\n`);
  expect(text).toContain(
    `flanneld_udp_drops_total{direction="received",reason="foreign source"} ${counters["foreignSource"]}`,
  );
});

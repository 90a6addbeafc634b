// When a lease is renewed.
import { expect, test } from "vitest";
import { keepAliveDelayMs } from "../../../src/ipam/lease-renewal.ts";

const MINUTE = 60_000;
const DAY = 24 * 60 * MINUTE;

test.each([
  { name: "flannel's defaults: hourly", ttl: DAY, margin: 60 * MINUTE, latest: 60 * MINUTE },
  { name: "the largest margin: a minute after the grant", ttl: DAY, margin: 1439 * MINUTE, latest: MINUTE },
  { name: "the smallest margin", ttl: DAY, margin: MINUTE, latest: 60 * MINUTE },
  { name: "a short TTL: three times in it", ttl: 6_000, margin: 60 * MINUTE, latest: 2_000 },
])("$name", ({ ttl, margin, latest }) => {
  expect(keepAliveDelayMs(ttl, margin, () => 0)).toBe(latest);
  expect(keepAliveDelayMs(ttl, margin, () => 1)).toBeCloseTo(latest * 0.8);
});

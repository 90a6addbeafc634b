// Before each file of the fast tiers: which random cases its properties try.
import * as fc from "fast-check";
import { numberOf, runs } from "./property-runs.ts";

/**
 * The same cases every time: a rare counterexample must not stop somebody whose change has nothing to do with it. Who has
 * time looks for it:
 *
 *   PROPERTY_SEED=random PROPERTY_RUNS=20 vitest run --project property
 *
 * tries twenty times as many cases, other ones every time, and prints the seed of a failure, which PROPERTY_SEED=NUMBER
 * finds again. What is found becomes a test of its own.
 */
const SEED = 1;

const isRandom = process.env["PROPERTY_SEED"] === "random";
fc.configureGlobal({
  ...(!isRandom && { seed: numberOf("PROPERTY_SEED", SEED) }),
  // fast-check's own number, for properties that name none.
  numRuns: runs(100),
});

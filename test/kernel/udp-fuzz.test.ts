// Some seconds of fuzzing of what reads strangers' packets, under AddressSanitizer, from the committed corpus.
import { expect, test } from "vitest";
import { runFuzzer } from "../../scripts/fuzz.ts";

/** Enough to go through the corpus and change each of its inputs many times; `scripts/fuzz.ts --seconds` runs on. */
const SECONDS = 8;

test("no input makes the packet parser misbehave, and joined packets come apart as they were", () => {
  const { ok, output, directory } = runFuzzer({ seconds: SECONDS, seed: 1 });
  expect(ok, `${output}\nwhat broke it is in ${directory}`).toBe(true);
});

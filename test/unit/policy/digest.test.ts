// Digests agree with the reference implementation.
import { createHash } from "node:crypto";
import * as fc from "fast-check";
import { expect, test } from "vitest";
import { contentDigest, digestBranch, DIGEST_LENGTH, sha256 } from "../../../src/policy/digest.ts";

test("sha256 is SHA-256, at every length around a block", () => {
  const lengths = fc.oneof(fc.integer({ min: 0, max: 300 }), fc.constantFrom(55, 56, 63, 64, 65, 119, 120));
  fc.assert(
    fc.property(
      lengths.chain((length) => fc.uint8Array({ minLength: length, maxLength: length })),
      (bytes) => {
        expect(Buffer.from(sha256(bytes)).toString("hex")).toBe(
          createHash("sha256").update(bytes).digest("hex"),
        );
      },
    ),
  );
});

test("a digest in a name is short, plain and 80 bits of SHA-256", () => {
  // printf %s web | sha256sum | xxd -r -p | base32
  const expected = createHash("sha256").update("web").digest();
  let bits = "";
  for (const byte of expected.subarray(0, 10)) bits += byte.toString(2).padStart(8, "0");
  const letters = bits
    .match(/.{5}/g)
    ?.map((five) => "abcdefghijklmnopqrstuvwxyz234567"[Number.parseInt(five, 2)]);
  expect(contentDigest("web")).toBe(letters?.join(""));
  expect(contentDigest("web")).toHaveLength(DIGEST_LENGTH);
});

test("branches spread over eight", () => {
  const branches = new Set<number>();
  for (let n = 0; n < 200; n += 1) branches.add(digestBranch(contentDigest(String(n)), n % 3));
  expect([...branches].sort((a, b) => a - b)).toEqual([0, 1, 2, 3, 4, 5, 6, 7]);
});

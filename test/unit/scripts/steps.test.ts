import { describe, expect, test } from "vitest";
import { countReport } from "../../../scripts/steps.ts";

describe("counting the tests of npm test", () => {
  const base = { success: true, numPassedTests: 5, numFailedTests: 0, numPendingTests: 1, testResults: [] };
  test.each([
    {
      name: "all well",
      report: base,
      exitCode: 0,
      expected: { passed: 5, failed: 0, skipped: 1, failures: [] },
    },
    {
      name: "failed tests",
      report: {
        ...base,
        success: false,
        numFailedTests: 2,
        testResults: [
          {
            name: "a.test.ts",
            status: "failed",
            assertionResults: [
              { status: "passed" },
              {
                status: "failed",
                fullName: "first of a",
                failureMessages: ["expected 1 to be 2\n  at a.test.ts:3"],
              },
              { status: "failed", fullName: "second of a", failureMessages: [] },
            ],
          },
        ],
      },
      exitCode: 1,
      expected: {
        passed: 5,
        failed: 2,
        skipped: 1,
        failures: ["a.test.ts: first of a: expected 1 to be 2", "a.test.ts: second of a: "],
      },
    },
    {
      name: "a file that does not load counts as one",
      report: {
        ...base,
        success: false,
        testResults: [
          { name: "b.test.ts", status: "failed", message: "Cannot find module", assertionResults: [] },
        ],
      },
      exitCode: 1,
      expected: { passed: 5, failed: 1, skipped: 1, failures: ["b.test.ts: Cannot find module"] },
    },
    {
      name: "an error outside of all tests",
      report: base,
      exitCode: 1,
      expected: {
        passed: 5,
        failed: 1,
        skipped: 1,
        failures: ["an error outside of any test: see above (exit 1)"],
      },
    },
  ])("$name", ({ report, exitCode, expected }) => {
    expect(countReport(report, exitCode)).toEqual(expected);
  });
});

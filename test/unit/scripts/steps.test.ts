import { describe, expect, test } from "vitest";
import { countReport } from "../../../scripts/steps.ts";

describe("counting the tests of npm test", () => {
  const base = { success: true, numPassedTests: 5, numFailedTests: 0, numPendingTests: 1, testResults: [] };
  test.each([
    { name: "all well", report: base, exitCode: 0, expected: { passed: 5, failed: 0, skipped: 1 } },
    {
      name: "failed tests",
      report: {
        ...base,
        success: false,
        numFailedTests: 2,
        testResults: [{ status: "failed", assertionResults: [{ status: "failed" }] }],
      },
      exitCode: 1,
      expected: { passed: 5, failed: 2, skipped: 1 },
    },
    {
      name: "a file that does not load counts as one",
      report: { ...base, success: false, testResults: [{ status: "failed", assertionResults: [] }] },
      exitCode: 1,
      expected: { passed: 5, failed: 1, skipped: 1 },
    },
    {
      name: "an error outside of all tests",
      report: base,
      exitCode: 1,
      expected: { passed: 5, failed: 1, skipped: 1 },
    },
  ])("$name", ({ report, exitCode, expected }) => {
    expect(countReport(report, exitCode)).toEqual(expected);
  });
});

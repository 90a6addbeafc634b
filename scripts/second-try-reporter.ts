// A reporter for vitest: writes down the tests that passed only at the second try, to the file that SECOND_TRIES names.
import { appendFileSync } from "node:fs";
import type { Reporter, TestCase } from "vitest/node";

// oxlint-disable-next-line import/no-default-export -- vitest takes a reporter's default export
export default class SecondTryReporter implements Reporter {
  onTestCaseResult(test: TestCase): void {
    const file = process.env["SECOND_TRIES"];
    if (file === undefined || test.diagnostic()?.flaky !== true) return;
    appendFileSync(file, `${test.module.relativeModuleId}: ${test.fullName}\n`);
  }
}

// The steps of `npm run check` and `npm test`: what each runs, and how its result is counted.
import { readFileSync } from "node:fs";

export interface Step {
  readonly name: string;
  /** A program of node_modules/.bin and its arguments. */
  readonly command: readonly string[];
  /** Vitest projects; a step with some is counted by its tests, one without counts as a single test. */
  readonly projects?: readonly string[];
}

export const CHECK_STEPS: readonly Step[] = [
  { name: "types", command: ["tsc", "-p", "."] },
  { name: "lint", command: ["oxlint", "--deny-warnings"] },
  { name: "format", command: ["oxfmt", "--check"] },
  tryTwice(vitest("fast tests", ["unit", "golden", "property", "architecture"])),
];

/** They touch the kernel, etcd or processes. */
export const SYSTEM_STEPS: readonly Step[] = [
  tryTwice(vitest("kernel tests", ["kernel"])),
  tryTwice(vitest("conformance tests", ["conformance"])),
  tryTwice(vitest("end-to-end tests", ["e2e"])),
];

/** What the tests on a real Kubernetes stand on. They fetch Debian packages, so they run where there is a network. */
export const KUBERNETES_BUILD_STEPS: readonly Step[] = [
  { name: "build Kubernetes", command: ["bash", "scripts/kubernetes.sh"] },
  { name: "build the image", command: ["node", "scripts/build-image.ts"] },
];

export const KUBERNETES_STEPS: readonly Step[] = [tryTwice(vitest("Kubernetes tests", ["kubernetes"]))];

function vitest(name: string, projects: readonly string[]): Step {
  return {
    name,
    projects,
    command: ["vitest", "run", ...projects.flatMap((project) => ["--project", project])],
  };
}

/** On a machine that others use too; `npm test` says at its end which tests needed it, and that is a matter to look into. */
function tryTwice(step: Step): Step {
  return { ...step, command: [...step.command, "--retry=1"] };
}

export interface StepCount {
  readonly passed: number;
  readonly failed: number;
  readonly skipped: number;
  /** One line for each failure, to be read at the end of a long log. */
  readonly failures: readonly string[];
}

/** The part of vitest's JSON report that counts. */
interface VitestReport {
  readonly success: boolean;
  readonly numPassedTests: number;
  readonly numFailedTests: number;
  readonly numPendingTests: number;
  readonly testResults: readonly {
    /** The file. */
    readonly name: string;
    readonly status: string;
    /** Why the file failed, if it did not load. */
    readonly message?: string;
    readonly assertionResults: readonly {
      readonly status: string;
      readonly fullName?: string;
      readonly failureMessages?: readonly string[];
    }[];
  }[];
}

/** Counts a step that has ended; without its report a vitest run has failed, whatever its exit code. */
export function countStep(step: Step, exitCode: number | null, reportFile: string): StepCount {
  const failedAsOne: StepCount = {
    passed: 0,
    failed: 1,
    skipped: 0,
    failures: [`${step.command.join(" ")}: exit ${exitCode}`],
  };
  if (step.projects === undefined)
    return exitCode === 0 ? { passed: 1, failed: 0, skipped: 0, failures: [] } : failedAsOne;
  try {
    return countReport(JSON.parse(readFileSync(reportFile, "utf8")) as VitestReport, exitCode);
  } catch {
    return failedAsOne;
  }
}

export function countReport(report: VitestReport, exitCode: number | null): StepCount {
  // A file that does not load, or fails in a hook, has no failed test to be counted by.
  const failedFiles = report.testResults.filter(
    ({ status, assertionResults }) =>
      status === "failed" && assertionResults.every((assertion) => assertion.status !== "failed"),
  );
  const failed = report.numFailedTests + failedFiles.length;
  // Errors outside of any test (an unhandled rejection) only show in the exit code.
  const isUnexplained = failed === 0 && (exitCode !== 0 || !report.success);
  return {
    passed: report.numPassedTests,
    failed: isUnexplained ? 1 : failed,
    skipped: report.numPendingTests,
    failures: isUnexplained
      ? [`an error outside of any test: see above (exit ${exitCode})`]
      : [
          ...report.testResults.flatMap(({ name, assertionResults }) =>
            assertionResults
              .filter(({ status }) => status === "failed")
              .map(
                ({ fullName, failureMessages }) => `${name}: ${fullName}: ${firstLine(failureMessages?.[0])}`,
              ),
          ),
          ...failedFiles.map(({ name, message }) => `${name}: ${firstLine(message)}`),
        ],
  };
}

function firstLine(text = ""): string {
  return text.split("\n", 1)[0] ?? "";
}

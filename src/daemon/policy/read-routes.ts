// Routes by which people read policy from the daemon: what is in force, why a packet passes or not, who reaches whom.
import { setImmediate, setTimeout as delay } from "node:timers/promises";
import { InvalidValueError } from "../../net/errors.ts";
import { explainReach } from "../../policy/explain.ts";
import { parseExplainQuestion, parseService, UnknownEndError } from "../../policy/explain-question.ts";
import type { ExplainQuestion } from "../../policy/explain-question.ts";
import type { DeniedPackets, ExplainReport } from "../../policy/explain-report.ts";
import { describeInForce } from "../../policy/in-force-report.ts";
import type { InForceReport } from "../../policy/in-force-report.ts";
import { planMatrix } from "../../policy/matrix.ts";
import type { MatrixCell, MatrixQuestion, MatrixReport } from "../../policy/matrix.ts";
import { DIRECTIONS } from "../../policy/snapshot.ts";
import type { Reply, Route, RouteRequest, Routes } from "../health-router.ts";
import { deniedByPod } from "./denied-by-pod.ts";
import { askKernel } from "./explain-kernel.ts";
import type { PolicyReadSource } from "./read-source.ts";

/** An event that has just come is in the kernel in a moment; only what stays different is a difference. */
const KERNEL_LOOKS = 4;
const NEXT_LOOK_MS = 300;

/**
 * - `/v1/policy`: an `InForceReport`
 * - `/v1/policy/explain?from=..&to=..`: an `ExplainReport`
 * - `/v1/policy/matrix?namespace=..&port=..`: a `MatrixReport`
 *
 * Wrong questions are answered with 400, ends that do not exist with 404, and a daemon that does not know the whole cluster
 * yet with 503, each with `{"problem": "..."}`.
 * @param readSource gives undefined while policy has not started
 */
export function createPolicyReadRoutes(
  readSource: () => PolicyReadSource | undefined,
  { nextLookMs = NEXT_LOOK_MS }: { readonly nextLookMs?: number } = {},
): Routes {
  const route =
    (answer: (source: PolicyReadSource, request: RouteRequest) => Promise<unknown>): Route =>
    async (request) => {
      const source = readSource();
      if (source === undefined)
        return problem(
          503,
          "network policy has not started yet; flanneld-ts status says what the daemon waits for",
        );
      if (!source.graph.synced())
        return problem(503, "the daemon has not been told of the whole cluster yet; ask again in a moment");
      try {
        return json(200, await answer(source, request));
      } catch (error) {
        if (error instanceof UnknownEndError) return problem(404, error.message);
        if (error instanceof InvalidValueError) return problem(400, error.message);
        throw error;
      }
    };
  return {
    "/v1/policy": route(reportInForce),
    "/v1/policy/explain": route((source, { query, signal }) =>
      explain(readQuestion(query), source, { nextLookMs, signal }),
    ),
    "/v1/policy/matrix": route((source, { query, signal }) =>
      reportMatrix(readMatrixQuestion(query), source, signal),
    ),
  };
}

function json(status: number, value: unknown): Reply {
  return { status, contentType: "application/json", body: `${JSON.stringify(value)}\n` };
}

function problem(status: number, text: string): Reply {
  return json(status, { problem: text });
}

/** @throws {InvalidValueError} */
function readQuestion(query: URLSearchParams): ExplainQuestion {
  return parseExplainQuestion(query.get("from") ?? "", query.get("to") ?? "");
}

/** @throws {InvalidValueError} */
function readMatrixQuestion(query: URLSearchParams): MatrixQuestion {
  const namespace = query.get("namespace");
  const port = query.get("port");
  return {
    ...(namespace !== null && { namespace }),
    ...(port !== null && { service: parseService(port) }),
  };
}

async function explain(
  question: ExplainQuestion,
  source: PolicyReadSource,
  { nextLookMs, signal }: { readonly nextLookMs: number; readonly signal: AbortSignal },
): Promise<ExplainReport> {
  for (let look = 1; ; look += 1) {
    const snapshot = source.graph.snapshot();
    const report = explainReach(snapshot, source.settings, question);
    const kernel = await askKernel(report, { snapshot, compiled: source.graph.compiled() }, source);
    if (kernel.state !== "disagrees" || look === KERNEL_LOOKS) return { ...report, kernel };
    await delay(nextLookMs, undefined, { signal });
  }
}

async function reportMatrix(
  question: MatrixQuestion,
  { graph, settings }: PolicyReadSource,
  signal: AbortSignal,
): Promise<MatrixReport> {
  const { rows, ...plan } = planMatrix(graph.snapshot(), settings, question);
  if (question.namespace !== undefined && plan.total === 0)
    throw new UnknownEndError(`namespace ${question.namespace} has no pod with an address of its own`);
  const cells: (readonly MatrixCell[])[] = [];
  for (const row of rows) {
    cells.push(row);
    // Events and passes go first.
    await setImmediate(undefined, { signal });
  }
  return { ...plan, cells };
}

async function reportInForce(source: PolicyReadSource): Promise<InForceReport> {
  const { graph, book, state } = source;
  const snapshot = graph.snapshot();
  const described = describeInForce({ snapshot, compiled: graph.compiled(), since: book.since });
  const { source: health, lastPass, repairs, waiting, problems, warnings = [] } = state();
  return {
    ...described,
    pods: { ...described.pods, waiting },
    ...(lastPass && { lastPass: { ...lastPass, at: new Date(lastPass.at).toISOString() } }),
    repairs,
    denied: await deniedPackets(source, snapshot),
    problems,
    warnings,
    source: {
      connected: health.connected,
      ...(health.problem !== undefined && { problem: health.problem }),
    },
    skipped: health.skipped,
  };
}

async function deniedPackets(
  { denied, settings }: PolicyReadSource,
  snapshot: ReturnType<PolicyReadSource["graph"]["snapshot"]>,
): Promise<readonly DeniedPackets[]> {
  if (!settings.countDenied) return [];
  return [...deniedByPod(await denied(), snapshot)]
    .flatMap(([pod, counts]) =>
      DIRECTIONS.map((direction) => ({ pod, direction, packets: counts[direction] })),
    )
    .filter(({ packets }) => packets > 0)
    .sort((a, b) => b.packets - a.packets || (a.pod < b.pod ? -1 : 1));
}

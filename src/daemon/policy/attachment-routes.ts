// Routes of the status socket by which the CNI plugin hands pods over. Root only, as the socket is.
import { formatProblem, isObject, readList } from "../../policy/problems.ts";
import type { Problem } from "../../policy/problems.ts";
import type { Reply, RouteRequest, Routes } from "../health-router.ts";
import type { AttachmentDesk } from "./attachment-desk.ts";
import { readAttachment, readAttachmentKey } from "./attachment.ts";

export interface AttachmentService {
  readonly desk: AttachmentDesk;
  /** Why policy cannot be enforced, with the cure. */
  readonly notReadyReason: () => string | undefined;
}

/** Less than the server's patience with a connection; the plugin asks again, also a daemon that was restarted meanwhile. */
const ANSWER_WITHIN_MS = 5_000;
/** DEL is not to be held up: what is not closed by then is closed a moment later. */
const CLOSE_WITHIN_MS = 2_000;

/**
 * - `POST /v1/attachments` with an attachment: 200 when its pod's rules are in force; 503 when they are not yet: ask again;
 *   422 when they never will be; 400 for a wrong body.
 * - `DELETE /v1/attachments?containerId=..&ifName=..`: 200, also for what is not there.
 * - `POST /v1/attachments/gc` with `{valid: [{containerId, ifName}], network?}`: 200.
 * - `GET /v1/policy/readiness`: 200 if policy is enforced on this node, else 503.
 *
 * All answer JSON; what is not 200 has a `problem`.
 * @param service undefined while the daemon starts
 */
export function attachmentRoutes(
  service: () => AttachmentService | undefined,
  whyStarting: () => string | undefined,
): Routes {
  const served =
    (serve: (service: AttachmentService, request: RouteRequest) => Reply | Promise<Reply>) =>
    (request: RouteRequest): Reply | Promise<Reply> => {
      const running = service();
      return running === undefined
        ? refuse(503, whyStarting() ?? "flanneld is starting")
        : serve(running, request);
    };
  return {
    "POST /v1/attachments": served(({ desk }, request) => attach(desk, request)),
    "DELETE /v1/attachments": served(({ desk }, request) => detach(desk, request)),
    "POST /v1/attachments/gc": served(({ desk }, request) => collect(desk, request)),
    "/v1/policy/readiness": served(({ notReadyReason }) => {
      const reason = notReadyReason();
      return reason === undefined ? answer(200, { ready: true }) : refuse(503, reason);
    }),
  };
}

async function attach(desk: AttachmentDesk, { body, signal }: RouteRequest): Promise<Reply> {
  const problems: Problem[] = [];
  const attachment = readAttachment(parseBody(body, problems), collectInto(problems));
  if (problems.length > 0) return refuse(400, describe(problems));
  const outcome = await desk.attach(
    attachment,
    AbortSignal.any([signal, AbortSignal.timeout(ANSWER_WITHIN_MS)]),
  );
  if (outcome.kind === "in-force") return answer(200, { inForce: true });
  return refuse(outcome.kind === "refused" ? 422 : 503, outcome.reason);
}

async function detach(desk: AttachmentDesk, { query, signal }: RouteRequest): Promise<Reply> {
  const problems: Problem[] = [];
  const given = { containerId: query.get("containerId"), ifName: query.get("ifName") };
  const key = readAttachmentKey(given, collectInto(problems));
  if (problems.length > 0) return refuse(400, describe(problems));
  await desk.detach(key, AbortSignal.any([signal, AbortSignal.timeout(CLOSE_WITHIN_MS)]));
  return answer(200, {});
}

function collect(desk: AttachmentDesk, { body }: RouteRequest): Reply {
  const problems: Problem[] = [];
  const value = parseBody(body, problems);
  const { valid, network } = isObject(value) ? value : {};
  const report = collectInto(problems);
  // Without a list nothing is collected: to take its absence for an empty one would close every pod.
  if (!Array.isArray(valid)) report("valid", "must be a list of attachments");
  if (network !== undefined && typeof network !== "string") report("network", "must be a text");
  const keys = (readList(valid, "valid", () => undefined) ?? []).map((entry, index) =>
    readAttachmentKey(entry, (path, message) => report(`valid[${index}].${path}`, message)),
  );
  if (problems.length > 0) return refuse(400, describe(problems));
  return answer(200, { collected: desk.collect(keys, typeof network === "string" ? network : undefined) });
}

function parseBody(body: string, problems: Problem[]): unknown {
  try {
    return JSON.parse(body);
  } catch (error) {
    problems.push({ path: "", message: `the body is not JSON: ${(error as Error).message}` });
    return {};
  }
}

function collectInto(problems: Problem[]): (path: string, message: string) => void {
  return (path, message) => problems.push({ path, message });
}

const MAX_PROBLEMS_TOLD = 5;

function describe(problems: readonly Problem[]): string {
  return problems.slice(0, MAX_PROBLEMS_TOLD).map(formatProblem).join("; ");
}

function answer(status: number, body: Readonly<Record<string, unknown>>): Reply {
  return { status, contentType: "application/json", body: `${JSON.stringify(body)}\n` };
}

function refuse(status: number, problem: string): Reply {
  return answer(status, { problem });
}

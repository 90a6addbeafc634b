// Refusals of the API server: each an HTTP status with a body of kind Status, worded as the real server words them.
import type { JsonObject } from "./objects.ts";
import { qualifiedName } from "./resources.ts";
import type { ResourceType } from "./resources.ts";

export interface StatusBody {
  readonly kind: "Status";
  readonly apiVersion: "v1";
  readonly metadata: JsonObject;
  readonly status: "Failure" | "Success";
  readonly message?: string;
  readonly reason?: string;
  readonly details?: JsonObject;
  readonly code?: number;
}

export class ApiError extends Error {
  override readonly name = "ApiError";
  readonly body: StatusBody;
  readonly code: number;
  readonly headers: Readonly<Record<string, string>>;
  constructor(code: number, reason: string, message: string, extra: ApiErrorExtra = {}) {
    super(message);
    this.code = code;
    this.headers = extra.headers ?? {};
    this.body = {
      kind: "Status",
      apiVersion: "v1",
      metadata: extra.metadata ?? {},
      status: "Failure",
      message,
      ...(reason === "" ? {} : { reason }),
      ...(extra.details === undefined ? {} : { details: extra.details }),
      code,
    };
  }
}

export interface ApiErrorExtra {
  readonly details?: JsonObject;
  readonly metadata?: JsonObject;
  readonly headers?: Readonly<Record<string, string>>;
}

function detailsOf(type: ResourceType, name: string | undefined): JsonObject {
  return {
    ...(name === undefined ? {} : { name }),
    ...(type.group === "" ? {} : { group: type.group }),
    kind: type.resource,
  };
}

export function notFound(type: ResourceType, name: string): ApiError {
  return new ApiError(404, "NotFound", `${qualifiedName(type)} "${name}" not found`, {
    details: detailsOf(type, name),
  });
}

export function noSuchResource(): ApiError {
  return new ApiError(404, "NotFound", "the server could not find the requested resource", { details: {} });
}

export function alreadyExists(type: ResourceType, name: string): ApiError {
  return new ApiError(409, "AlreadyExists", `${qualifiedName(type)} "${name}" already exists`, {
    details: detailsOf(type, name),
  });
}

const STALE = "the object has been modified; please apply your changes to the latest version and try again";

export function conflict(type: ResourceType, name: string, why: string = STALE): ApiError {
  return new ApiError(
    409,
    "Conflict",
    `Operation cannot be fulfilled on ${qualifiedName(type)} "${name}": ${why}`,
    { details: detailsOf(type, name) },
  );
}

export interface FieldProblem {
  readonly reason:
    | "FieldValueInvalid"
    | "FieldValueRequired"
    | "FieldValueForbidden"
    | "FieldValueNotSupported";
  readonly message: string;
  readonly field: string;
}

/** 422, with the offending fields as causes. `kind` is e.g. "Node", with ".group" when there is one. */
export function invalid(
  { kind, group }: { readonly kind: string; readonly group: string },
  name: string,
  problems: readonly FieldProblem[],
): ApiError {
  const texts = problems.map(({ field, message }) => `${field}: ${message}`);
  const said = texts.length === 1 ? texts[0] : `[${texts.join(", ")}]`;
  const qualified = group === "" ? kind : `${kind}.${group}`;
  return new ApiError(422, "Invalid", `${qualified} "${name}" is invalid: ${said}`, {
    details: { ...(name === "" ? {} : { name }), ...(group === "" ? {} : { group }), kind, causes: problems },
  });
}

export function badRequest(message: string): ApiError {
  return new ApiError(400, "BadRequest", message);
}

/** What the real server says to a well-formed JSON patch that does not apply, e.g. a failed "test". */
export function rejectedPatch(): ApiError {
  return new ApiError(422, "Invalid", "the server rejected our request due to an error in our request", {
    details: {},
  });
}

export function unsupportedMediaType(): ApiError {
  return new ApiError(415, "UnsupportedMediaType", "415: Unsupported Media Type");
}

export function methodNotAllowed(): ApiError {
  return new ApiError(
    405,
    "MethodNotAllowed",
    "the server does not allow this method on the requested resource",
  );
}

/** What the real server did not foresee and tells as it comes: 500 without a reason. */
export function unforeseen(message: string): ApiError {
  return new ApiError(500, "", message);
}

/** 422 for the options of a request, e.g. "PatchOptions" or "ListOptions". */
export function invalidOptions(kind: string, problems: readonly FieldProblem[]): ApiError {
  return invalid({ kind, group: "meta.k8s.io" }, "", problems);
}

/** 410: the revision asked for is no longer known. */
export function expired(message: string, metadata: JsonObject = {}): ApiError {
  return new ApiError(410, "Expired", message, { metadata });
}

export function unauthorized(): ApiError {
  return new ApiError(401, "Unauthorized", "Unauthorized");
}

export interface ForbiddenRequest {
  readonly user: string;
  readonly verb: string;
  readonly type: ResourceType;
  readonly namespace: string | undefined;
  readonly name: string | undefined;
  readonly subresource: string | undefined;
}

export function forbidden(request: ForbiddenRequest): ApiError {
  const { type, name, namespace } = request;
  const resource =
    request.subresource === undefined ? type.resource : `${type.resource}/${request.subresource}`;
  const where = namespace === undefined ? "at the cluster scope" : `in the namespace "${namespace}"`;
  const what = name === undefined ? qualifiedName(type) : `${qualifiedName(type)} "${name}"`;
  return new ApiError(
    403,
    "Forbidden",
    `${what} is forbidden: User "${request.user}" cannot ${request.verb} resource "${resource}" in API group "${type.group}" ${where}`,
    { details: detailsOf(type, name) },
  );
}

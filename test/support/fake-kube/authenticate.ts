// Who asks, by bearer token or client certificate, and whether their rules (as in RBAC roles) allow it.
import type { IncomingMessage } from "node:http";
import { TLSSocket } from "node:tls";
import { forbidden, unauthorized } from "./api-error.ts";
import type { ResourcePath } from "./resources.ts";

/** One rule of a ClusterRole: "*" stands for all; resources may be "nodes/status". */
export interface PolicyRule {
  readonly verbs: readonly string[];
  readonly apiGroups: readonly string[];
  readonly resources: readonly string[];
  readonly resourceNames?: readonly string[];
}

export interface FakeUser {
  readonly name: string;
  /** Without rules everything is allowed. */
  readonly rules?: readonly PolicyRule[];
}

/** Bearer token -> who that is. */
export type TokenTable = Readonly<Record<string, FakeUser>>;

export interface Authentication {
  /** Undefined: nobody has to show anything. */
  readonly tokens: TokenTable | undefined;
  /** Common name of client certificate -> who that is; names not listed may do everything. */
  readonly certificateUsers: Readonly<Record<string, FakeUser>>;
}

const ANONYMOUS: FakeUser = { name: "system:anonymous", rules: [] };

/** A wrong token or certificate is refused; showing nothing is anonymous, who is allowed nothing. @throws {ApiError} 401 */
export function authenticate(
  request: IncomingMessage,
  { tokens, certificateUsers }: Authentication,
): FakeUser {
  if (tokens === undefined) return { name: "system:unsecured" };
  const { socket } = request;
  if (socket instanceof TLSSocket) {
    const { subject } = socket.getPeerCertificate();
    if (socket.authorized) {
      const name = [subject.CN].flat()[0] ?? "";
      return certificateUsers[name] ?? { name };
    }
    // A certificate by an authority that is not known.
    if (subject !== undefined) throw unauthorized();
  }
  const [, token] = /^Bearer (.+)$/.exec(request.headers.authorization ?? "") ?? [];
  if (token === undefined) return ANONYMOUS;
  const user = tokens[token];
  if (user === undefined) throw unauthorized();
  return user;
}

/** @throws {ApiError} 403 */
export function authorize(user: FakeUser, verb: string, path: ResourcePath): void {
  const { type, namespace, name, subresource } = path;
  if (user.rules === undefined) return;
  const resource = subresource === undefined ? type.resource : `${type.resource}/${subresource}`;
  const has = (list: readonly string[], value: string): boolean => list.includes("*") || list.includes(value);
  const isAllowed = user.rules.some(
    (rule) =>
      has(rule.verbs, verb) &&
      has(rule.apiGroups, type.group) &&
      has(rule.resources, resource) &&
      (rule.resourceNames === undefined || (name !== undefined && rule.resourceNames.includes(name))),
  );
  if (!isAllowed) throw forbidden({ user: user.name, verb, type, namespace, name, subresource });
}

// What an operator reads when a call to etcd fails.
import { expect, test } from "vitest";
import { callError, classifyFailure, TOKEN_REFUSED } from "../../../src/etcd/call-errors.ts";

test.each([
  {
    text: "14 UNAVAILABLE: No connection established. Last error: connect ECONNREFUSED 127.0.0.1:4001 (2026-11-21T10:00:00.000Z)",
    kind: "unreachable",
    retryable: true,
    says: "connection refused; is etcd running there, and is the port right?",
  },
  {
    text: "4 DEADLINE_EXCEEDED: Deadline exceeded",
    kind: "unreachable",
    retryable: true,
    says: "no answer in time",
  },
  {
    text: "14 UNAVAILABLE: etcdserver: no leader",
    kind: "unreachable",
    retryable: true,
    says: "more than half",
  },
  {
    text: "14 UNAVAILABLE: No connection established. Last error: Error: self-signed certificate in certificate chain",
    kind: "tls",
    retryable: false,
    says: "--etcd-cafile",
  },
  {
    text: "write EPROTO: tlsv13 alert certificate required",
    kind: "tls",
    retryable: false,
    says: "--etcd-certfile",
  },
  {
    text: "Hostname/IP does not match certificate's altnames: IP: 10.0.0.1 is not in the cert's list: 127.0.0.1",
    kind: "tls",
    retryable: false,
    says: "for another name",
  },
  {
    text: "3 INVALID_ARGUMENT: etcdserver: authentication failed, invalid user ID or password",
    kind: "credentials",
    retryable: false,
    says: "--etcd-username",
  },
  {
    text: "7 PERMISSION_DENIED: etcdserver: permission denied",
    kind: "permission",
    retryable: false,
    says: "readwrite",
  },
  {
    text: `16 UNAUTHENTICATED: ${TOKEN_REFUSED}`,
    kind: "token",
    retryable: true,
    says: "no longer knows ours",
  },
  {
    text: "3 INVALID_ARGUMENT: etcdserver: revision of auth store is old",
    kind: "token",
    retryable: true,
    says: "",
  },
  {
    text: "8 RESOURCE_EXHAUSTED: etcdserver: mvcc: database space exceeded",
    kind: "refused",
    retryable: true,
    says: "disarm",
  },
  {
    text: "3 INVALID_ARGUMENT: etcdserver: key is not provided",
    kind: "refused",
    retryable: false,
    says: "key is not",
  },
  { text: "something new", kind: "unreachable", retryable: true, says: "something new" },
])("$text", ({ text, kind, retryable, says }) => {
  const failure = classifyFailure(new Error(text));
  expect(failure).toMatchObject({ kind, retryable });
  expect(failure.message).toContain(says);
});

test("the time of an attempt is no part of the message, so that a lasting error stays one message", () => {
  const at = (time: string) => classifyFailure(new Error(`Last error: broken (${time})`)).message;
  expect(at("2026-11-21T10:00:00.000Z")).toBe(at("2026-11-21T10:00:07.123Z"));
});

test("a call that failed everywhere names every server once, and may be repeated if any of them may recover", () => {
  const refused = classifyFailure(new Error("connect ECONNREFUSED"));
  const untrusted = classifyFailure(new Error("self-signed certificate"));
  const error = callError("get /x", [
    { url: "https://a:1", failure: untrusted },
    { url: "https://b:1", failure: refused },
    { url: "https://a:1", failure: untrusted },
  ]);
  expect(error.retryable).toBe(true);
  expect(error.message).toMatch(/^etcd get \/x: https:\/\/a:1: .*; https:\/\/b:1: connection refused/);
  expect(error.message.match(/https:\/\/a:1/g)).toHaveLength(1);
  expect(callError("get", [{ url: "https://a:1", failure: untrusted }]).retryable).toBe(false);
});

// The words of policy explain: which ends and ports can be named, and what is said of those that cannot.
import { describe, expect, it } from "vitest";
import { InvalidValueError } from "../../../src/net/errors.ts";
import { parseExplainQuestion, resolveEnd } from "../../../src/policy/explain-question.ts";
import { explainReach } from "../../../src/policy/explain.ts";
import { DEFAULT_POLICY_SETTINGS } from "../../../src/policy/settings.ts";
import { parseIp } from "../../../src/net/ip.ts";
import { namedPort, podOf, snapshotOf } from "../../support/policy-cluster.ts";

describe("FROM and TO", () => {
  it.each([
    ["shop/web", { kind: "pod", namespace: "shop", name: "web" }],
    ["web", { kind: "pod", namespace: "default", name: "web" }],
    ["web-0.a", { kind: "pod", namespace: "default", name: "web-0.a" }],
    ["10.0.0.1", { kind: "ip", ip: "10.0.0.1" }],
    ["fd00::1", { kind: "ip", ip: "fd00::1" }],
    ["node/n1.example", { kind: "node", name: "n1.example" }],
  ])("%s", (text, end) => {
    expect(parseExplainQuestion(text, text)).toEqual({ from: end, to: end });
  });

  it.each(["", "Web", "a/b/c", "a b", "10.0.0.1/24", "node/", "../x", "a/b\n"])("refuses %j", (text) => {
    expect(() => parseExplainQuestion(text, "a")).toThrow(InvalidValueError);
    expect(() => parseExplainQuestion("a", text)).toThrow(InvalidValueError);
  });
});

describe("TO:PORT/PROTOCOL", () => {
  it.each([
    ["db:5432", { protocol: "TCP", port: 5432 }],
    ["shop/db:53/UDP", { protocol: "UDP", port: 53 }],
    ["shop/db:53/udp", { protocol: "UDP", port: 53 }],
    ["node/n1:132/SCTP", { protocol: "SCTP", port: 132 }],
    ["10.0.0.1:http", { protocol: "TCP", port: "http" }],
    ["[fd00::1]:65535", { protocol: "TCP", port: 65_535 }],
    ["db:0/ICMP", { protocol: "ICMP" }],
    ["db:/icmp", { protocol: "ICMP" }],
  ])("%s", (text, service) => {
    expect(parseExplainQuestion("a", text).service).toEqual(service);
  });

  it("takes brackets without a port, and IPv6 without brackets", () => {
    expect(parseExplainQuestion("a", "[fd00::1]")).toEqual(parseExplainQuestion("a", "fd00::1"));
    expect(parseExplainQuestion("a", "fd00::1:80").to).toEqual({ kind: "ip", ip: "fd00::1:80" });
  });

  it.each([
    "db:",
    "db:0",
    "db:65536",
    "db:80/GRE",
    "db:80/TCP/x",
    "db:HTTP",
    "db:80:90",
    "db:5/ICMP",
    "[fd00::1]80",
  ])("refuses %s", (text) => {
    expect(() => parseExplainQuestion("a", text)).toThrow(InvalidValueError);
  });
});

const SNAPSHOT = snapshotOf({
  pods: [
    podOf("shop/web", "1.5", {}, { ports: [namedPort("http", 8080)] }),
    podOf("shop/old", "1.6", {}, { finished: true }),
    podOf("shop/new", "1.7", {}, { ips: [] }),
    podOf("node/n9", "2.8"),
    podOf("six/only", "2.9", {}, { ips: [parseIp("fd00:2::9")] }),
  ],
});

describe("an end that cannot be asked about is explained", () => {
  it.each([
    ["shop/wbe", "there is no pod shop/wbe; did you mean shop/web?"],
    ["shop/old", "pod shop/old has finished: its address may be another pod's by now"],
    ["shop/new", "pod shop/new has no address yet; ask again once it is running"],
    ["node/n3", "there is no node n3; did you mean n1?"],
    ["node/n9", "there is no node n9; name pod node/n9 by its address 10.244.2.8"],
  ])("%s", (text, message) => {
    expect(() => resolveEnd(parseExplainQuestion(text, "a").from, SNAPSHOT)).toThrow(message);
  });

  it.each([
    ["10.244.1.5", "six/only", "10.244.1.5 (pod shop/web) has IPv4 only and pod six/only IPv6 only"],
    ["six/only", "shop/web:https", 'declares no TCP port "https"; it declares http (TCP 8080)'],
    ["six/only", "[2001:db8::9]:http", "2001:db8::9 is no pod"],
  ])("%s to %s", (from, to, message) => {
    const question = parseExplainQuestion(from, to);
    expect(() => explainReach(SNAPSHOT, DEFAULT_POLICY_SETTINGS, question)).toThrow(message);
  });
});

// What people are told about policy, one file per question, reviewed as documentation.
import { describe, expect, it } from "vitest";
import { renderExplain } from "../../../src/cli/policy-explain-render.ts";
import { renderInForce } from "../../../src/cli/policy-in-force-render.ts";
import { renderMatrix } from "../../../src/cli/policy-matrix-render.ts";
import { compilePolicy } from "../../../src/policy/compile.ts";
import { explainReach } from "../../../src/policy/explain.ts";
import { parseExplainQuestion, parseService } from "../../../src/policy/explain-question.ts";
import type { KernelReport } from "../../../src/policy/explain-report.ts";
import { describeInForce } from "../../../src/policy/in-force-report.ts";
import type { InForceReport, PolicyInForce } from "../../../src/policy/in-force-report.ts";
import { planMatrix } from "../../../src/policy/matrix.ts";
import type { MatrixQuestion } from "../../../src/policy/matrix.ts";
import { DEFAULT_POLICY_SETTINGS } from "../../../src/policy/settings.ts";
import type { PolicySettings } from "../../../src/policy/settings.ts";
import { namedPort, namespaceOf, podOf, policiesOf, snapshotOf } from "../../support/policy-cluster.ts";

const NOW = Date.parse("2026-11-21T12:00:00Z");

const POLICIES = policiesOf(`
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: db, namespace: shop, generation: 3}
spec:
  podSelector: {matchLabels: {app: db}}
  policyTypes: [Ingress, Egress]
  ingress:
  - from: [{podSelector: {matchLabels: {app: web}}}]
    ports: [{port: postgres}, {port: 9187}]
  - from: [{namespaceSelector: {matchLabels: {team: ops}}}, {ipBlock: {cidr: 198.51.100.0/24, except: [198.51.100.128/25]}}]
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: web-egress, namespace: shop}
spec:
  podSelector: {matchLabels: {app: web}}
  policyTypes: [Egress]
  egress:
  - to: [{podSelector: {}}]
    ports: [{port: 5432}, {port: 8000, endPort: 8100}]
  - ports: [{protocol: UDP, port: 53}]
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: deny-all, namespace: vault}
spec: {podSelector: {}, policyTypes: [Ingress, Egress]}`);

const PODS = [
  podOf("shop/web", "1.5", { app: "web" }),
  podOf("shop/db", "1.7", { app: "db" }, { ports: [namedPort("postgres", 5432)] }),
  podOf("shop/job", "2.9", { app: "job" }),
  podOf("ops/prober", "2.11"),
  podOf("vault/vault", "2.12"),
  podOf("default/agent", "1.0", {}, { ips: podOf("x/x", "1.0").ips.slice(0, 0), hostNetwork: true }),
];
const NAMESPACES = [
  namespaceOf("shop"),
  namespaceOf("ops", { team: "ops" }),
  namespaceOf("vault"),
  namespaceOf("default"),
];
const SNAPSHOT = snapshotOf({ pods: PODS, policies: POLICIES, namespaces: NAMESPACES });

const AGREES: KernelReport = {
  state: "agrees",
  facts: ["egress of shop/web (10.244.1.5): chain FTSP-E-abcdefghij234567, set FTSP-4e-abcdefghij234567"],
  differences: [],
  checked: 17,
  denied: [{ pod: "shop/web", direction: "egress", packets: 41 }],
};
const DISAGREES: KernelReport = {
  ...AGREES,
  state: "disagrees",
  differences: [
    "the rule of FORWARD (IPv4) that leads to FTSP-FORWARD is missing: no policy is enforced",
    "10.244.1.5 is not in set FTSP-4e-abcdefghij234567 (pods isolated in egress), and should be",
  ],
  cure: "the daemon puts back what others change",
};

function explained(
  from: string,
  to: string,
  { settings = {}, kernel }: { settings?: Partial<PolicySettings>; kernel?: KernelReport } = {},
): string {
  const all = { ...DEFAULT_POLICY_SETTINGS, ...settings };
  const report = explainReach(SNAPSHOT, all, parseExplainQuestion(from, to));
  return renderExplain({ ...report, ...(kernel && { kernel }) });
}

describe("policy explain", () => {
  it.each([
    ["allowed-by-both-ends", explained("shop/web", "shop/db:5432", { kernel: AGREES })],
    ["allowed-by-name-of-port", explained("shop/web", "shop/db:postgres")],
    ["denied-for-its-port", explained("shop/web", "shop/db:80")],
    ["denied-for-its-peer", explained("shop/job", "shop/db:5432")],
    ["denied-from-another-namespace", explained("vault/vault", "shop/db:5432")],
    ["denied-by-a-policy-without-rules", explained("shop/job", "vault/vault:8200/TCP")],
    ["any-port", explained("shop/web", "shop/db")],
    ["any-port-to-an-open-pod", explained("shop/job", "ops/prober")],
    ["ping", explained("ops/prober", "shop/db:0/ICMP")],
    ["ping-by-setting", explained("shop/web", "shop/db:/icmp", { settings: { icmp: "allow-echo" } })],
    ["to-an-address-outside", explained("shop/web", "203.0.113.9:443")],
    ["from-an-address-in-a-block", explained("198.51.100.7", "shop/db:5432")],
    ["from-an-address-in-an-except", explained("198.51.100.200", "shop/db:5432")],
    ["from-its-own-node", explained("node/n1", "shop/db:5432")],
    ["from-another-node", explained("node/n2", "shop/db:5432")],
    ["to-itself", explained("shop/db", "shop/db:80")],
    ["to-an-address-nobody-has", explained("shop/job", "10.244.2.77:80")],
    ["kernel-disagrees", explained("shop/web", "shop/db:5432", { kernel: DISAGREES })],
    [
      "kernel-of-another-node",
      explained("shop/job", "ops/prober:80", { kernel: { ...AGREES, state: "not-asked" } }),
    ],
  ])("%s", async (name, text) => {
    await expect(text).toMatchFileSnapshot(`explain-${name}.txt`);
  });
});

function matrixOf(question: MatrixQuestion, snapshot = SNAPSHOT): string {
  const { rows, ...plan } = planMatrix(snapshot, DEFAULT_POLICY_SETTINGS, question);
  return renderMatrix({ ...plan, cells: [...rows] });
}

describe("policy matrix", () => {
  it.each([
    ["any-port", matrixOf({})],
    ["one-port", matrixOf({ service: parseService("5432") })],
    ["named-port", matrixOf({ service: parseService("postgres") })],
    ["namespace", matrixOf({ namespace: "shop" })],
    ["empty", matrixOf({ namespace: "nothing" })],
  ])("%s", async (name, text) => {
    await expect(text).toMatchFileSnapshot(`matrix-${name}.txt`);
  });

  it("is bounded and says so", () => {
    const many = Array.from({ length: 60 }, (_, i) => podOf(`big/pod-${i}`, `1.${i + 20}`));
    const lines = matrixOf({}, snapshotOf({ pods: many })).split("\n");
    expect(lines).toHaveLength(57);
    expect(lines.at(-2)).toBe("Only the first 50 of 60 pods are shown; choose a namespace with -n");
  });
});

const WELL: InForceReport = (() => {
  const described = describeInForce({
    snapshot: SNAPSHOT,
    compiled: compilePolicy(SNAPSHOT, DEFAULT_POLICY_SETTINGS),
    since: (key) => Date.parse(key === "shop/db" ? "2026-11-21T08:48:00Z" : "2026-11-19T12:00:00Z"),
  });
  return {
    ...described,
    pods: { ...described.pods, waiting: 0 },
    lastPass: { at: "2026-11-21T11:59:51Z", durationMs: 3.4, failed: [] },
    repairs: 0,
    denied: [
      { pod: "shop/web", direction: "egress", packets: 41 },
      { pod: "shop/db", direction: "ingress", packets: 7 },
    ],
    problems: [],
    warnings: [],
    source: { connected: true },
    skipped: [],
  };
})();

function withoutSince(policy: PolicyInForce): PolicyInForce {
  return Object.fromEntries(
    Object.entries(policy).filter(([key]) => key !== "since"),
  ) as unknown as PolicyInForce;
}

const ILL: InForceReport = {
  ...WELL,
  policies: WELL.policies.map(withoutSince),
  pods: { ...WELL.pods, waiting: 2 },
  lastPass: {
    at: "2026-11-21T11:59:51Z",
    durationMs: 30_000,
    failed: [
      { key: "FTSP-4k-aaaaaaaaaaaaaaaa", reason: "ipset: not found; install the package that has it" },
    ],
  },
  repairs: 12,
  denied: [],
  problems: [
    "bridge-nf-call-iptables is 0: traffic between pods of this node passes unseen; modprobe br_netfilter",
  ],
  warnings: ["denied packets are not logged: tcpdump is not found; install it (Debian, Alpine: tcpdump)"],
  source: { connected: false, problem: "https://10.96.0.1: connection refused" },
  skipped: [
    { kind: "policies", key: "shop/odd\u001b[2J", reason: "spec.ingress[0].ports[0].port: must be a number" },
  ],
};

describe("policy status", () => {
  it.each([
    ["in-force", WELL],
    ["not-in-force", ILL],
    ["without-policies", { ...WELL, policies: [], elsewhere: 0, denied: [] }],
  ])("%s", async (name, report) => {
    await expect(renderInForce(report, NOW)).toMatchFileSnapshot(`status-${name}.txt`);
  });
});

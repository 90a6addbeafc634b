// The rules that the user's own policies become on a node: read the .txt files as documentation.
import { expect, test } from "vitest";
import { compilePolicy } from "../../../src/policy/compile.ts";
import { DEFAULT_POLICY_SETTINGS } from "../../../src/policy/settings.ts";
import type { PolicySettings } from "../../../src/policy/settings.ts";
import type { Pod } from "../../../src/policy/snapshot.ts";
import { namedPort, namespaceOf, podOf, policiesOf, snapshotOf } from "../../support/policy-cluster.ts";
import { policyText } from "../../support/policy-text.ts";

interface Scenario {
  readonly name: string;
  readonly policies: string;
  readonly pods: readonly Pod[];
  readonly settings?: Partial<PolicySettings>;
}

const SCENARIOS: readonly Scenario[] = [
  {
    name: "no-policy",
    policies: "",
    pods: [podOf("default/web", "1.2"), podOf("default/far", "2.2")],
  },
  {
    name: "defaults",
    policies: `
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: default-deny-ingress, namespace: a}
spec: {podSelector: {}, policyTypes: [Ingress]}
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: allow-all-ingress, namespace: b}
spec: {podSelector: {}, ingress: [{}]}
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: default-deny-egress, namespace: c}
spec: {podSelector: {}, policyTypes: [Egress]}
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: allow-all-egress, namespace: d}
spec: {podSelector: {}, egress: [{}], policyTypes: [Egress]}
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: default-deny-both, namespace: e}
spec: {podSelector: {}, policyTypes: [Ingress, Egress]}`,
    pods: ["a", "b", "c", "d", "e", "open"].map((namespace, index) =>
      podOf(`${namespace}/web`, `1.${index + 2}`),
    ),
  },
  {
    name: "access-nginx",
    policies: `
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: access-nginx, namespace: gomo-test}
spec:
  podSelector: {matchLabels: {run: nginx}}
  ingress:
  - from:
    - podSelector: {matchLabels: {access: "true"}}`,
    pods: [
      podOf("gomo-test/nginx", "1.2", { run: "nginx" }),
      podOf("gomo-test/friend", "2.2", { access: "true" }),
      podOf("gomo-test/stranger", "2.3"),
    ],
  },
  {
    name: "deny-egress-test",
    policies: `
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: deny-egress-test, namespace: new-ns}
spec:
  podSelector: {matchLabels: {app: deny-egress-test}}
  policyTypes: [Egress]`,
    pods: [podOf("new-ns/pod", "1.2", { app: "deny-egress-test" })],
    settings: { denyWith: "reject", logGroup: 100 },
  },
  {
    name: "role-db",
    policies: `
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: test-network-policy, namespace: default}
spec:
  podSelector:
    matchLabels: {role: db}
  policyTypes: [Ingress, Egress]
  ingress:
  - from:
    - ipBlock: {cidr: 172.17.0.0/16, except: [172.17.1.0/24]}
    - namespaceSelector: {matchLabels: {project: myproject}}
    - podSelector: {matchLabels: {role: frontend}}
    ports:
    - {protocol: TCP, port: 6379}
  egress:
  - to:
    - ipBlock: {cidr: 10.0.0.0/24}
    ports:
    - {protocol: TCP, port: 5978}`,
    pods: [
      podOf("default/db", "1.2", { role: "db" }),
      podOf("default/frontend", "2.2", { role: "frontend" }),
      podOf("mine/job", "2.3"),
    ],
  },
  {
    name: "ports-of-every-kind",
    policies: `
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: web, namespace: default}
spec:
  podSelector: {matchLabels: {app: web}}
  ingress:
  - from: [{podSelector: {}}]
    ports: [{port: http}, {port: 9000, endPort: 9099}, {port: 443}, {protocol: UDP}, {protocol: SCTP, port: 7}]
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: web-monitoring, namespace: default}
spec:
  podSelector: {matchLabels: {app: web}}
  ingress:
  - from: [{namespaceSelector: {matchLabels: {project: myproject}}}]
    ports: [{port: http}]`,
    pods: [
      podOf("default/web-1", "1.2", { app: "web" }, { ports: [namedPort("http", 8080)] }),
      podOf(
        "default/web-2",
        "1.3",
        { app: "web" },
        { ports: [namedPort("http", 8081), namedPort("http", 9081)] },
      ),
      podOf("mine/scraper", "2.3"),
    ],
  },
];

test.for(SCENARIOS)("$name", async ({ name, policies, pods, settings }) => {
  const snapshot = snapshotOf({ pods, policies: policies === "" ? [] : policiesOf(policies) });
  const namespaces = snapshot.namespaces.map((one) =>
    one.name === "mine" ? namespaceOf("mine", { project: "myproject" }) : one,
  );
  for (const family of [4, 6] as const) {
    const compiled = compilePolicy(
      { ...snapshot, namespaces },
      { ...DEFAULT_POLICY_SETTINGS, ...settings, families: [family] },
    );
    await expect(policyText(compiled)).toMatchFileSnapshot(`${name}-ipv${family}.txt`);
  }
});

// The pods that a lab makes so that a file of policies is about something.
import { expect, it } from "vitest";
import { planPolicyPods, podArgs } from "../../../lab/plan-policy.ts";

const policy = (spec: object, namespace?: string) => ({
  apiVersion: "networking.k8s.io/v1",
  kind: "NetworkPolicy",
  metadata: { name: "p", ...(namespace && { namespace }) },
  spec,
});

it("makes one pod of each kind that the policies name, and a stranger", () => {
  const plan = planPolicyPods([
    policy(
      {
        podSelector: { matchLabels: { role: "db" } },
        ingress: [
          {
            from: [
              { podSelector: { matchLabels: { role: "frontend" } } },
              { namespaceSelector: { matchLabels: { project: "x" } } },
              { ipBlock: { cidr: "10.0.0.0/8" } },
            ],
            ports: [{ protocol: "UDP", port: 53 }, { port: 6379 }],
          },
        ],
      },
      "shop",
    ),
  ]);
  expect(plan).toEqual({
    roles: [
      { namespace: "shop", labels: { role: "db" } },
      { namespace: "shop", labels: { role: "frontend" } },
      { namespace: "lab-1", labels: {} },
      { namespace: "shop", labels: {} },
    ],
    namespaces: [
      { apiVersion: "v1", kind: "Namespace", metadata: { name: "lab-1", labels: { project: "x" } } },
    ],
    port: 6379,
  });
});

it("declares a port that the policies know by its name only, and satisfies expressions", () => {
  const expressions = [
    { key: "tier", operator: "In", values: ["a", "b"] },
    { key: "canary", operator: "Exists" },
    { key: "old", operator: "DoesNotExist" },
  ];
  const plan = planPolicyPods([
    policy({ podSelector: { matchExpressions: expressions }, ingress: [{ ports: [{ port: "http" }] }] }),
  ]);
  expect(plan).toMatchObject({ port: 8080, portName: "http" });
  const [subject] = plan.roles;
  expect(subject && podArgs("n1-p1", subject, plan)).toEqual([
    ["IgnoreUnknown", "1"],
    ["K8S_POD_NAMESPACE", "default"],
    ["K8S_POD_NAME", "n1-p1"],
    ["POD_LABELS", "tier:a,canary:yes"],
    ["POD_PORTS", "http:8080"],
  ]);
});

it("is content with a file without policies: what is wrong with it is for `policy apply` to say", () => {
  expect(planPolicyPods([{ kind: "Pod" }, "text", null])).toEqual({
    roles: [{ namespace: "default", labels: {} }],
    namespaces: [],
    port: 80,
  });
});

// Whom a policy is about, and in which directions.
import { policyOf } from "../../support/policy-cluster.ts";
import { CLIENT, DENY_INGRESS, scenarios } from "../../support/policy-scenarios.ts";

scenarios("1.1 the subject", [
  { name: "no policy: open", policies: [], accept: ["x/a -> x/b", "y/a -> x/b", `${CLIENT} -> x/b`] },
  {
    name: "a policy is about pods of its own namespace",
    policies: [policyOf("y/p", "{}")],
    accept: ["x/c -> x/a", "y/a -> x/a"],
    deny: ["x/a -> y/a"],
  },
  {
    name: "an empty selector is every pod of the namespace",
    policies: [policyOf("x/p", "{podSelector: {}}")],
    deny: ["x/a -> x/b", "x/b -> x/a", "x/a -> x/c"],
    accept: ["x/a -> y/a"],
  },
  {
    name: "matchLabels and matchExpressions must all hold",
    policies: [
      policyOf(
        "x/p",
        "{podSelector: {matchLabels: {app: b}, matchExpressions: [{key: tier, operator: DoesNotExist}]}}",
      ),
    ],
    accept: ["x/a -> x/b"],
  },
  {
    name: "NotIn holds where the key is missing",
    policies: [
      policyOf("x/p", "{podSelector: {matchExpressions: [{key: tier, operator: NotIn, values: [db]}]}}"),
    ],
    deny: ["x/b -> x/a", "x/a -> x/c"],
    accept: ["x/a -> x/b"],
  },
  {
    name: "directions are independent",
    policies: [policyOf("x/p", "{podSelector: {matchLabels: {app: b}}, policyTypes: [Egress]}")],
    accept: ["x/a -> x/b"],
    deny: ["x/b -> x/a"],
  },
  {
    name: "policies add up, in any order",
    policies: [
      policyOf("x/p", "{podSelector: {}, ingress: [{ports: [{port: 80}]}]}"),
      policyOf(
        "x/q",
        "{podSelector: {matchLabels: {app: b}}, ingress: [{from: [{podSelector: {matchLabels: {app: a}}}], ports: [{port: 81}]}]}",
      ),
      DENY_INGRESS,
    ],
    accept: ["x/a -> x/b", "x/a -> x/b 81/TCP", "y/a -> x/b"],
    deny: ["x/c -> x/b 81/TCP", "x/b -> x/a 81/TCP"],
  },
]);

scenarios("1.2 policyTypes", [
  {
    name: "rules of a direction that is not listed do not count",
    policies: [policyOf("x/p", "{policyTypes: [Ingress], egress: [{to: [{podSelector: {}}]}]}")],
    accept: ["x/a -> y/a"],
    deny: ["y/a -> x/a"],
  },
  {
    name: "egress open and ingress closed in one policy: neither direction borrows from the other",
    policies: [policyOf("x/p", "{policyTypes: [Ingress, Egress], ingress: [], egress: [{}]}")],
    accept: ["x/a -> y/a"],
    deny: ["x/a -> x/b", "x/a -> x/c"],
  },
  {
    name: "and the reverse",
    policies: [policyOf("x/p", "{policyTypes: [Ingress, Egress], ingress: [{}], egress: []}")],
    accept: ["y/a -> x/a"],
    deny: ["x/a -> x/b", "x/a -> y/a"],
  },
  {
    name: "the empty rule allows all",
    policies: [policyOf("x/p", "{ingress: [{}]}"), DENY_INGRESS],
    accept: ["y/a -> x/b", `${CLIENT} -> x/b 9/SCTP`, "x/a -> x/b 8/ICMP"],
  },
]);

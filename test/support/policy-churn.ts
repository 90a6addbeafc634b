// Policies and pods that change all the time, beside a few fixed pods of which one pair is always allowed and one never.
import * as fc from "fast-check";
import type { Policy, PolicySnapshot } from "../../src/policy/snapshot.ts";
import { changes, scenarios } from "./policy-arbitraries.ts";
import { podOf, policyOf } from "./policy-cluster.ts";

/** A namespace of their own, which random policies never select; their dispatch changes with all others'. */
const FIXED_PODS = [
  podOf("fixed/client", "1.101", { app: "client" }),
  podOf("fixed/open", "1.102", { app: "open" }),
  podOf("fixed/closed", "1.103", { app: "closed" }),
];
export const CHURN_IPS = { client: "10.244.1.101", open: "10.244.1.102", closed: "10.244.1.103" } as const;
export const CHURN_PORT = 9999;

const FIXED_POLICIES: readonly Policy[] = [
  policyOf("fixed/open", `{podSelector: {matchLabels: {app: open}}, ingress: [{from: [{podSelector: {matchLabels: {app: client}}}], ports: [{protocol: UDP, port: ${CHURN_PORT}}]}]}`),
  policyOf("fixed/closed", "{podSelector: {matchLabels: {app: closed}}, ingress: [{from: [{podSelector: {matchLabels: {app: nobody}}}]}]}"),
  policyOf("fixed/client", "{podSelector: {matchLabels: {app: client}}, policyTypes: [Egress], egress: [{to: [{namespaceSelector: {}}]}]}"),
]; // prettier-ignore

/** Now and then somebody else joins the fixed ones, so that their own sets and chains change, too. */
const NEIGHBORS = [1, 2, 3].map((n) =>
  podOf(`fixed/n${n}`, `1.${110 + n}`, { app: ["open", "closed", "client"][n - 1] ?? "" }),
);
/** More ways of isolation than a branch holds, so that the tree grows and shrinks. */
const MORE_POLICIES = Array.from({ length: 12 }, (_, n) =>
  policyOf(
    `fixed/more-${n}`,
    `{podSelector: {matchLabels: {app: more-${n}}}, ingress: [{ports: [{port: ${n + 1}}]}]}`,
  ),
);
const MORE_PODS = MORE_POLICIES.map((_, n) => podOf(`fixed/more-${n}`, `1.${130 + n}`, { app: `more-${n}` }));

/** The same for one seed. Ends never. */
export function* churn(seed: number): Generator<PolicySnapshot> {
  for (let round = 0; ; round += 1) {
    const [scenario] = fc.sample(scenarios, { seed: seed + round * 1000, numRuns: 1 });
    const steps = fc.sample(changes, { seed: seed + round * 1000 + 1, numRuns: 12 });
    if (scenario === undefined) return;
    let { snapshot } = scenario;
    for (const [at, change] of steps.entries()) {
      if (snapshot.pods.length > 0 && snapshot.policies.length > 0 && snapshot.namespaces.length > 0)
        snapshot = change(snapshot);
      const more = (at * 7 + round) % (MORE_PODS.length + 1);
      yield {
        ...snapshot,
        nodeName: "n1",
        namespaces: [
          ...snapshot.namespaces,
          { name: "fixed", labels: { "kubernetes.io/metadata.name": "fixed" } },
        ],
        pods: [...snapshot.pods, ...FIXED_PODS, ...NEIGHBORS.slice(0, at % 4), ...MORE_PODS.slice(0, more)],
        policies: [...snapshot.policies, ...FIXED_POLICIES, ...MORE_POLICIES.slice(0, more)],
      };
    }
  }
}

// The law of the policy engine: what the compiled rules do is what the specification says, for any cluster and packet.
import * as fc from "fast-check";
import { expect, test } from "vitest";
import { createEvaluator } from "../../../src/policy/evaluate.ts";
import { scenarios, settings } from "../../support/policy-arbitraries.ts";
import { createCluster } from "../../support/policy-path.ts";
import { runs } from "../../support/property-runs.ts";

test("compiled rules, interpreted on every node, agree with evaluate", () => {
  fc.assert(
    fc.property(scenarios, settings, ({ snapshot, packets }, settings) => {
      const evaluate = createEvaluator(snapshot, settings);
      const cluster = createCluster(snapshot, settings);
      for (const packet of packets) {
        const { verdict, egress, ingress } = evaluate(packet);
        const outcomes = cluster.send(packet);
        const passes = [...outcomes.values()].every((outcome) => outcome.verdict === "pass");
        expect({ packet, egress, ingress, passes }).toEqual({
          packet,
          egress,
          ingress,
          passes: verdict === "accept",
        });
      }
    }),
    { numRuns: runs(400) },
  );
});

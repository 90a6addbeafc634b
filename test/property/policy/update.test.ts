// Between two snapshots nothing opens that both close, and nothing closes that both allow, at any point of the way.
import * as fc from "fast-check";
import { expect, test } from "vitest";
import { compilePolicy } from "../../../src/policy/compile.ts";
import type { Packet } from "../../../src/policy/packet.ts";
import { DEFAULT_POLICY_SETTINGS } from "../../../src/policy/settings.ts";
import type { PolicySnapshot } from "../../../src/policy/snapshot.ts";
import { changes, scenarios } from "../../support/policy-arbitraries.ts";
import { createInterpreter } from "../../support/policy-interpreter.ts";
import { hopsOf } from "../../support/policy-path.ts";
import { statesBetween } from "../../support/policy-update.ts";
import { runs } from "../../support/property-runs.ts";

test("one change at a time: a pod joins, leaves or is relabelled, a namespace or a policy changes", () => {
  fc.assert(
    fc.property(scenarios, changes, ({ snapshot, packets }, change) => {
      for (const { name } of snapshot.nodes) {
        const before = { ...snapshot, nodeName: name };
        checkWay(before, change(before), packets);
      }
    }),
    { numRuns: runs(40) },
  );
});

function checkWay(before: PolicySnapshot, after: PolicySnapshot, packets: readonly Packet[]): void {
  const [from, to] = [before, after].map((snapshot) => compilePolicy(snapshot, DEFAULT_POLICY_SETTINGS));
  if (from === undefined || to === undefined) return;
  const ends = [createInterpreter(from), createInterpreter(to)];
  const between = statesBetween(from, to).map(createInterpreter);
  for (const packet of packets) {
    for (const [node, hop] of hopsOf(before, packet)) {
      if (node !== before.nodeName) continue;
      const verdicts = new Set(ends.map((end) => end.run(hop).verdict));
      if (verdicts.size > 1) continue;
      const onTheWay = between.map((state) => state.run(hop).verdict);
      expect({ hop, verdicts: new Set(onTheWay) }).toEqual({ hop, verdicts });
    }
  }
}

// What people are told of policy is what the evaluator says, for any cluster: explain, matrix, and the kernel as it should be.
import * as fc from "fast-check";
import { expect, test } from "vitest";
import { renderExplain } from "../../../src/cli/policy-explain-render.ts";
import { askKernel } from "../../../src/daemon/policy/explain-kernel.ts";
import { hasMember } from "../../../src/host/member-list.ts";
import type { Exec } from "../../../src/kernel/exec.ts";
import { firewallKey, firewallRowsEqual } from "../../../src/kernel/iptables/saved-rows.ts";
import { cidrContainsIp, tryParseCidr } from "../../../src/net/cidr.ts";
import type { Ip } from "../../../src/net/ip.ts";
import { indexCluster } from "../../../src/policy/cluster-index.ts";
import { compilePolicy } from "../../../src/policy/compile.ts";
import type { CompiledPolicy } from "../../../src/policy/compile.ts";
import { createEvaluator } from "../../../src/policy/evaluate.ts";
import { explainReach } from "../../../src/policy/explain.ts";
import type { End, Service } from "../../../src/policy/explain-question.ts";
import { planMatrix } from "../../../src/policy/matrix.ts";
import { newPacket } from "../../../src/policy/reach.ts";
import { objectKey, POLICY_PROTOCOLS } from "../../../src/policy/snapshot.ts";
import type { PolicySnapshot } from "../../../src/policy/snapshot.ts";
import { scenarios, settings } from "../../support/policy-arbitraries.ts";

const RUNS = Number(process.env["POLICY_RUNS"] ?? 100);

const services: fc.Arbitrary<Service | undefined> = fc.option(
  fc.oneof(
    fc.record({
      protocol: fc.constantFrom(...POLICY_PROTOCOLS),
      port: fc.constantFrom(80, 81, 443, 8080, 65_535),
    }),
    fc.constant({ protocol: "ICMP" } as const),
  ),
  { nil: undefined },
);

/** Pods by addresses that are theirs alone, so that a name and its addresses mean the same. */
function ends(
  snapshot: PolicySnapshot,
): readonly { readonly key: string; readonly end: End; readonly ips: readonly Ip[] }[] {
  const { podsByNamespace } = indexCluster(snapshot);
  return [...podsByNamespace.values()].flat().flatMap(({ pod, ips }) => {
    const isWhole = ips.length === pod.ips.length;
    return isWhole ? { key: objectKey(pod), ips, end: { kind: "pod", ...pod } as const } : [];
  });
}

test("explain and matrix say what evaluate says of every packet", () => {
  fc.assert(
    fc.property(scenarios, settings, services, ({ snapshot }, settings, service) => {
      const evaluate = createEvaluator(snapshot, settings);
      const { rows, pods } = planMatrix(snapshot, settings, service === undefined ? {} : { service });
      const cells = [...rows];
      for (const from of ends(snapshot)) {
        for (const to of ends(snapshot)) {
          const cell = cells[pods.indexOf(from.key)]?.[pods.indexOf(to.key)];
          if (cell === "none") continue;
          const question = { from: from.end, to: to.end, ...(service && { service }) };
          const report = explainReach(snapshot, settings, question);
          expect(report.verdict).toBe(cell);
          expect(renderExplain(report)).not.toMatch(/undefined|\[object/);
          for (const pair of report.pairs) {
            for (const protocol of POLICY_PROTOCOLS) {
              for (const port of [79, 80, 81, 8080, 65_535]) {
                const { verdict } = evaluate(newPacket(pair.src, pair.dst, { protocol, port }));
                const isAsked =
                  service === undefined || (service.protocol === protocol && service.port === port);
                if (!isAsked || pair.verdict === "partly") continue;
                expect(pair.verdict).toBe(verdict === "accept" ? "allowed" : "denied");
              }
            }
          }
        }
      }
    }),
    { numRuns: RUNS },
  );
});

/** ipset over the compiled sets, as the kernel answers. */
function ipsetOf({ sets }: CompiledPolicy): Exec {
  return (_, [, name = "", member = ""]) => {
    const set = sets.find((one) => one.name === name);
    if (set === undefined) throw new Error(`ipset test of ${name}, which no plan has`);
    const isIn =
      hasMember(set.members, member) ||
      [...set.members].some((text) => {
        const cidr = tryParseCidr(text);
        return set.type === "hash:net" && cidr !== undefined && cidrContainsIp(cidr, member as Ip);
      });
    const stderr = isIn ? "" : `${member} is NOT in set ${name}.`;
    return Promise.resolve({ exitCode: isIn ? 0 : 1, stdout: "", stderr });
  };
}

test("a kernel that holds the plan agrees with explain, and one that lacks a chain of the pod does not", async () => {
  await fc.assert(
    fc.asyncProperty(scenarios, settings, services, async ({ snapshot }, settings, service) => {
      const compiled = compilePolicy(snapshot, settings);
      const modules = (rows: CompiledPolicy["firewall"]) => ({
        settings,
        exec: ipsetOf(compiled),
        denied: () => Promise.resolve([]),
        firewall: { key: firewallKey, equal: firewallRowsEqual, list: () => Promise.resolve(rows) },
      });
      const [from, to = from] = ends(snapshot);
      if (from === undefined || to === undefined) return;
      if (!from.ips.some((a) => to.ips.some((b) => a.includes(":") === b.includes(":")))) return;
      const report = explainReach(snapshot, settings, {
        from: from.end,
        to: to.end,
        ...(service && { service }),
      });
      const whole = await askKernel(report, { snapshot, compiled }, modules(compiled.firewall));
      expect(whole.differences).toEqual([]);
      const lacking = await askKernel(report, { snapshot, compiled }, modules([]));
      expect(lacking.state).toBe(whole.state === "agrees" ? "disagrees" : "not-asked");
    }),
    { numRuns: RUNS },
  );
});

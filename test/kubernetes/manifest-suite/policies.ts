// NetworkPolicy objects of a real API server, enforced by the manifest's --network-policy.
import { describe, expect, test } from "vitest";
import { TELL_SOURCE_PORT } from "../../../lab/matrix.ts";
import type { RealPod } from "../../support/real-kube/pods.ts";
import { startRealPod, removePods } from "../../support/real-kube/pods.ts";
import { startSourceTeller } from "../../support/real-kube/source-teller.ts";
import { waitFor } from "../../support/wait.ts";
import { podOn } from "./suite.ts";
import type { SuiteOf } from "./suite.ts";

const SLOW = { timeoutMs: 60_000, intervalMs: 100 };

/** Whether a TCP connection gets an answer. */
async function reaches(from: RealPod, to: RealPod): Promise<boolean> {
  const script = `exec 3<>/dev/tcp/${to.ip}/${TELL_SOURCE_PORT} && cat <&3`;
  const { stdout } = await from.exec("timeout", ["2", "bash", "-c", script], { allowFailure: true });
  return stdout.includes(from.ip);
}

function policyFor(app: string, allowed: string): string {
  return JSON.stringify({
    apiVersion: "networking.k8s.io/v1",
    kind: "NetworkPolicy",
    metadata: { name: "only-one" },
    spec: {
      podSelector: { matchLabels: { app } },
      policyTypes: ["Ingress"],
      ingress: [
        {
          from: [{ podSelector: { matchLabels: { app: allowed } } }],
          ports: [{ protocol: "TCP", port: TELL_SOURCE_PORT }],
        },
      ],
    },
  });
}

export function describePolicies(suiteOf: SuiteOf): void {
  describe("NetworkPolicy", () => {
    test("lets in whom it names, keeps out the others, holds for a pod that is new, and ends with its object", async () => {
      const suite = suiteOf();
      const { cluster } = suite;
      const [allowed, other] = [podOn(suite, "n1"), podOn(suite, "n3")];
      const server = await startRealPod(cluster, "server", "n2", { labels: { app: "server" } });
      await startSourceTeller(server);
      expect(await reaches(other, server)).toBe(true);

      await cluster.apply(policyFor("server", "pod-n1"));
      await waitFor("the policy to keep out", async () => !(await reaches(other, server)), SLOW);
      expect(await reaches(allowed, server)).toBe(true);

      // From its first packet: the CNI executable answers when the pod's rules are in force.
      const late = await startRealPod(cluster, "late-server", "n3", { labels: { app: "server" } });
      await startSourceTeller(late);
      expect(await reaches(other, late)).toBe(false);
      expect(await reaches(allowed, late)).toBe(true);

      await cluster.kubectl("delete", "networkpolicy", "only-one");
      await waitFor("the policy to end", () => reaches(other, server), SLOW);
      expect(await reaches(other, late)).toBe(true);
      await removePods(cluster, "server", "late-server");
    });
  });
}

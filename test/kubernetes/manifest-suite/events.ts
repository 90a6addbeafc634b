// With kubectl alone an operator sees what is wrong on a node, and what to do: Events about the Node.
import { describe, expect, test } from "vitest";
import { ANNOTATION_PREFIX, waitForEvent } from "../../support/real-kube/network.ts";
import { waitFor } from "../../support/wait.ts";
import type { ManifestSuite, SuiteOf } from "./suite.ts";

const SLOW = { timeoutMs: 60_000, intervalMs: 100 };

/** A Node without a machine, as an attacker's or a cloned disk's would look. */
export interface Stranger {
  readonly podCidr: string;
  readonly publicIp: string;
  readonly backendType: string;
}

/** Adds it for the time of `act`. */
export async function withStranger(
  { cluster }: ManifestSuite,
  { podCidr, publicIp, backendType }: Stranger,
  act: () => Promise<void>,
): Promise<void> {
  const annotations = {
    [`${ANNOTATION_PREFIX}/kube-subnet-manager`]: "true",
    [`${ANNOTATION_PREFIX}/backend-type`]: backendType,
    [`${ANNOTATION_PREFIX}/backend-data`]: '{"VNI":1,"VtepMAC":"02:00:00:00:99:99"}',
    [`${ANNOTATION_PREFIX}/public-ip`]: publicIp,
  };
  await cluster.apply(
    JSON.stringify({
      apiVersion: "v1",
      kind: "Node",
      metadata: { name: "stranger", annotations },
      spec: { podCIDR: podCidr, podCIDRs: [podCidr], unschedulable: true },
    }),
  );
  try {
    await act();
  } finally {
    await cluster.kubectl("delete", "node", "stranger");
  }
}

export function describeEvents(suiteOf: SuiteOf): void {
  describe("Events about the Node tell reason and cure of", () => {
    test("a public IP that two nodes have", async () => {
      const suite = suiteOf();
      const publicIp = suite.cluster.node("n1").address;
      await withStranger(suite, { podCidr: "10.244.200.0/24", publicIp, backendType: "vxlan" }, async () => {
        const message = await waitForEvent(suite.cluster, "n1", "PeerIgnored", /stranger/);
        expect(message).toContain(`it has this node's own public IP ${publicIp}`);
        expect(message).toContain("give one of the two another --public-ip or --iface");
        expect(await suite.cluster.kubectl("describe", "node", "n1")).toContain("PeerIgnored");
      });
    });

    test("another node's podCIDR that lies outside of the network", async () => {
      const suite = suiteOf();
      const wrong = { podCidr: "10.99.0.0/24", publicIp: "192.0.2.99", backendType: "vxlan" };
      await withStranger(suite, wrong, async () => {
        const message = await waitForEvent(suite.cluster, "n2", "PeerIgnored", /10\.99\.0\.0\/24/);
        expect(message).toContain(
          "make Network in net-conf.json equal to the controller manager's --cluster-cidr",
        );
      });
    });

    test("rules that something else keeps removing", async () => {
      const { cluster } = suiteOf();
      const { exec } = cluster.node("n1");
      const isThere = async (): Promise<boolean> =>
        (await exec("iptables", ["-S", "FLANNEL-FWD"], { allowFailure: true })).stdout.includes("ACCEPT");
      for (let round = 0; round < 3; round += 1) {
        await exec("iptables", ["-F", "FLANNEL-FWD"]);
        await waitFor("the rules to come back", isThere, SLOW);
      }
      const message = await waitForEvent(cluster, "n1", "HostStateReverted");
      expect(message).toMatch(
        /another program keeps changing firewall rows.*Look for a second network manager/,
      );
    });

    test("pods whose MTU is larger than what the network carries now", async () => {
      const { cluster } = suiteOf();
      const { exec } = cluster.node("n2");
      // The API server's end of the wire too, or its answers would not fit any more.
      const setMtu = async (mtu: string): Promise<void> => {
        await cluster.controlPlane.machine.exec("ip", ["link", "set", "br1", "mtu", mtu]);
        await exec("ip", ["link", "set", "eth0", "mtu", mtu]);
      };
      await setMtu("1400");
      try {
        const message = await waitForEvent(cluster, "n2", "MTUMismatch");
        expect(message).toMatch(/: 1450\) than the network has now \(1350\).*delete these pods/);
        expect(await waitForEvent(cluster, "n2", "MTUChanged")).toContain("from 1500 to 1400");
      } finally {
        await setMtu("1500");
      }
      const mtu = async (): Promise<string> =>
        (await exec("cat", ["/sys/class/net/flannel.1/mtu"])).stdout.trim();
      await waitFor("the device to follow", async () => (await mtu()) === "1450", SLOW);
    });
  });
}

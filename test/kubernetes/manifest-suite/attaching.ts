// What the manifest gives a cluster: Ready nodes, pods that reach each other, and a daemon with no more rights than it needs.
import { describe, expect, test } from "vitest";
import { expectTransfer } from "../../support/data-path.ts";
import { ANNOTATION_PREFIX, getNode, waitForPeers } from "../../support/real-kube/network.ts";
import { ping } from "../../support/traffic.ts";
import { daemonPid, podOn } from "./suite.ts";
import type { SuiteOf } from "./suite.ts";

const MIB = 1024 * 1024;
/** uplink 1500 - vxlan 50 */
const POD_MTU = 1450;
/** IPv4 20, ICMP 8 bytes. */
const PING_HEADER_BYTES = 28;
/** CAP_NET_ADMIN is bit 12, CAP_NET_RAW bit 13 (capability.h). */
const NET_ADMIN_AND_NET_RAW = "0000000000003000";

export function describeAttaching(suiteOf: SuiteOf): void {
  describe("kubectl apply -f deploy/kube-flannel.yml", () => {
    test("takes nodes from NotReady to Ready; each has its podCIDR as its subnet and says FlannelIsUp", async () => {
      const { cluster, readyBefore } = suiteOf();
      expect(readyBefore).toEqual([]);
      for (const [name, node] of cluster.nodes) {
        const { spec, status, metadata } = await getNode(cluster, name);
        const env = (await node.exec("cat", ["/run/flannel/subnet.env"])).stdout;
        expect(env).toContain(`FLANNEL_SUBNET=${spec.podCIDR.replace(/0\/24$/, "1/24")}\n`);
        const unavailable = status.conditions.find(({ type }) => type === "NetworkUnavailable");
        expect(unavailable).toMatchObject({ status: "False", reason: "FlannelIsUp" });
        expect(metadata.annotations).toMatchObject({
          [`${ANNOTATION_PREFIX}/public-ip`]: node.address,
          [`${ANNOTATION_PREFIX}/backend-type`]: "vxlan",
          [`${ANNOTATION_PREFIX}/kube-subnet-manager`]: "true",
        });
        const peers = [...cluster.nodes.keys()].filter((other) => other !== name);
        await waitForPeers(cluster, name, peers);
      }
    });

    test("runs the daemon without privileges: two capabilities, no way to gain more, system calls filtered", async () => {
      const { cluster } = suiteOf();
      const { exec } = cluster.node("n1");
      const pid = await daemonPid(cluster.node("n1"));
      const { stdout } = await exec("cat", [`/proc/${pid}/status`]);
      for (const set of ["CapEff", "CapPrm", "CapBnd"])
        expect(stdout).toMatch(new RegExp(`^${set}:\\s${NET_ADMIN_AND_NET_RAW}$`, "m"));
      expect(stdout).toMatch(/^NoNewPrivs:\s1$/m);
      expect(stdout).toMatch(/^Seccomp:\s2$/m);
    });

    test.each([
      { needed: "net_admin", other: "net_raw", command: "ip link add probe0 type bridge" },
      { needed: "net_raw", other: "net_admin", command: "iptables-legacy -t nat -S" },
    ])(
      "needs the capability $needed: without it `$command` is refused",
      async ({ needed, other, command }) => {
        const { exec } = suiteOf().cluster.node("n1");
        const attempt = (bounding: string) =>
          exec("setpriv", [`--bounding-set=${bounding}`, "--inh-caps=-all", "sh", "-c", command], {
            allowFailure: true,
          });
        expect((await attempt(`-all,+${other}`)).exitCode).not.toBe(0);
        expect(await attempt(`-all,+${needed},+${other}`)).toMatchObject({ exitCode: 0 });
        await exec("ip", ["link", "del", "probe0"], { allowFailure: true });
      },
    );

    test("lets pods on different nodes talk, both ways, with packets of the full MTU and many megabytes", async () => {
      const suite = suiteOf();
      const [here, there, third] = [podOn(suite, "n1"), podOn(suite, "n2"), podOn(suite, "n3")];
      const payload = POD_MTU - PING_HEADER_BYTES;
      for (const [from, to] of [
        [here, there],
        [there, here],
        [third, here],
        [here, third],
      ] as const)
        expect(await ping(from, to.ip, payload), `${from.name} to ${to.name}`).toBe("ok");
      expect(await ping(here, there.node.address)).toBe("ok");
      await expectTransfer(here, there, 32 * MIB);
      await expectTransfer(there, here, 32 * MIB);
    });
  });
}

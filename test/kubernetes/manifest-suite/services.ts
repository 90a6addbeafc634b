// Services by kube-proxy (iptables) beside flannel's own rules: who is reached, and from which address it is seen.
import { beforeAll, describe, expect, test } from "vitest";
import { TELL_SOURCE_PORT } from "../../../lab/matrix.ts";
import type { Exec } from "../../../src/kernel/exec.ts";
import { getNode } from "../../support/real-kube/network.ts";
import { startSourceTeller } from "../../support/real-kube/source-teller.ts";
import { waitFor } from "../../support/wait.ts";
import { podOn } from "./suite.ts";
import type { ManifestSuite, SuiteOf } from "./suite.ts";

const PORT = 80;
const NODE_PORT = 30_080;
const LOCAL_NODE_PORT = 30_081;
/** The underlay's own address: neither a node nor a pod. */
const OUTSIDE = "192.0.2.1";
/** The node whose pod is behind the Services. */
const SERVER = "n2";

function service(name: string, nodePort: number, spec: object = {}): unknown {
  const ports = [{ port: PORT, targetPort: TELL_SOURCE_PORT, nodePort }];
  return {
    apiVersion: "v1",
    kind: "Service",
    metadata: { name },
    spec: { type: "NodePort", selector: { app: `pod-${SERVER}` }, ports, ...spec },
  };
}

/** The address that the server sees; "" without an answer. */
async function askSource(exec: Exec, address: string, port: number): Promise<string> {
  const script = `exec 3<>/dev/tcp/${address}/${port} && cat <&3`;
  const { stdout } = await exec("timeout", ["5", "bash", "-c", script], { allowFailure: true });
  return stdout.trim().replace(/^::ffff:/, "");
}

/** What a node's packets to pods of other nodes carry as their source: the address of its overlay device. */
async function overlayAddress({ cluster }: ManifestSuite, nodeName: string): Promise<string> {
  return (await getNode(cluster, nodeName)).spec.podCIDR.replace(/\/\d+$/, "");
}

export function describeServices(suiteOf: SuiteOf): void {
  describe("Services", () => {
    let clusterIp: string;
    beforeAll(async () => {
      const suite = suiteOf();
      const { cluster } = suite;
      await startSourceTeller(podOn(suite, SERVER));
      await startSourceTeller(cluster.controlPlane.machine);
      await cluster.apply(JSON.stringify(service("tell", NODE_PORT)));
      await cluster.apply(
        JSON.stringify(service("tell-local", LOCAL_NODE_PORT, { externalTrafficPolicy: "Local" })),
      );
      const { spec } = await cluster.get<{ spec: { clusterIP: string } }>("service", "tell");
      clusterIp = spec.clusterIP;
      const waitForAnswer = (what: string, exec: Exec, address: string, port: number): Promise<string> =>
        waitFor(what, () => askSource(exec, address, port), { timeoutMs: 60_000 });
      for (const { name, exec, address } of cluster.nodes.values()) {
        await waitForAnswer(`the ClusterIP on ${name}`, exec, clusterIp, PORT);
        await waitForAnswer(`the NodePort on ${name}`, exec, address, NODE_PORT);
      }
      const { exec, address } = cluster.node(SERVER);
      await waitForAnswer("the local NodePort", exec, address, LOCAL_NODE_PORT);
    });

    test("pods reach a ClusterIP from other nodes and from the same, and are seen by their own address", async () => {
      const suite = suiteOf();
      for (const name of ["n1", "n3"]) {
        const pod = podOn(suite, name);
        expect(await askSource(pod.exec, clusterIp, PORT)).toBe(pod.ip);
      }
      // To itself it must look like somebody else, or it would answer past the translation (hairpin).
      const server = podOn(suite, SERVER);
      expect(await askSource(server.exec, clusterIp, PORT)).not.toBe("");
    });

    test("a node reaches a ClusterIP and is seen by its overlay address", async () => {
      const suite = suiteOf();
      expect(await askSource(suite.cluster.node("n1").exec, clusterIp, PORT)).toBe(
        await overlayAddress(suite, "n1"),
      );
    });

    test("a NodePort of any node leads to the pod, from pods and from outside", async () => {
      const suite = suiteOf();
      const { cluster } = suite;
      const expected = await overlayAddress(suite, "n1");
      const { address } = cluster.node("n1");
      for (const name of ["n1", "n3"])
        expect(await askSource(podOn(suite, name).exec, address, NODE_PORT), name).not.toBe("");
      expect(await askSource(cluster.controlPlane.machine.exec, address, NODE_PORT)).toBe(expected);
    });

    test("flannel's rules leave the source of a client outside as it is, where the Service asks for it", async () => {
      const { cluster } = suiteOf();
      const { address } = cluster.node(SERVER);
      expect(await askSource(cluster.controlPlane.machine.exec, address, LOCAL_NODE_PORT)).toBe(OUTSIDE);
    });

    test("pods are seen outside by their node's address", async () => {
      const suite = suiteOf();
      const pod = podOn(suite, "n1");
      expect(await askSource(pod.exec, OUTSIDE, TELL_SOURCE_PORT)).toBe(pod.node.address);
    });
  });
}

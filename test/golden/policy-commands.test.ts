// `flanneld-ts policy apply|get|delete` as a transcript, reviewed as documentation; the user's own examples among the files.
import path from "node:path";
import { expect, it } from "vitest";
import { runPolicyCommand } from "../../src/cli/policy.ts";
import { formatRegisteredNode, formatRegisteredPod } from "../../src/policy/etcd-codec.ts";
import { formatPolicyKey } from "../../src/policy/etcd-keys.ts";
import { parseCidr } from "../../src/net/cidr.ts";
import { parseIp } from "../../src/net/ip.ts";
import { createFakeEtcd } from "../support/fake-etcd-client.ts";
import type { FakeEtcd } from "../support/fake-etcd-client.ts";

const PREFIX = "/coreos.com/network";
const FOLDER = path.join(import.meta.dirname, "policy-commands");

async function run(etcd: FakeEtcd, line: string, store: "etcd" | "kubernetes" = "etcd"): Promise<string> {
  const written = { stdout: "", stderr: "" };
  const argv = line.split(" ").map((word) => (word.endsWith(".yml") ? path.join(FOLDER, word) : word));
  const environment = {
    store,
    etcdPrefix: PREFIX,
    statusSocket: "/nowhere/flanneld.sock",
    openEtcd: () => Promise.resolve(etcd),
  } as const;
  const code = await runPolicyCommand(argv, (operands) => ({ environment, operands }), {
    stdin: process.stdin,
    stdout: { write: (text) => (written.stdout += text) },
    stderr: { write: (text) => (written.stderr += text) },
  });
  const shown = `${written.stdout}${written.stderr}`
    .replaceAll(`${FOLDER}/`, "")
    .replaceAll(/\b[0-9a-f]{8}-[0-9a-f-]{27}\b/g, "UID")
    .replaceAll(/"\d{4}-\d\d-\d\dT[\d:.]+Z"/g, "TIME")
    .replaceAll(/ \d+[smhd]\n/g, " 0s\n");
  return `$ flanneld-ts policy ${line}\n${shown}${code === 0 ? "" : `[exit ${code}]\n`}\n`;
}

const LINES = [
  "apply -f broken.yml",
  "apply -f mistakes.yml",
  "apply -f access-nginx.yml -f broken.yml",
  "get -A",
  "apply -f access-nginx.yml -f defaults.yml -f deny-egress-test.yml -f role-db.yml",
  "apply -f role-db.yml",
  "apply -f shop.yml",
  "apply -f shop.yml -n default",
  "get",
  "get netpol",
  "get netpol -A",
  "get ns",
  "get pods -n shop",
  "get nodes",
  "get netpol/db -n shop -o yaml",
  "get pod api -n shop -o json",
  "get netpol absent",
  "get polices",
  "delete netpol db",
  "delete netpol db -n shop",
  "delete pod api -n shop",
  "delete -f access-nginx.yml -f role-db.yml",
  "delete -f access-nginx.yml",
  "delete -f access-nginx.yml --ignore-not-found",
  "delete ns shop",
  "get -A -o name",
  "delete nodes n1",
  "aply -f role-db.yml",
  "apply",
  "get -o wide",
];

it("is as reviewed", async () => {
  const etcd = createFakeEtcd();
  const pod = { namespace: "shop", uid: "u1", labels: { role: "api" }, ports: [], createdAtMs: Date.now() };
  const ips = [parseIp("10.244.1.5")];
  const local = { kind: "registered", node: "n1", namespace: "shop" } as const;
  for (const name of ["api", "db"]) {
    const value = formatRegisteredPod({ ...pod, name, ips }, "n1");
    await etcd.put(formatPolicyKey(PREFIX, { ...local, name }), value);
  }
  const node = { addresses: [parseIp("192.0.2.1")], podCidrs: [parseCidr("10.244.1.0/24")] };
  await etcd.put(formatPolicyKey(PREFIX, { kind: "nodes", name: "n1" }), formatRegisteredNode(node, "n1"));
  let transcript = "";
  for (const line of LINES) transcript += await run(etcd, line);
  transcript += await run(etcd, "apply -f role-db.yml", "kubernetes");
  await expect(transcript).toMatchFileSnapshot("policy-commands.txt");
});

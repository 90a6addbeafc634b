// Runs in a node of policy tests: writes policy objects to etcd, a transaction for each line of standard input.
// Usage: etcd-writer.ts ENDPOINT
import { createInterface } from "node:readline";
import type { EtcdWrite } from "../../../src/etcd/client.ts";
import { createEtcdClient } from "../../../src/etcd/etcd3-client.ts";

const client = createEtcdClient({ endpoints: [process.argv[2] ?? ""] });
console.log("ready");
for await (const line of createInterface({ input: process.stdin })) {
  await client.transact(JSON.parse(line) as EtcdWrite[]);
  console.log("{}");
}
await client.close();
process.exit(0);

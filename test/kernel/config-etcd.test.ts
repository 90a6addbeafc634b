// Seeding and `config get|set` against a real etcd: the transaction, the race of twenty, authentication, an outage.
import { afterAll, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { runConfigCommand } from "../../src/cli/config.ts";
import { createBackend } from "../../src/backends/registry.ts";
import { EtcdCallError } from "../../src/etcd/client.ts";
import type { EtcdClient } from "../../src/etcd/client.ts";
import { createEtcdClient } from "../../src/etcd/etcd3-client.ts";
import type { NetworkConfig } from "../../src/ipam/network-config.ts";
import {
  ConfigConflictError,
  networkConfigKey,
  seedNetworkConfig,
} from "../../src/ipam/seed-network-config.ts";
import { parseCidr } from "../../src/net/cidr.ts";
import { startEtcd } from "../support/etcd.ts";
import type { TestEtcd } from "../support/etcd.ts";

const network = parseCidr("10.244.0.0/16");
const checkConfig = (config: NetworkConfig) => void createBackend(config);
let etcd: TestEtcd;
let client: EtcdClient;
let prefix = "";
let tests = 0;

beforeAll(async () => {
  etcd = await startEtcd();
  client = createEtcdClient(etcd.connection);
});

afterAll(async () => {
  await client?.close();
  await etcd?.close();
});

beforeEach(() => {
  prefix = `/fts-config/${tests++}/network`;
});

async function config(argv: readonly string[], input = "", through = client) {
  const written = { stdout: "", stderr: "" };
  const sink = (name: "stdout" | "stderr") => ({ write: (text: string) => (written[name] += text) });
  async function* stdin() {
    yield await Promise.resolve(input);
  }
  const modules = {
    client: through,
    prefix,
    stdout: sink("stdout"),
    stderr: sink("stderr"),
    stdin: stdin(),
    checkConfig,
  };
  return { code: await runConfigCommand(argv, modules), ...written };
}

describe("seeding", () => {
  it("twenty daemons with connections of their own: one creates, all end with the same", async () => {
    const clients = Array.from({ length: 20 }, () => createEtcdClient(etcd.connection));
    try {
      const wanted = { network, backend: "host-gw" };
      const results = await Promise.all(
        clients.map((own) => seedNetworkConfig({ client: own, prefix, wanted, checkConfig })),
      );
      expect(results.filter(({ outcome }) => outcome === "created")).toHaveLength(1);
      expect(new Set(results.map((result) => "text" in result && result.text)).size).toBe(1);
      const stored = await client.get(networkConfigKey(prefix));
      expect(stored?.value).toBe('{"Network":"10.244.0.0/16","SubnetLen":24,"Backend":{"Type":"host-gw"}}');
      expect(stored?.createRevision).toBe(stored?.modRevision);
    } finally {
      await Promise.all(clients.map((own) => own.close()));
    }
  });

  it("twenty daemons of two minds: the losers are told both values", async () => {
    const seeds = Array.from({ length: 20 }, (_, i) =>
      seedNetworkConfig({
        client,
        prefix,
        wanted: { network, backend: i % 2 === 0 ? "vxlan" : "host-gw" },
        checkConfig,
      }),
    );
    const results = await Promise.allSettled(seeds);
    const losers = results.filter((result) => result.status === "rejected");
    expect(losers).toHaveLength(10);
    for (const { reason } of losers) {
      expect(reason).toBeInstanceOf(ConfigConflictError);
      expect(String(reason)).toMatch(/--backend=\S+ contradicts .*Backend\.Type (vxlan|host-gw)/);
    }
  });

  it("hands on an outage as retryable, and works once etcd is back", async () => {
    const [member] = etcd.members;
    const request = { client, prefix, wanted: { network } };
    await member?.stop();
    try {
      const error: unknown = await seedNetworkConfig(request).catch((thrown: unknown) => thrown);
      expect(error).toBeInstanceOf(EtcdCallError);
      expect((error as EtcdCallError).retryable).toBe(true);
    } finally {
      await member?.start();
    }
    expect(await seedNetworkConfig(request)).toMatchObject({ outcome: "created" });
  });
});

describe("config get and set", () => {
  it("set, get, change, and what etcdctl sees", async () => {
    const first = '{"network":"172.33.0.0/16","Backend":{"Type":"host-gw"}}';
    expect(await config(["get"])).toMatchObject({ code: 1, stdout: "" });
    expect(await config(["set", "-"], first)).toMatchObject({ code: 0 });
    const canonical = '{"Network":"172.33.0.0/16","SubnetLen":24,"Backend":{"Type":"host-gw"}}';
    expect(await config(["get"])).toEqual({ code: 0, stdout: `${canonical}\n`, stderr: "" });
    expect((await etcd.etcdctl("get", "--print-value-only", networkConfigKey(prefix))).trim()).toBe(
      canonical,
    );

    const changed = await config([
      "set",
      '{"Network":"172.33.0.0/16","Backend":{"Type":"vxlan","DirectRouting":true}}',
    ]);
    expect(changed).toMatchObject({ code: 0, stderr: "" });
    expect(changed.stdout).toContain(
      'Backend: {"Type":"host-gw"} -> {"Type":"vxlan","DirectRouting":true}\n',
    );
  });

  it("reads what etcdctl wrote, and refuses what a backend would refuse", async () => {
    await etcd.etcdctl("put", networkConfigKey(prefix), '{ "Network": "10.5.0.0/16" }');
    expect(await config(["get"])).toMatchObject({ code: 0, stdout: '{ "Network": "10.5.0.0/16" }\n' });
    const refused = await config(["set", '{"Network":"10.5.0.0/16","Backend":{"Type":"vxlan","VNI":"one"}}']);
    expect(refused.code).toBe(2);
    expect(refused.stderr).toContain('Backend.VNI is "one"');
    expect(await config(["set", '{"Network":"10.5.0.0/16","Backend":{"Type":"vxlam"}}'])).toMatchObject({
      code: 2,
    });
    expect(await config(["get"])).toMatchObject({ stdout: '{ "Network": "10.5.0.0/16" }\n' });
  });

  it("holds back a change that real leases contradict, until forced", async () => {
    await config(["set", '{"Network":"10.5.0.0/16","Backend":{"Type":"vxlan"}}']);
    const lease = '{"PublicIP":"192.0.2.7","PublicIPv6":null,"BackendType":"vxlan","BackendData":{"VNI":1}}';
    await etcd.etcdctl("put", `${prefix}/subnets/10.5.7.0-24`, lease);
    const other = '{"Network":"10.6.0.0/16","Backend":{"Type":"vxlan"}}';
    const refused = await config(["set", other]);
    expect(refused.code).toBe(1);
    expect(refused.stderr).toContain(
      "1 lease (10.5.7.0/24 of 192.0.2.7) would not fit the new configuration",
    );
    expect(await config(["set", "--force", other])).toMatchObject({ code: 0 });
    expect((await config(["get"])).stdout).toContain("10.6.0.0/16");
  });

  // Last, since authentication stays on.
  it("says so when etcd wants a user, and works with one", async () => {
    const connection = await etcd.enableAuth("/fts-config");
    const nobody = createEtcdClient({ endpoints: etcd.endpoints });
    const user = createEtcdClient(connection);
    try {
      expect(await config(["get"], "", nobody)).toMatchObject({ code: 1, stdout: "" });
      const wanted = { network };
      expect(await seedNetworkConfig({ client: user, prefix, wanted })).toMatchObject({ outcome: "created" });
      expect(await config(["get"], "", user)).toMatchObject({ code: 0 });
    } finally {
      await nobody.close();
      await user.close();
    }
  });
});

// Seeding: created once, compared ever after; contradictions name both values and the way out.
import { describe, expect, it } from "vitest";
import { EtcdCallError } from "../../../src/etcd/client.ts";
import { ConfigConflictError, seedNetworkConfig } from "../../../src/ipam/seed-network-config.ts";
import type { WantedConfig } from "../../../src/ipam/seed-network-config.ts";
import { parseCidr } from "../../../src/net/cidr.ts";
import { InvalidValueError } from "../../../src/net/errors.ts";
import { createFakeEtcd } from "../../support/fake-etcd-client.ts";
import type { FakeEtcd } from "../../support/fake-etcd-client.ts";

const prefix = "/coreos.com/network";
const key = `${prefix}/config`;
const network = parseCidr("10.244.0.0/16");
const seed = (client: FakeEtcd, wanted: WantedConfig) => seedNetworkConfig({ client, prefix, wanted });
const holding = (text: string) => createFakeEtcd({ [key]: text });

describe("without a configuration", () => {
  it.each<{ name: string; wanted: WantedConfig; text: string }>([
    {
      name: "vxlan by default",
      wanted: { network },
      text: '{"Network":"10.244.0.0/16","SubnetLen":24,"Backend":{"Type":"vxlan"}}',
    },
    {
      name: "as the flags say",
      wanted: { network, backend: "host-gw", subnetLength: 26 },
      text: '{"Network":"10.244.0.0/16","SubnetLen":26,"Backend":{"Type":"host-gw"}}',
    },
  ])("creates one: $name", async ({ wanted, text }) => {
    const etcd = createFakeEtcd();
    expect(await seed(etcd, wanted)).toMatchObject({
      outcome: "created",
      text,
      config: { ipv4: { network } },
    });
    expect(etcd.entries()).toEqual([[key, text]]);
  });

  it("reads and writes nothing without a flag", async () => {
    const etcd = createFakeEtcd();
    expect(await seed(etcd, {})).toEqual({ outcome: "not-asked" });
    expect(etcd.calls).toEqual({ get: 0, put: 0, list: 0, delete: 0 });
  });

  it.each<{ name: string; wanted: WantedConfig; message: string }>([
    {
      name: "a lone --backend",
      wanted: { backend: "vxlan" },
      message:
        "--backend=vxlan cannot create the cluster's configuration, which is missing (etcd key /coreos.com/network/config): add --network=CIDR",
    },
    { name: "a lone --subnet-len", wanted: { subnetLength: 24 }, message: "--subnet-len=24 cannot create" },
    {
      name: "a subnet length that does not fit",
      wanted: { network, subnetLength: 17 },
      message: "network must be able to accommodate at least four subnets",
    },
    {
      name: "a network that is too small",
      wanted: { network: parseCidr("10.0.0.0/29") },
      message: "network is too small",
    },
    {
      name: "an IPv6 network",
      wanted: { network: parseCidr("fd00::/48") },
      message: "--network=fd00::/48 must be IPv4",
    },
  ])("refuses $name", async ({ wanted, message }) => {
    const etcd = createFakeEtcd();
    await expect(seed(etcd, wanted)).rejects.toThrow(InvalidValueError);
    await expect(seed(etcd, wanted)).rejects.toThrow(message);
    expect(etcd.entries()).toEqual([]);
  });

  it("asks for the backend's own rules before it writes", async () => {
    const etcd = createFakeEtcd();
    const checkConfig = () => {
      throw new InvalidValueError("unknown backend type: vxlam");
    };
    const request = { client: etcd, prefix, wanted: { network, backend: "vxlam" }, checkConfig };
    await expect(seedNetworkConfig(request)).rejects.toThrow("unknown backend type: vxlam");
    expect(etcd.entries()).toEqual([]);
  });
});

describe("with a configuration", () => {
  const stored =
    '{"Network":"10.244.0.0/16","SubnetLen":26,"SubnetMin":"10.244.9.0","Backend":{"Type":"vxlan","VNI":7}}';

  it.each<{ name: string; wanted: WantedConfig }>([
    { name: "the same values", wanted: { network, backend: "vxlan", subnetLength: 26 } },
    { name: "only --network, whatever the backend", wanted: { network } },
    { name: "only --backend", wanted: { backend: "vxlan" } },
    { name: "only --subnet-len", wanted: { subnetLength: 26 } },
  ])("is content with $name", async ({ wanted }) => {
    const etcd = holding(stored);
    expect(await seed(etcd, wanted)).toMatchObject({ outcome: "present", text: stored });
    expect(etcd.calls.put).toBe(0);
  });

  it.each<{ name: string; wanted: WantedConfig; text?: string; parts: readonly string[] }>([
    {
      name: "another network",
      wanted: { network: parseCidr("10.1.0.0/16") },
      parts: [
        "--network=10.1.0.0/16 contradicts the cluster's configuration, which has Network 10.244.0.0/16 (etcd key /coreos.com/network/config)",
        `flanneld-ts config set '{"Network":"10.1.0.0/16","Backend":{"Type":"vxlan","VNI":7}}'`,
      ],
    },
    {
      name: "another backend",
      wanted: { backend: "host-gw" },
      parts: [
        "--backend=host-gw contradicts the cluster's configuration, which has Backend.Type vxlan",
        `config set '{"Network":"10.244.0.0/16","Backend":{"Type":"host-gw"},"SubnetLen":26,"SubnetMin":"10.244.9.0"}'`,
      ],
    },
    {
      name: "another length",
      wanted: { subnetLength: 24 },
      parts: [
        "--subnet-len=24 contradicts the cluster's configuration, which has SubnetLen 26",
        '"SubnetLen":24}',
      ],
    },
    {
      name: "two at once",
      wanted: { subnetLength: 24, backend: "host-gw" },
      parts: ["--subnet-len=24 contradicts", "--backend=host-gw contradicts"],
    },
    {
      name: "a backend where the configuration has none",
      text: '{"Network":"10.244.0.0/16"}',
      wanted: { backend: "vxlan" },
      parts: [
        "--backend=vxlan contradicts the cluster's configuration, which has no Backend, which means udp",
      ],
    },
  ])("refuses $name", async ({ wanted, text = stored, parts }) => {
    const etcd = holding(text);
    const error = await seed(etcd, wanted).then(
      () => undefined,
      (thrown: unknown) => thrown,
    );
    expect(error).toBeInstanceOf(ConfigConflictError);
    for (const part of parts) expect((error as Error).message).toContain(part);
    expect(etcd.entries()).toEqual([[key, text]]);
  });

  it("names the key when what is stored is broken", async () => {
    await expect(seed(holding("{}"), { network })).rejects.toThrow(
      /^etcd key \/coreos\.com\/network\/config: network config: please define a correct Network.*Correct it with `flanneld-ts config set`/,
    );
  });
});

describe("races and failures", () => {
  it("twenty daemons at once: one creates, all end with the same", async () => {
    const etcd = createFakeEtcd();
    const results = await Promise.all(
      Array.from({ length: 20 }, () => seed(etcd, { network, backend: "host-gw" })),
    );
    expect(results.filter(({ outcome }) => outcome === "created")).toHaveLength(1);
    expect(new Set(results.map((result) => "text" in result && result.text)).size).toBe(1);
    expect(etcd.entries()).toHaveLength(1);
  });

  it("loses to another daemon with other flags and says so", async () => {
    const etcd = createFakeEtcd();
    etcd.beforePut = async () => {
      etcd.beforePut = undefined;
      await seed(etcd, { network, backend: "host-gw" });
    };
    await expect(seed(etcd, { network, backend: "vxlan" })).rejects.toThrow(
      /which has Backend\.Type host-gw/,
    );
  });

  it("gives up on a configuration that vanishes again and again", async () => {
    const etcd = createFakeEtcd();
    const vanishing = { get: () => Promise.resolve(undefined), put: () => Promise.resolve(false) };
    const request = { client: { ...etcd, ...vanishing }, prefix, wanted: { network } };
    await expect(seedNetworkConfig(request)).rejects.toThrow(/deleted again and again/);
  });

  it("hands on that etcd is away, so that the caller can try again", async () => {
    const etcd = createFakeEtcd();
    etcd.failure = new EtcdCallError("no endpoint answers", true);
    await expect(seed(etcd, { network })).rejects.toBe(etcd.failure);
  });
});

// Choosing between nft and legacy iptables, from what the host holds and has installed.
import { describe, expect, test } from "vitest";
import { chooseMode, isAtLeast, parseVersion } from "../../../../src/kernel/iptables/choose-mode.ts";
import { detectIptablesVariant, listIptablesVariants } from "../../../../src/kernel/iptables/variant.ts";
import { createFakeIptables } from "../../../support/fake-iptables.ts";

const NFT = "iptables v1.8.9 (nf_tables)";
const LEGACY = "iptables v1.8.9 (legacy)";
const DEBIAN = {
  iptables: NFT,
  ip6tables: NFT,
  "iptables-nft": NFT,
  "ip6tables-nft": NFT,
  "iptables-legacy": LEGACY,
  "ip6tables-legacy": LEGACY,
};

describe("chooseMode", () => {
  const none = { hint: false, rules: 0, ours: 0 };
  test.each([
    {
      name: "nothing there: as plain iptables",
      evidence: { nft: none, legacy: none },
      plain: "legacy",
      mode: "legacy",
    },
    { name: "nothing there and no plain iptables", evidence: {}, plain: undefined, mode: "nft" },
    {
      name: "the kubelet's hint beats the number of rules",
      evidence: { nft: { ...none, hint: true, rules: 1 }, legacy: { ...none, rules: 50 } },
      plain: "legacy",
      mode: "nft",
    },
    {
      name: "the kubelet uses legacy",
      evidence: { nft: { ...none, rules: 50 }, legacy: { ...none, hint: true } },
      plain: "nft",
      mode: "legacy",
    },
    {
      name: "more rules in legacy",
      evidence: { nft: { ...none, rules: 2 }, legacy: { ...none, rules: 3 } },
      plain: "nft",
      mode: "legacy",
    },
    {
      name: "more rules in nft",
      evidence: { nft: { ...none, rules: 2 }, legacy: none },
      plain: "legacy",
      mode: "nft",
    },
  ] as const)("$name", ({ evidence, plain, mode }) => {
    expect(chooseMode(evidence, plain)).toBe(mode);
  });
});

test.each([
  ["iptables v1.8.9 (nf_tables)\n", { version: "1.8.9", mode: "nft" }],
  ["iptables v1.8.9 (legacy)", { version: "1.8.9", mode: "legacy" }],
  ["iptables v1.6.1", { version: "1.6.1", mode: "legacy" }],
  ["BusyBox", undefined],
])("version %j", (text, expected) => {
  expect(parseVersion(text)).toEqual(expected);
});

test("versions are compared as numbers", () => {
  expect(["1.6.2", "1.6.10", "1.8", "2.0.0"].map((version) => isAtLeast(version, "1.6.2"))).toEqual(
    Array(4).fill(true),
  );
  expect(["1.6.1", "1.6", "1.4.21"].map((version) => isAtLeast(version, "1.6.2"))).toEqual(
    Array(3).fill(false),
  );
});

describe("detectIptablesVariant", () => {
  test("names the programs of the mode that the host uses", async () => {
    const fake = createFakeIptables({ installed: DEBIAN });
    fake.load("iptables-legacy-restore", "*mangle\n:KUBE-KUBELET-CANARY - [0:0]\nCOMMIT\n");
    expect(await detectIptablesVariant({ families: [4, 6] }, fake)).toEqual({
      mode: "legacy",
      version: "1.8.9",
      binaries: {
        4: { save: "iptables-legacy-save", restore: "iptables-legacy-restore" },
        6: { save: "ip6tables-legacy-save", restore: "ip6tables-legacy-restore" },
      },
      wait: true,
      randomFully: true,
    });
  });

  test("an old iptables without the mode in its name: neither -w nor --random-fully", async () => {
    const fake = createFakeIptables({
      installed: { iptables: "iptables v1.6.1", ip6tables: "ip6tables v1.6.1" },
    });
    const variant = await detectIptablesVariant({ families: [4] }, fake);
    expect(variant).toMatchObject({ mode: "legacy", wait: false, randomFully: false });
    expect(variant.binaries[4]?.restore).toBe("iptables-restore");
  });

  test("ip6tables missing is no matter where only IPv4 is wanted", async () => {
    const installed = { iptables: NFT, "iptables-nft": NFT };
    const variant = await detectIptablesVariant({ families: [4] }, createFakeIptables({ installed }));
    expect(variant.binaries).toEqual({ 4: { save: "iptables-nft-save", restore: "iptables-nft-restore" } });
    await expect(
      detectIptablesVariant({ families: [4, 6] }, createFakeIptables({ installed })),
    ).rejects.toThrow(/^ip6tables-nft .* is not installed, .*; install iptables .*--ip-masq=false/);
  });

  test("no iptables at all: one error with the cure", async () => {
    await expect(
      detectIptablesVariant({ families: [4] }, createFakeIptables({ installed: {} })),
    ).rejects.toThrow(/^iptables is not installed, .*; install iptables .*--ip-masq=false/);
    expect(await listIptablesVariants(createFakeIptables({ installed: {} }))).toEqual([]);
  });

  test("rules in both modes are worth a warning that names what is left of flannel's", async () => {
    const fake = createFakeIptables({ installed: DEBIAN });
    fake.load("iptables-nft-restore", "*nat\n-A POSTROUTING -j RETURN\n-A POSTROUTING -j RETURN\nCOMMIT\n");
    fake.load(
      "iptables-legacy-restore",
      "*filter\n:FLANNEL-FWD - [0:0]\n-A FORWARD -j FLANNEL-FWD\nCOMMIT\n",
    );
    const { mode, warning } = await detectIptablesVariant({ families: [4] }, fake);
    expect(mode).toBe("nft");
    expect(warning).toMatch(/2 in nft, which is used, and 1 in legacy.*1 chains there are flannel's/);
  });
});

test("a clean-up looks at every mode that is installed", async () => {
  const variants = await listIptablesVariants(createFakeIptables({ installed: DEBIAN }));
  expect(variants.map(({ mode }) => mode)).toEqual(["nft", "legacy"]);
});

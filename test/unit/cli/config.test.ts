// `config get|set`: what is written, what is refused, and what it says.
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { describe, expect, it } from "vitest";
import { CONFIG_USAGE, runConfigCommand } from "../../../src/cli/config.ts";
import { EtcdCallError } from "../../../src/etcd/client.ts";
import type { NetworkConfig } from "../../../src/ipam/network-config.ts";
import { InvalidValueError } from "../../../src/net/errors.ts";
import { createFakeEtcd } from "../../support/fake-etcd-client.ts";
import type { FakeEtcd } from "../../support/fake-etcd-client.ts";

const prefix = "/coreos.com/network";
const key = `${prefix}/config`;
const VXLAN = '{"Network":"10.244.0.0/16","SubnetLen":24,"Backend":{"Type":"vxlan"}}';
const LEASES = {
  [`${prefix}/subnets/10.244.3.0-24`]:
    '{"PublicIP":"192.0.2.3","PublicIPv6":null,"BackendType":"vxlan","BackendData":{"VNI":1}}',
  [`${prefix}/subnets/10.244.7.0-24`]:
    '{"PublicIP":"192.0.2.7","PublicIPv6":null,"BackendType":"vxlan","BackendData":{"VNI":1}}',
  [`${prefix}/subnets/foreign`]: "not a lease",
};

async function run(
  argv: readonly string[],
  etcd: FakeEtcd,
  { input = "", checkConfig }: { input?: string; checkConfig?: (config: NetworkConfig) => void } = {},
) {
  const written = { stdout: "", stderr: "" };
  const sink = (name: "stdout" | "stderr") => ({ write: (text: string) => (written[name] += text) });
  async function* stdin() {
    await Promise.resolve();
    yield Buffer.from(input.slice(0, 5));
    yield input.slice(5);
  }
  const code = await runConfigCommand(argv, {
    client: etcd,
    prefix,
    stdout: sink("stdout"),
    stderr: sink("stderr"),
    stdin: stdin(),
    ...(checkConfig && { checkConfig }),
  });
  return { code, ...written, stored: Object.fromEntries(etcd.entries())[key] };
}

describe("config get", () => {
  it("prints what is stored, as it is stored", async () => {
    const text = '{ "network": "10.5.0.0/16" , "Unknown":1}';
    expect(await run(["get"], createFakeEtcd({ [key]: `${text}\n` }))).toMatchObject({
      code: 0,
      stdout: `${text}\n`,
      stderr: "",
    });
  });

  it("says how to create one when there is none", async () => {
    const { code, stdout, stderr } = await run(["get"], createFakeEtcd());
    expect([code, stdout]).toEqual([1, ""]);
    expect(stderr).toContain(
      `etcd has no configuration under ${key}. Create one: flanneld-ts config set '{"Network"`,
    );
  });

  it("warns of one that daemons cannot use", async () => {
    const { code, stdout, stderr } = await run(["get"], createFakeEtcd({ [key]: "{}" }));
    expect([code, stdout]).toEqual([0, "{}\n"]);
    expect(stderr).toContain(
      "Warning: daemons cannot use it: network config: please define a correct Network",
    );
  });
});

describe("config set", () => {
  it("writes the first configuration in canonical form", async () => {
    const { code, stdout, stored } = await run(
      ["set", '{"network":"10.244.1.2/16","backend":{"type":"VXLAN"}}'],
      createFakeEtcd(),
    );
    expect({ code, stdout, stored }).toEqual({ code: 0, stdout: `created: ${VXLAN}\n`, stored: VXLAN });
  });

  it("reads standard input and files", async () => {
    expect(await run(["set", "-"], createFakeEtcd(), { input: VXLAN })).toMatchObject({
      code: 0,
      stored: VXLAN,
    });
    const directory = mkdtempSync(path.join(tmpdir(), "fts-config-"));
    try {
      const file = path.join(directory, "net-conf.json");
      writeFileSync(file, VXLAN);
      expect(await run(["set", `@${file}`], createFakeEtcd())).toMatchObject({ code: 0, stored: VXLAN });
      const absent = await run(["set", `@${file}.not`], createFakeEtcd());
      expect(absent.code).toBe(2);
      expect(absent.stderr).toMatch(/cannot read the configuration from .*net-conf\.json\.not: ENOENT/);
    } finally {
      rmSync(directory, { recursive: true });
    }
  });

  it("prints what changed, and that daemons must be restarted", async () => {
    const next = '{"Network":"10.244.0.0/16","SubnetMin":"10.244.2.0","Backend":{"Type":"vxlan","VNI":9}}';
    const { code, stdout } = await run(["set", next], createFakeEtcd({ [key]: VXLAN, ...LEASES }));
    expect(code).toBe(0);
    expect(stdout).toBe(
      'SubnetMin: (absent) -> "10.244.2.0"\n' +
        'Backend: {"Type":"vxlan"} -> {"Type":"vxlan","VNI":9}\n' +
        "Daemons read it when they start: restart flanneld-ts on every node.\n",
    );
  });

  it("shows keys of the old one whatever their case, and those that go", async () => {
    const old =
      '{"network":"10.244.0.0/16","SUBNETLEN":24,"SubnetMax":"10.244.200.0","Backend":{"Type":"vxlan"}}';
    const { stdout } = await run(["set", VXLAN], createFakeEtcd({ [key]: old }));
    expect(stdout.split("\n")[0]).toBe('SubnetMax: "10.244.200.0" -> (absent)');
  });

  it("writes nothing when it says that already", async () => {
    const etcd = createFakeEtcd({ [key]: '{"network":"10.244.0.0/16","Backend":{"Type":"vxlan"}}' });
    const { code, stdout } = await run(["set", VXLAN], etcd);
    expect([code, stdout, etcd.calls.put]).toEqual([
      0,
      `${key} says that already; nothing was written.\n`,
      0,
    ]);
  });

  it.each([
    { name: "not JSON", text: "Network=10.0.0.0/8", message: "network config: not valid JSON" },
    { name: "against a rule", text: '{"Network":"10.0.0.0/29"}', message: "network is too small" },
    {
      name: "no backend type",
      text: '{"Network":"10.0.0.0/8","Backend":{}}',
      message: "unknown backend type: ",
    },
  ])("refuses what is $name, with exit code 2", async ({ text, message }) => {
    const etcd = createFakeEtcd({ [key]: VXLAN });
    const { code, stderr, stored } = await run(["set", "--force", text], etcd);
    expect([code, stored, etcd.calls.put]).toEqual([2, VXLAN, 0]);
    expect(stderr).toContain(message);
    expect(stderr).toContain("Nothing was written.\n");
  });

  it("refuses what the backend refuses", async () => {
    const checkConfig = () => {
      throw new InvalidValueError("Backend.VNI is 0");
    };
    const { code, stderr, stored } = await run(["set", VXLAN], createFakeEtcd(), { checkConfig });
    expect([code, stderr, stored]).toEqual([2, "Backend.VNI is 0\nNothing was written.\n", undefined]);
  });

  it("names keys that nobody reads", async () => {
    const { code, stderr, stored } = await run(
      ["set", '{"Network":"10.244.0.0/16","SubnetLength":26,"Backend":{"Type":"vxlan"}}'],
      createFakeEtcd(),
    );
    expect([code, stored]).toEqual([0, VXLAN]);
    expect(stderr).toBe("Warning: left out, since nobody reads it: SubnetLength\n");
  });

  it("replaces a broken one", async () => {
    const { code, stdout, stored } = await run(["set", VXLAN], createFakeEtcd({ [key]: "oops" }));
    expect([code, stored]).toEqual([0, VXLAN]);
    expect(stdout).toContain("replaced what could not be read: oops");
  });

  it("does not overwrite what somebody else wrote meanwhile", async () => {
    for (const initial of [{}, { [key]: VXLAN }]) {
      const etcd = createFakeEtcd(initial);
      etcd.beforePut = async () => {
        etcd.beforePut = undefined;
        await etcd.put(key, "theirs");
      };
      const { code, stderr, stored } = await run(
        ["set", '{"Network":"10.9.0.0/16","Backend":{"Type":"vxlan"}}'],
        etcd,
      );
      expect([code, stored]).toEqual([1, "theirs"]);
      expect(stderr).toContain("Somebody else changed");
    }
  });
});

describe("config set with leases in use", () => {
  it.each([
    {
      name: "another network",
      text: '{"Network":"10.1.0.0/16","Backend":{"Type":"vxlan"}}',
      warning:
        "Warning: 2 leases (10.244.3.0/24 of 192.0.2.3, 10.244.7.0/24 of 192.0.2.7) would not fit the new configuration",
    },
    {
      name: "another length",
      text: '{"Network":"10.244.0.0/16","SubnetLen":25,"Backend":{"Type":"vxlan"}}',
      warning: "2 leases",
    },
    {
      name: "a higher minimum",
      text: '{"Network":"10.244.0.0/16","SubnetMin":"10.244.5.0","Backend":{"Type":"vxlan"}}',
      warning: "Warning: 1 lease (10.244.3.0/24 of 192.0.2.3) would not fit",
    },
    {
      name: "another backend type",
      text: '{"Network":"10.244.0.0/16","Backend":{"Type":"host-gw"}}',
      warning: "would be of another backend type than host-gw",
    },
    {
      name: "IPv6 on top, for which every node needs another lease",
      text: '{"EnableIPv6":true,"Network":"10.244.0.0/16","IPv6Network":"fd00::/48","Backend":{"Type":"vxlan"}}',
      warning: "2 leases",
    },
  ])("warns and writes nothing for $name, unless forced", async ({ text, warning }) => {
    const etcd = createFakeEtcd({ [key]: VXLAN, ...LEASES });
    const refused = await run(["set", text], etcd);
    expect([refused.code, refused.stored]).toEqual([1, VXLAN]);
    expect(refused.stderr).toContain(warning);
    expect(refused.stderr).toContain("add --force");

    const forced = await run(["set", text, "--force"], etcd);
    expect(forced.code).toBe(0);
    expect(forced.stderr).toContain(warning);
    expect(forced.stored).not.toBe(VXLAN);
  });

  it("does not blame a change for leases that did not fit before", async () => {
    const stale = { [`${prefix}/subnets/10.9.3.0-24`]: '{"PublicIP":"192.0.2.9","PublicIPv6":null}' };
    const { code, stderr } = await run(
      ["set", '{"Network":"10.244.0.0/16","Backend":{"Type":"vxlan","VNI":2}}'],
      createFakeEtcd({ [key]: VXLAN, ...LEASES, ...stale }),
    );
    expect([code, stderr]).toEqual([0, ""]);
  });
});

describe("wrong usage and an etcd that is away", () => {
  it.each([[[]], [["get", "x"]], [["get", "--force"]], [["set"]], [["set", "a", "b"]], [["put", "{}"]]])(
    "%j: usage, exit code 2",
    async (argv) => {
      expect(await run(argv, createFakeEtcd())).toMatchObject({ code: 2, stdout: "", stderr: CONFIG_USAGE });
    },
  );

  it("exit code 1 with the client's words", async () => {
    const etcd = createFakeEtcd();
    etcd.failure = new EtcdCallError("etcd at http://192.0.2.1:2379 does not answer", true);
    expect(await run(["get"], etcd)).toMatchObject({
      code: 1,
      stderr: "etcd at http://192.0.2.1:2379 does not answer\n",
    });
  });
});

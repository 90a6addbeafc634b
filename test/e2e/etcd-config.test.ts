// The cluster's configuration in etcd: broken ones are named and waited out, and the commands by which it is changed.
import { writeFileSync } from "node:fs";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { Cluster } from "../../lab/cluster.ts";
import { DAEMON_COMMAND, HEALTH_PORT, httpGet } from "../../lab/daemon-process.ts";
import type { LabNode } from "../../lab/node.ts";
import { hostDump, showLogsOfFailures, startTestCluster } from "../support/cluster.ts";
import { waitFor } from "../support/wait.ts";

let cluster: Cluster;
showLogsOfFailures(() => cluster);
afterAll(() => cluster.close());

const GOOD = '{"Network":"10.244.0.0/16","Backend":{"Type":"vxlan"}}';

/** One rule of flannel each (reference: flannel 1.4). `says`: flannel's own words, after which come value and cure. */
const BROKEN: readonly { readonly config: string; readonly says: string }[] = [
  { config: "", says: "not valid JSON" },
  { config: "{", says: "Expected property name" },
  { config: "[]", says: "must be an object" },
  { config: "{}", says: "please define a correct Network parameter in the flannel config" },
  {
    config: '{"Network":"10.244.0.0"}',
    says: 'Network is "10.244.0.0" (a string), but must be an IPv4 CIDR',
  },
  { config: '{"Network":"fd00::/64"}', says: 'Network is "fd00::/64" (a string), but must be an IPv4 CIDR' },
  {
    config: '{"Network":"10.244.0.0/29"}',
    says: "network is too small. Minimum useful network prefix is /28",
  },
  { config: '{"Network":"10.244.0.0/16","SubnetLen":31}', says: "SubnetLen must be less than /31" },
  {
    config: '{"Network":"10.244.0.0/24","SubnetLen":25}',
    says: "network must be able to accommodate at least four subnets",
  },
  {
    config: '{"Network":"10.244.0.0/16","SubnetLen":"24"}',
    says: 'SubnetLen is "24" (a string), but must be a whole number',
  },
  {
    config: '{"Network":"10.244.0.0/16","SubnetMin":"10.245.0.0"}',
    says: "SubnetMin is not in the range of the Network",
  },
  {
    config: '{"Network":"10.244.0.0/16","SubnetMax":"10.243.0.0"}',
    says: "SubnetMax is not in the range of the Network",
  },
  {
    config: '{"Network":"10.244.0.0/16","SubnetMin":"10.244.3.7"}',
    says: "SubnetMin is not on a SubnetLen boundary: 10.244.3.7",
  },
  {
    config: '{"Network":"10.244.0.0/16","SubnetMax":"10.244.3.7"}',
    says: "SubnetMax is not on a SubnetLen boundary: 10.244.3.7",
  },
  {
    config: '{"Network":"10.244.0.0/16","SubnetMin":"10.244.9.0","SubnetMax":"10.244.3.0"}',
    says: "SubnetMin 10.244.9.0 is above SubnetMax 10.244.3.0",
  },
  { config: '{"EnableIPv4":false,"Network":"10.244.0.0/16"}', says: "none defined stack" },
  {
    config: '{"EnableIPv6":true,"Network":"10.244.0.0/16"}',
    says: "please define a correct IPv6Network parameter in the flannel config",
  },
  { config: '{"Network":"10.244.0.0/16","Backend":{}}', says: 'unknown backend type: ""' },
  { config: '{"Network":"10.244.0.0/16","Backend":{"Type":"vxlam"}}', says: "unknown backend type: vxlam" },
  {
    config: '{"Network":"10.244.0.0/16","Backend":"vxlan"}',
    says: 'Backend is "vxlan" (a string), but must be an object',
  },
  { config: '{"Network":"10.244.0.0/16","Backend":{"Type":"vxlan","VNI":16777216}}', says: "VNI" },
  { config: '{"Network":"10.244.0.0/16","Backend":{"Type":"vxlan","Port":65536}}', says: "Port" },
  {
    config: '{"Network":"10.244.0.0/16","Backend":{"Type":"vxlan","DirectRouting":"yes"}}',
    says: "DirectRouting",
  },
];

async function putConfig(text: string): Promise<void> {
  await cluster.etcd.ctl("put", `${cluster.etcd.prefix}/config`, "--", text);
}

async function readyz(
  node: LabNode,
): Promise<{ readonly status: number; readonly body: string } | undefined> {
  return await httpGet(node.machine, HEALTH_PORT, "/readyz");
}

describe.each([
  { flags: "no flags of the cluster", more: [], broken: BROKEN },
  // What is readable but says something else is a contradiction, and ends it.
  {
    flags: "--network",
    more: ["--network=10.244.0.0/16"],
    broken: BROKEN.filter(({ config }) => /^$|^[{]$|^..$|vxlam/.test(config) || config.includes("SubnetMin")),
  },
])("a daemon with $flags", ({ more, broken }) => {
  let node: LabNode;
  let untouched: string;
  beforeAll(async () => {
    await cluster?.close();
    cluster = await startTestCluster({ nodes: 1, startDaemons: false, netConf: "none", daemonFlags: more });
    node = cluster.node("n1");
    untouched = withoutSocket(await hostDump(node));
    await putConfig("{}");
    await node.daemon.start({ waitReady: false });
  });

  test.each(broken)("waits at $config", async ({ config, says }) => {
    await putConfig(config);
    const answer = await waitFor("its reason on /readyz", async () => {
      const now = await readyz(node);
      return now?.body.includes(says) ? now : undefined;
    });
    expect(answer.status).toBe(503);
    expect(answer.body).toContain("/coreos.com/network/config");
    expect(logMessages(node).some((message) => message.includes(says) && message.includes("/config"))).toBe(
      true,
    );
  });

  test("has touched nothing meanwhile, takes the corrected one without a restart, and said each reason once", async () => {
    expect(withoutSocket(await hostDump(node))).toBe(untouched);
    expect(await node.daemon.status()).toMatchObject({
      ready: false,
      notReadyReason: expect.stringContaining("/coreos.com/network/config") as string,
    });
    const pid = node.daemon.pid();
    await putConfig(GOOD);
    await node.daemon.waitReady();
    expect(node.daemon.pid()).toBe(pid);
    expect(node.subnetEnv()).toMatchObject({ FLANNEL_NETWORK: "10.244.0.0/16" });
    const warnings = logMessages(node).filter((message) => message.includes("/coreos.com/network/config"));
    expect(warnings.length).toBeGreaterThanOrEqual(broken.length);
    expect(new Set(warnings).size).toBe(warnings.length);
  });
});

/** The daemon's own status socket is all that it may have made. */
function withoutSocket(dump: string): string {
  return dump
    .split("\n")
    .filter((line) => !/^\/run\/flannel(\/flanneld\.sock)?$/.test(line))
    .join("\n");
}

function logMessages(node: LabNode): string[] {
  return node.daemon
    .log()
    .split("\n")
    .filter((line) => line.startsWith("{"))
    .map((line) => (JSON.parse(line) as { msg: string }).msg);
}

describe("flags that cannot be", () => {
  beforeAll(async () => {
    await cluster.node("n1").daemon.stop();
  });
  test.each([
    {
      flags: ["--network=10.9.0.0/16"],
      says: /--network=10\.9\.0\.0\/16 contradicts the cluster's configuration, which has Network 10\.244\.0\.0\/16/,
    },
    { flags: ["--backend=host-gw"], says: /--backend=host-gw contradicts .* Backend\.Type vxlan/ },
    { flags: ["--subnet-len=25"], says: /--subnet-len=25 contradicts .* SubnetLen 24/ },
    { flags: ["--network=10.9.0.0/29", "--etcd-prefix=/other"], says: /network is too small/ },
    { flags: ["--backend=vxlan", "--etcd-prefix=/other"], says: /add --network=CIDR/ },
    {
      flags: ["--network=10.9.0.0/16", "--backend=vxlam", "--etcd-prefix=/other"],
      says: /unknown backend type: vxlam/,
    },
  ])("$flags: exit 2", async ({ flags, says }) => {
    const { exitCode, stderr } = await run(...cluster.etcd.daemonFlags, ...flags);
    expect(stderr).toMatch(says);
    expect(exitCode).toBe(2);
    expect((await cluster.etcd.ctl("get", "/other/config")).trim()).toBe("");
  });
});

async function run(...args: readonly string[]) {
  const [program = "", ...first] = DAEMON_COMMAND;
  return await cluster.node("n1").exec(program, [...first, ...args], { allowFailure: true });
}

describe("config get and set", () => {
  const prefix = "--etcd-prefix=/kube-centos/network";
  const config = async (...args: readonly string[]) => {
    const { exitCode, stdout, stderr } = await run("config", ...args, ...cluster.etcd.daemonFlags, prefix);
    return { exitCode, stdout, stderr };
  };
  const HANDBOOK = '{"Network":"172.33.0.0/16","SubnetLen":24,"Backend":{"Type":"host-gw"}}';

  test("get without one: exit 1, and how to make one", async () => {
    expect(await config("get")).toMatchObject({
      exitCode: 1,
      stdout: "",
      stderr: expect.stringMatching(
        /no configuration under \/kube-centos\/network\/config.*config set/,
      ) as string,
    });
  });

  test("set refuses a broken one: exit 2, nothing is written", async () => {
    const refused = await config("set", '{"Network":"172.33.0.0/16","SubnetLen":17}');
    expect(refused).toMatchObject({
      exitCode: 2,
      stderr: expect.stringContaining("at least four subnets") as string,
    });
    expect((await config("get")).exitCode).toBe(1);
  });

  test("set and get: what was written is what flannel reads", async () => {
    expect(await config("set", HANDBOOK)).toMatchObject({ exitCode: 0, stderr: "" });
    expect(await config("get")).toEqual({ exitCode: 0, stdout: `${HANDBOOK}\n`, stderr: "" });
    expect(await cluster.etcd.ctl("get", "--print-value-only", "/kube-centos/network/config")).toBe(
      `${HANDBOOK}\n`,
    );
    expect(await config("set", HANDBOOK)).toMatchObject({
      exitCode: 0,
      stdout: expect.stringContaining("nothing was written") as string,
    });
  });

  test("set from a file", async () => {
    const file = "/run/net-conf.json";
    writeFileSync(cluster.node("n1").machine.hostPath(file), HANDBOOK.replace("host-gw", "vxlan"));
    expect(await config("set", `@${file}`)).toMatchObject({ exitCode: 0 });
    expect((await config("get")).stdout).toContain('"Type":"vxlan"');
  });

  test("set that leaves leases outside: exit 1 and whose, unless forced", async () => {
    const lease = '{"PublicIP":"192.0.2.77","PublicIPv6":null,"BackendType":"vxlan"}';
    await cluster.etcd.ctl("put", "/kube-centos/network/subnets/172.33.77.0-24", lease);
    const other = '{"Network":"10.99.0.0/16","Backend":{"Type":"vxlan"}}';
    const refused = await config("set", other);
    expect(refused).toMatchObject({ exitCode: 1, stderr: expect.stringContaining("--force") as string });
    expect(refused.stderr).toMatch(/172\.33\.77\.0\/24|192\.0\.2\.77/);
    expect((await config("get")).stdout).toContain("172.33.0.0/16");
    expect((await config("set", "--force", other)).exitCode).toBe(0);
    expect((await config("get")).stdout).toContain("10.99.0.0/16");
  });
});

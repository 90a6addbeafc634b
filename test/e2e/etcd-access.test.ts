// Access to etcd that does not work: what the daemon says, how it ends, and that no secret gets out.
import { afterAll, beforeAll, expect, test } from "vitest";
import type { Cluster } from "../../lab/cluster.ts";
import { DAEMON_COMMAND } from "../../lab/daemon-process.ts";
import { DAEMON_USER } from "../../lab/etcd.ts";
import type { LabNode } from "../../lab/node.ts";
import { startTestCluster } from "../support/cluster.ts";
import { waitFor } from "../support/wait.ts";

const WRONG_PASSWORD = "hunter2-is-not-it";
const TLS = "/etc/flannel-etcd";

let cluster: Cluster;
let node: LabNode;
beforeAll(async () => {
  cluster = await startTestCluster({ nodes: 1, pods: 0, etcd: { tls: true, auth: true } });
  node = cluster.node("n1");
  await node.daemon.stop();
  await makeStrangers(node);
});
afterAll(() => cluster.close());

/** An authority that signed nothing here, with a client certificate by it. */
async function makeStrangers(machine: LabNode): Promise<void> {
  const script = `
cd ${TLS}
new="openssl req -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -sha256"
$new -x509 -days 2 -subj /CN=other-ca -keyout other-ca-key.pem -out other-ca.pem
$new -subj /CN=other -keyout other-key.pem -out other.csr
openssl x509 -req -days 2 -in other.csr -CA other-ca.pem -CAkey other-ca-key.pem -CAcreateserial -out other.pem
`;
  await machine.exec("sh", ["-ec", script]);
}

interface Attempt {
  readonly name: string;
  /** Replaces flags of the same name. */
  readonly flags?: Readonly<Record<string, string>>;
  readonly env?: Readonly<Record<string, string>>;
  readonly says: RegExp;
}

const ATTEMPTS: readonly Attempt[] = [
  {
    name: "a wrong password",
    env: { FLANNELD_ETCD_PASSWORD: WRONG_PASSWORD },
    says: /etcd does not accept this user and password; correct --etcd-username and --etcd-password/,
  },
  {
    name: "a wrong password as a flag",
    flags: { "etcd-password": WRONG_PASSWORD },
    says: /etcd does not accept this user and password/,
  },
  {
    name: "an unknown user",
    flags: { "etcd-username": "nobody" },
    says: /etcd does not accept this user and password/,
  },
  {
    // The name in its client certificate is its user then, and that one has no rights.
    name: "no user",
    flags: { "etcd-username": "" },
    says: /permission denied: grant the etcd user a role/,
  },
  {
    name: "a user without rights on the prefix",
    flags: { "etcd-prefix": "/elsewhere" },
    says: /permission denied: grant the etcd user a role with readwrite on the prefix/,
  },
  {
    name: "a CA that did not sign the server's certificate",
    flags: { "etcd-cafile": `${TLS}/other-ca.pem` },
    says: /certificate is not trusted .*; set --etcd-cafile to the CA that signed it/,
  },
  {
    name: "a client certificate that etcd does not trust",
    flags: { "etcd-certfile": `${TLS}/other.pem`, "etcd-keyfile": `${TLS}/other-key.pem` },
    says: /refused our client certificate or wants one .*--etcd-certfile and --etcd-keyfile/,
  },
  {
    name: "no client certificate",
    flags: { "etcd-certfile": "", "etcd-keyfile": "" },
    says: /refused our client certificate or wants one/,
  },
  {
    name: "a key of another certificate",
    flags: { "etcd-keyfile": `${TLS}/other-key.pem` },
    says: /the TLS files for etcd \(.*\) do not fit together/,
  },
  {
    name: "a file that is not there",
    flags: { "etcd-cafile": `${TLS}/none.pem` },
    says: /--etcd-cafile \/etc\/flannel-etcd\/none\.pem cannot be read/,
  },
];

/** Runs a command of the daemon's executable, or the daemon, to its end. */
async function run(attempt: Omit<Attempt, "name" | "says">, command: readonly string[] = []) {
  const given = new Map(cluster.etcd.daemonFlags.map((flag) => flag.slice(2).split("=") as [string, string]));
  for (const [name, value] of Object.entries(attempt.flags ?? {})) given.set(name, value);
  const flags = [...given].map(([name, value]) => `--${name}=${value}`);
  const [program = "", ...first] = DAEMON_COMMAND;
  return await node.exec(program, [...first, ...command, ...flags], {
    env: { ...cluster.etcd.daemonEnv, ...attempt.env },
    allowFailure: true,
  });
}

test.each(ATTEMPTS)("$name: exit 1, one clear error, no secret", async ({ says, ...attempt }) => {
  const { exitCode, stdout, stderr } = await run(attempt);
  const errors = stderr.split("\n").filter((line) => line.includes('"level":"error"'));
  expect(errors).toHaveLength(1);
  expect((JSON.parse(errors[0] ?? "{}") as { msg: string }).msg).toMatch(says);
  for (const secret of [WRONG_PASSWORD, DAEMON_USER.password, "PRIVATE KEY"]) {
    expect(stdout + stderr).not.toContain(secret);
  }
  expect(exitCode).toBe(1);
});

test.each(ATTEMPTS)("config get with $name: the same words", async ({ says, ...attempt }) => {
  const { exitCode, stdout, stderr } = await run(attempt, ["config", "get"]);
  expect(stderr).toMatch(says);
  expect(stderr).not.toMatch(/^ +at /m);
  for (const secret of [WRONG_PASSWORD, DAEMON_USER.password]) expect(stdout + stderr).not.toContain(secret);
  expect(exitCode).toBe(1);
});

test("a user that is deleted while the daemon runs: said, and right again once it is back", async () => {
  const { etcd } = cluster;
  await node.daemon.start();
  await etcd.ctl("user", "delete", DAEMON_USER.name);
  // Its token is not asked for again before the connection ends.
  await etcd.stop("SIGKILL");
  await etcd.start();
  await waitFor("the daemon to say so", async () =>
    /does not accept this user and password/.test((await node.daemon.status()).store.problem ?? ""),
  );
  expect((await node.daemon.status()).ready).toBe(true);
  await etcd.ctl("user", "add", `${DAEMON_USER.name}:${DAEMON_USER.password}`);
  await etcd.ctl("user", "grant-role", DAEMON_USER.name, DAEMON_USER.name);
  await waitFor("the daemon to be content", async () => {
    const { store } = await node.daemon.status();
    return store.connected && store.problem === undefined;
  });
  expect(node.daemon.log()).not.toContain(DAEMON_USER.password);
});

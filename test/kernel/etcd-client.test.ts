// The etcd client against real etcd: calls, failover, TLS, authentication.
import { copyFileSync } from "node:fs";
import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";
import { EtcdCallError } from "../../src/etcd/client.ts";
import type { EtcdClient } from "../../src/etcd/client.ts";
import type { EtcdConnection } from "../../src/etcd/connection.ts";
import { createEtcdClient } from "../../src/etcd/etcd3-client.ts";
import { FLANNEL, ROOT, startEtcd } from "../support/etcd.ts";
import type { TestEtcd } from "../support/etcd.ts";
import { freePorts } from "../support/free-ports.ts";
import { memoryLogger } from "../support/memory-logger.ts";
import { startTcpProxy } from "../support/tcp-proxy.ts";
import { waitFor } from "../support/wait.ts";

const clients: EtcdClient[] = [];
function open(connection: EtcdConnection, random?: () => number): EtcdClient {
  const client = createEtcdClient(connection, random ? { random } : {});
  clients.push(client);
  return client;
}

afterEach(async () => {
  await Promise.all(clients.splice(0).map((client) => client.close()));
});

async function failureOf(call: Promise<unknown>): Promise<EtcdCallError> {
  const error = await call.then(
    () => new Error("the call succeeded"),
    (reason: unknown) => reason,
  );
  expect(error).toBeInstanceOf(EtcdCallError);
  return error as EtcdCallError;
}

describe("one server", () => {
  let etcd: TestEtcd;
  beforeAll(async () => {
    etcd = await startEtcd();
  });
  afterAll(() => etcd.close());

  test("puts, reads, lists and deletes, with conditions", async () => {
    const client = open(etcd.connection);
    expect(await client.get("/a/1")).toBeUndefined();
    expect(await client.put("/a/1", "one", { only: { absent: true } })).toBe(true);
    expect(await client.put("/a/1", "two", { only: { absent: true } })).toBe(false);
    const kv = await client.get("/a/1");
    expect(kv).toMatchObject({ key: "/a/1", value: "one", leaseId: "0" });
    expect(await client.put("/a/1", "two", { only: { unchangedSince: kv!.modRevision } })).toBe(true);
    expect(await client.put("/a/1", "three", { only: { unchangedSince: kv!.modRevision } })).toBe(false);
    await client.put("/ab", "not below /a/");
    const { kvs, revision } = await client.list("/a/");
    expect(kvs.map(({ value }) => value)).toEqual(["two"]);
    expect(revision).toBe((await client.get("/ab"))!.modRevision);
    expect(await client.delete("/a/1", kv!.modRevision)).toBe(false);
    expect(await client.delete("/a/1")).toBe(true);
    expect(await client.delete("/a/1")).toBe(false);
  });

  test("grants, keeps, asks for and revokes leases", async () => {
    const client = open(etcd.connection);
    const leaseId = await client.grantLease(60);
    await client.put("/leased", "x", { leaseId });
    expect((await client.get("/leased"))?.leaseId).toBe(leaseId);
    expect(await client.keepAliveOnce(leaseId)).toBe(60);
    expect(await client.timeToLive(leaseId)).toMatchObject({ grantedTtl: 60 });
    await client.revokeLease(leaseId);
    await client.revokeLease(leaseId);
    expect(await client.get("/leased")).toBeUndefined();
    expect(await client.keepAliveOnce(leaseId)).toBe(0);
    expect((await client.timeToLive(leaseId)).ttl).toBe(-1);
    expect((await failureOf(client.put("/leased", "x", { leaseId }))).message).toContain(
      "expired or was revoked",
    );
  });

  test("lists 1203 keys over pages at one revision, and more than 4 MB", async () => {
    const client = open(etcd.connection);
    const keys = Array.from({ length: 1203 }, (_, i) => `/many/${String(i).padStart(5, "0")}`);
    await Promise.all(keys.map((key) => client.put(key, "v".repeat(4_000))));
    const { kvs } = await client.list("/many/");
    expect(kvs.map(({ key }) => key)).toEqual(keys);
  });

  test("a dead endpoint in the list (flannel's default has one) costs nothing, wherever it stands", async () => {
    const [dead] = await freePorts(1);
    for (const start of [0, 0.6]) {
      const client = open({ endpoints: [`http://127.0.0.1:${dead}`, ...etcd.endpoints] }, () => start);
      for (let i = 0; i < 20; i++) await client.put("/dead-neighbour", String(i));
      expect((await client.get("/dead-neighbour"))?.value).toBe("19");
    }
  });

  test("an endpoint that accepts and stays silent is left for one that answers", async () => {
    const proxy = await startTcpProxy(etcd.members[0]!.port);
    try {
      proxy.stall();
      const client = open({ endpoints: [`http://127.0.0.1:${proxy.port}`, ...etcd.endpoints] }, () => 0);
      await client.put("/silent-neighbour", "x");
      expect((await client.get("/silent-neighbour"))?.value).toBe("x");
    } finally {
      await proxy.close();
    }
  });

  test("nobody there: a retryable error that names each endpoint and the cure", async () => {
    const [a, b] = await freePorts(2);
    const error = await failureOf(open({ endpoints: [`http://127.0.0.1:${a}`, `127.0.0.1:${b}`] }).get("/x"));
    expect(error.retryable).toBe(true);
    expect(error.message).toContain(`http://127.0.0.1:${a}: connection refused; is etcd running there`);
    expect(error.message).toContain(`http://127.0.0.1:${b}: connection refused`);
  });

  test("works again by itself once etcd is back", async () => {
    const client = open(etcd.connection);
    await client.put("/restart", "1");
    await etcd.members[0]!.kill();
    expect((await failureOf(client.get("/restart"))).retryable).toBe(true);
    await etcd.members[0]!.start();
    await waitFor("the client to reach etcd again", () => client.get("/restart"));
  });

  test("https to a server that speaks plain http is named", async () => {
    const error = await failureOf(open({ endpoints: [`https://${etcd.members[0]!.address}`] }).get("/x"));
    expect(error.message).toContain("write http:// for this endpoint");
  });

  test("a closed client says so", async () => {
    const client = open(etcd.connection);
    await client.close();
    expect(await failureOf(client.get("/x"))).toMatchObject({ retryable: false });
  });
});

test("three members: no call fails while two of them are killed one after the other", async () => {
  const etcd = await startEtcd({ members: 3 });
  try {
    const client = open(etcd.connection);
    for (let i = 0; i < 30; i++) {
      if (i === 10) await etcd.members[0]!.kill();
      if (i === 20) {
        await etcd.members[0]!.start();
        await etcd.members[1]!.kill();
      }
      expect(await client.put(`/ha/${i}`, String(i), { only: { absent: true } })).toBe(true);
    }
    expect((await client.list("/ha/")).kvs).toHaveLength(30);
  } finally {
    await etcd.close();
  }
});

describe("TLS with client certificates", () => {
  let etcd: TestEtcd;
  beforeAll(async () => {
    etcd = await startEtcd({ tls: true });
  });
  afterAll(() => etcd.close());

  test("works by address and by name", async () => {
    const byName = etcd.endpoints.map((url) => url.replace("127.0.0.1", "localhost"));
    for (const endpoints of [etcd.endpoints, byName]) {
      expect(await open({ ...etcd.connection, endpoints }).put("/tls", "x")).toBe(true);
    }
  });

  test("the wrong CA", async () => {
    const error = await failureOf(open({ ...etcd.connection, caFile: etcd.certificates!.otherCa }).get("/x"));
    expect(error.retryable).toBe(false);
    expect(error.message).toMatch(/certificate is not trusted .*--etcd-cafile/);
  });

  test("no CA: the system's certificates count, and do not know this one", async () => {
    const { caFile: _, ...connection } = etcd.connection;
    expect((await failureOf(open(connection).get("/x"))).message).toContain("--etcd-cafile");
  });

  test("no client certificate where one is wanted", async () => {
    const { caFile } = etcd.connection;
    const error = await failureOf(open({ endpoints: etcd.endpoints, caFile: caFile! }).get("/x"));
    expect(error.message).toContain("--etcd-certfile");
    expect(error.retryable).toBe(false);
  });

  test("a client certificate by another authority", async () => {
    const { otherClientCert, otherClientKey } = etcd.certificates!;
    const error = await failureOf(
      open({ ...etcd.connection, certFile: otherClientCert, keyFile: otherClientKey }).get("/x"),
    );
    expect(error.message).toContain("--etcd-certfile");
  });

  test("renewed certificate files are read when the old ones are refused, without a restart", async () => {
    const { ca, clientCert, clientKey, otherClientCert, otherClientKey } = etcd.certificates!;
    const [certFile, keyFile] = [`${clientCert}.live`, `${clientKey}.live`];
    copyFileSync(otherClientCert, certFile);
    copyFileSync(otherClientKey, keyFile);
    const client = open({ endpoints: etcd.endpoints, caFile: ca, certFile, keyFile });
    await failureOf(client.get("/x"));
    copyFileSync(clientCert, certFile);
    copyFileSync(clientKey, keyFile);
    expect(await client.put("/renewed", "x")).toBe(true);
  });

  test("http to a server that wants TLS", async () => {
    const error = await failureOf(open({ endpoints: [`http://${etcd.members[0]!.address}`] }).get("/x"));
    expect(error.message).toContain("https://");
  });

  test("files that are missing, no PEM, or do not belong together are named before the first call", () => {
    const { clientKey, clientCert, ca, otherClientKey } = etcd.certificates!;
    const files = { endpoints: etcd.endpoints, caFile: ca, certFile: clientCert, keyFile: clientKey };
    expect(() => open({ ...files, caFile: "/nowhere/ca.pem" })).toThrow(
      "--etcd-cafile /nowhere/ca.pem cannot be read",
    );
    expect(() => open({ ...files, keyFile: "/etc/hostname" })).toThrow(
      "--etcd-keyfile /etc/hostname is not a PEM",
    );
    expect(() => open({ ...files, keyFile: otherClientKey })).toThrow("do not fit together");
  });
});

describe("user and password", () => {
  let etcd: TestEtcd;
  let connection: EtcdConnection;
  beforeAll(async () => {
    etcd = await startEtcd();
    const before = createEtcdClient({ ...etcd.connection, ...FLANNEL });
    expect(await before.put("/net/early", "a user is given though auth is still off")).toBe(true);
    connection = await etcd.enableAuth("/net/");
    // Its calls so far had no token.
    expect((await before.get("/net/early"))?.value).toContain("auth is still off");
    await before.close();
  });
  afterAll(() => etcd.close());

  test("a permitted key", async () => {
    expect(await open(connection).put("/net/config", "{}")).toBe(true);
  });

  test("a wrong password or user: clear, final, and without the password in it", async () => {
    for (const wrong of [{ password: "wrong-secret" }, { username: "nobody" }]) {
      const error = await failureOf(open({ ...connection, ...wrong }).get("/net/config"));
      expect(error.retryable).toBe(false);
      expect(error.message).toContain("does not accept this user and password");
      expect(error.message + String(error.stack) + String(error.cause)).not.toMatch(/secret/);
    }
  });

  test("no user where one is needed", async () => {
    const error = await failureOf(open({ endpoints: etcd.endpoints }).get("/net/config"));
    expect(error.retryable).toBe(false);
    expect(error.message).toContain("--etcd-username");
  });

  test("a key outside the permission", async () => {
    const error = await failureOf(open(connection).put("/elsewhere", "x"));
    expect(error.retryable).toBe(false);
    expect(error.message).toContain("permission denied");
  });

  test("tokens that a restarted etcd or a change of the roles has made void are renewed", async () => {
    const client = open(connection);
    await client.put("/net/token", "1");
    await etcd.members[0]!.kill();
    await etcd.members[0]!.start();
    await client.put("/net/token", "2");
    await etcd.etcdctl("role", "grant-permission", "flannel", "read", "/other");
    await client.put("/net/token", "3");
    const leaseId = await client.grantLease(30);
    await etcd.etcdctl("role", "revoke-permission", "flannel", "/other");
    expect(await client.keepAliveOnce(leaseId)).toBe(30);
  });

  test("odd settings are warned of, without secrets", async () => {
    const log = memoryLogger();
    await createEtcdClient({ ...connection, ...ROOT, keyFile: "/some/key" }, { log }).close();
    const text = log.lines.map(({ message }) => message).join("\n");
    expect(text).toContain("--etcd-keyfile is given without --etcd-certfile");
    expect(text).toContain("travels unencrypted");
    expect(JSON.stringify(log.lines)).not.toContain(ROOT.password);
  });
});

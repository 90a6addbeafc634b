// Log lines of denied packets: they name pod, packet and policies, and a flood of packets is no flood of lines.
import { describe, expect, it } from "vitest";
import { createDeniedLogger } from "../../../src/daemon/policy/denied-log.ts";
import type { LoggedPacket } from "../../../src/kernel/nflog/watch-nflog.ts";
import { watchNflog } from "../../../src/kernel/nflog/watch-nflog.ts";
import type { ByteHandlers, SpawnBytes } from "../../../src/kernel/exec.ts";
import type { LogFields } from "../../../src/net/logger.ts";
import { SILENT_LOGGER } from "../../../src/net/logger.ts";
import { parseIp } from "../../../src/net/ip.ts";
import { DEFAULT_POLICY_SETTINGS } from "../../../src/policy/settings.ts";
import { podOf, policyOf, snapshotOf } from "../../support/policy-cluster.ts";
import { ipv4Packet, nflogMessage, pcapHeader, pcapRecord } from "../../support/nflog-bytes.ts";
import { waitFor } from "../../support/wait.ts";

const SNAPSHOT = snapshotOf({
  pods: [podOf("shop/db", "1.7", { app: "db" }), podOf("shop/web", "1.5")],
  policies: [
    policyOf("shop/db", "{podSelector: {matchLabels: {app: db}}, ingress: [{ports: [{port: 5432}]}]}"),
    policyOf("shop/deny", "{podSelector: {matchLabels: {app: db}}, policyTypes: [Ingress, Egress]}"),
  ],
});

const TO_DB: LoggedPacket = {
  prefix: "FTSP-DENY-IN",
  family: 4,
  src: parseIp("10.244.1.5"),
  dst: parseIp("10.244.1.7"),
  protocol: 6,
  ports: { src: 40_000, dst: 80 },
};

function createLog() {
  const lines: (LogFields & { readonly message: string })[] = [];
  const clock = { nowMs: 0, now: () => clock.nowMs };
  const log = {
    ...SILENT_LOGGER,
    info: (fields: LogFields, message: string) => void lines.push({ ...fields, message }),
  };
  const options = { settings: DEFAULT_POLICY_SETTINGS, snapshot: () => SNAPSHOT };
  return { lines, clock, onPacket: createDeniedLogger(options, { log, clock }) };
}

describe("a line", () => {
  it("names the pod, the packet, the policies that isolate and the nearest rule", () => {
    const { lines, onPacket } = createLog();
    onPacket(TO_DB);
    expect(lines).toEqual([
      {
        message:
          "denied ingress of shop/db: TCP 80 from 10.244.1.5 to 10.244.1.7, isolated by shop/db, shop/deny",
        direction: "ingress",
        pod: "shop/db",
        peer: "shop/web",
        src: "10.244.1.5",
        dst: "10.244.1.7",
        protocol: "TCP",
        port: 80,
        policies: ["shop/db", "shop/deny"],
        why: "shop/db ingress[0] allows TCP 5432 from everybody, but you asked for TCP 80",
      },
    ]);
  });

  it.each([
    ["egress", { ...TO_DB, prefix: "FTSP-DENY-OUT", src: TO_DB.dst, dst: parseIp("1.1.1.1") }, "denied egress of shop/db: TCP 80 from 10.244.1.7 to 1.1.1.1, isolated by shop/deny"],
    ["an unknown pod", { ...TO_DB, prefix: "FTSP-DENY-OUT", src: parseIp("10.244.1.99") }, "denied egress of an unknown pod (10.244.1.99): TCP 80 from 10.244.1.99 to 10.244.1.7"],
    ["ping", { prefix: "FTSP-DENY-IN", family: 4, src: TO_DB.src, dst: TO_DB.dst, protocol: 1, icmpType: 8 }, "denied ingress of shop/db: ICMP type 8 from 10.244.1.5 to 10.244.1.7, isolated by shop/db, shop/deny"],
    ["GRE", { prefix: "FTSP-DENY-IN", family: 4, src: TO_DB.src, dst: TO_DB.dst, protocol: 47 }, "denied ingress of shop/db: protocol 47 from 10.244.1.5 to 10.244.1.7, isolated by shop/db, shop/deny"],
  ] as const)("of %s", (_, packet, message) => {
    const { lines, onPacket } = createLog();
    onPacket(packet);
    expect(lines[0]?.message).toBe(message);
  }); // prettier-ignore

  it("says that what was denied is allowed by now", () => {
    const { lines, onPacket } = createLog();
    onPacket({ ...TO_DB, ports: { src: 1, dst: 5432 } });
    expect(lines[0]?.["why"]).toContain("allowed by now");
  });

  it("is not written for packets that another program logs to the group", () => {
    const { lines, onPacket } = createLog();
    onPacket({ ...TO_DB, prefix: "ufw" });
    expect(lines).toEqual([]);
  });
});

it("a flood makes fifty lines, then ten a second, and says how many packets had none", () => {
  const { lines, clock, onPacket } = createLog();
  for (let i = 0; i < 1_000; i += 1) onPacket(TO_DB);
  expect(lines).toHaveLength(50);
  clock.nowMs = 1_000;
  for (let i = 0; i < 1_000; i += 1) onPacket(TO_DB);
  expect(lines).toHaveLength(60);
  expect(lines[50]).toMatchObject({ suppressed: 950 });
});

describe("the child that reads the group", () => {
  function startWatch(spawnBytes: SpawnBytes) {
    const stop = new AbortController();
    const packets: LoggedPacket[] = [];
    const warnings: string[] = [];
    const log = { ...SILENT_LOGGER, warn: (_: LogFields, message: string) => void warnings.push(message) };
    const options = {
      group: 7,
      signal: stop.signal,
      onPacket: (packet: LoggedPacket) => void packets.push(packet),
    };
    return { stop, packets, warnings, watch: watchNflog(options, { spawnBytes, log }) };
  }

  it("that is not installed is missed once, with the cure", async () => {
    const { stop, warnings, watch } = startWatch(() => ({
      pid: undefined,
      ended: Promise.resolve("spawn tcpdump ENOENT"),
    }));
    await waitFor("the problem", () => watch.problem());
    expect(watch.problem()).toBe(
      "denied packets are not logged: tcpdump is not found; install it (Debian, Alpine: tcpdump)",
    );
    stop.abort();
    await watch.ended;
    expect(warnings).toHaveLength(1);
  });

  it("that ends again and again is told of once, with the cure", async () => {
    let starts = 0;
    const { stop, warnings, watch } = startWatch((_, __, { onBytes, onErrorLine }) => {
      starts += 1;
      // As it does without CAP_SETGID: the stream begins, then it ends.
      onBytes(pcapHeader());
      onErrorLine("tcpdump: Couldn't change to 'root' uid=0 gid=0: Operation not permitted");
      return { pid: 1, ended: Promise.resolve("exit 1") };
    });
    await waitFor("a third start", () => starts > 2);
    stop.abort();
    await watch.ended;
    expect(warnings).toEqual([
      expect.stringContaining("tcpdump lacks CAP_SETGID; add it to CapabilityBoundingSet="),
    ]);
  });

  it("that talks nonsense is ended and started again", async () => {
    let starts = 0;
    const spawnBytes: SpawnBytes = (_, __, handlers: ByteHandlers) => {
      starts += 1;
      const { promise, resolve } = Promise.withResolvers<string>();
      handlers.signal.addEventListener("abort", () => resolve("SIGTERM"));
      const message = nflogMessage({ prefix: "p", payload: ipv4Packet("10.0.0.1", "10.0.0.2", 17, 53) });
      queueMicrotask(() =>
        handlers.onBytes(
          starts === 1 ? Buffer.alloc(64) : Buffer.concat([pcapHeader(), pcapRecord(message)]),
        ),
      );
      return { pid: 1, ended: promise };
    };
    const { stop, packets, warnings, watch } = startWatch(spawnBytes);
    await waitFor("a packet", () => packets.length > 0);
    await waitFor("the problem to be gone", () => watch.problem() === undefined);
    expect(warnings).toEqual([
      "denied packets are not logged: the reader of NFLOG group 7 ended (SIGTERM: this is no pcap stream); it is started again",
    ]);
    expect(packets[0]).toMatchObject({ prefix: "p", src: "10.0.0.1", dst: "10.0.0.2", protocol: 17 });
    stop.abort();
    await watch.ended;
    expect(starts).toBe(2);
  });
});

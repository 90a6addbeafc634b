// Tells of packets that rules with NFLOG copy to a group: read by a socket of ours or by a `tcpdump` child, kept alive.
import { setTimeout as delay } from "node:timers/promises";
import type { Logger } from "../../net/logger.ts";
import type { ByteHandlers, LineProcess, SpawnBytes } from "../exec.ts";
import { restartDelayMs } from "../monitor.ts";
import { readGroup } from "./addon.ts";
import type { NflogAddon } from "./addon.ts";
import { parsePacketHeader } from "./ip-header-codec.ts";
import type { PacketHeader } from "./ip-header-codec.ts";
import { parseNflogMessage } from "./nflog-codec.ts";
import { createPcapReader, LINKTYPE_NFLOG } from "./pcap-codec.ts";

export interface LoggedPacket extends PacketHeader {
  /** `--nflog-prefix` of the rule. */
  readonly prefix: string;
}

export interface NflogOptions {
  readonly group: number;
  /** Stops the child and the restarts. */
  readonly signal: AbortSignal;
  /** Must not throw. */
  readonly onPacket: (packet: LoggedPacket) => void;
}

export interface NflogModules {
  /** Where it was built; without it tcpdump reads. */
  readonly addon?: NflogAddon | undefined;
  readonly spawnBytes: SpawnBytes;
  readonly log: Logger;
}

export interface NflogWatch {
  /** Why nothing is read at present, with the cure; undefined while all is well. */
  problem(): string | undefined;
  /** Resolves when the watch was stopped and its child has gone. */
  readonly ended: Promise<void>;
}

/** Enough for the attributes before the packet, its IP header and its ports. */
const SNAP_BYTES = 512;
const MISSING_RETRY_MS = 60_000;
/** A child that lives so long reads: what keeps it from that ends it at once, even after the header of its stream. */
const SETTLED_MS = 3_000;

export function watchNflog(options: NflogOptions, modules: NflogModules): NflogWatch {
  const state: { problem: string | undefined } = { problem: undefined };
  return { problem: () => state.problem, ended: keepWatching(options, modules, state) };
}

async function keepWatching(
  { group, signal, onPacket }: NflogOptions,
  modules: NflogModules,
  state: { problem: string | undefined },
): Promise<void> {
  let restartMs = 0;
  while (!signal.aborted) {
    const startedAt = performance.now();
    const settled = setTimeout(() => (state.problem = undefined), SETTLED_MS);
    const reason = await readOnce(group, signal, modules, onPacket);
    clearTimeout(settled);
    if (signal.aborted) return;
    const isMissing = reason.includes("ENOENT");
    restartMs = isMissing ? MISSING_RETRY_MS : restartDelayMs(restartMs, performance.now() - startedAt);
    const problem = `denied packets are not logged: ${explain(reason, group)}`;
    if (problem !== state.problem) modules.log.warn({ reason, restartMs }, problem);
    state.problem = problem;
    await delay(restartMs, undefined, { signal }).catch(() => {});
  }
}

/** One reader from its start to its end. @returns why it ended */
async function readOnce(
  group: number,
  signal: AbortSignal,
  modules: NflogModules,
  onPacket: (packet: LoggedPacket) => void,
): Promise<string> {
  const reader = createPcapReader(LINKTYPE_NFLOG);
  const broken = new AbortController();
  let lastWords = "";
  const child = startReader(group, modules, {
    signal: AbortSignal.any([signal, broken.signal]),
    onBytes(piece) {
      if (broken.signal.aborted) return;
      try {
        for (const record of reader.push(piece)) {
          const message = parseNflogMessage(record);
          const header = message && parsePacketHeader(message.payload);
          if (message && header) onPacket({ ...header, prefix: message.prefix });
        }
      } catch (error) {
        // Whatever is wrong with this stream, the next one begins anew.
        lastWords = (error as Error).message;
        broken.abort();
      }
    },
    onErrorLine(line) {
      if (!line.includes("listening on")) lastWords = line;
    },
  });
  const end = await child.ended;
  return lastWords === "" ? end : `${end}: ${lastWords}`;
}

function startReader(group: number, modules: NflogModules, handlers: ByteHandlers): LineProcess {
  if (modules.addon !== undefined)
    return readGroup(modules.addon, { group, copyBytes: SNAP_BYTES }, handlers);
  // -U: each packet at once. -Z root: not a user that a small image does not have.
  const args = ["-i", `nflog:${group}`, "-n", "-U", "-s", String(SNAP_BYTES), "-Z", "root", "-w", "-"];
  return modules.spawnBytes("tcpdump", args, handlers);
}

function explain(reason: string, group: number): string {
  // The kernel says EPERM of a group that another socket has bound (nfnetlink_log.c, nfulnl_recv_config). It would also say so
  // without CAP_NET_ADMIN, but then there would be no rules.
  if (/listen on group|: bind: E(?:PERM|BUSY)/.test(reason))
    return `another program reads NFLOG group ${group}; choose another --policy-log-group (${reason})`;
  if (/: (?:socket|bind): /.test(reason))
    return `NFLOG group ${group} cannot be read; does the kernel have nfnetlink_log? modprobe nfnetlink_log (${reason})`;
  if (reason.includes("ENOENT")) return "tcpdump is not found; install it (Debian, Alpine: tcpdump)";
  // It changes to a user as the last thing before it reads, though it is that user already (tcpdump.c, droproot).
  if (/change to '/.test(reason))
    return (
      "tcpdump lacks CAP_SETGID; add it to CapabilityBoundingSet= of the unit or to the container's capabilities, or build " +
      `nflog.node (npm run build, with gcc), which needs neither (${reason})`
    );
  if (/permi/i.test(reason))
    return `tcpdump may not read NFLOG; it needs CAP_NET_ADMIN and CAP_NET_RAW (${reason})`;
  return `the reader of NFLOG group ${group} ended (${reason}); it is started again`;
}

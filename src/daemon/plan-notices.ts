// Which troubles of a pass are worth an operator's attention beyond the log, and in what words. Pure.
import type { PeerReach } from "../backends/backend.ts";
import type { ApplyReport } from "../host/apply.ts";
import { subnetKeyOf } from "../ipam/lease.ts";
import type { LeaseBook } from "../ipam/lease.ts";
import type { Notice } from "./connect-store.ts";
import type { RepairStatus } from "./status-report.ts";

/** More peers in trouble than this have one cause, and are one notice. */
const MAX_SINGLE_PEERS = 3;
/** As often within `REVERT_WINDOW_MS` somebody changes our rows, it is no accident. */
const MIN_REVERTS = 3;
const REVERT_WINDOW_MS = 10 * 60_000;

/** Peers that are not reached, by their Nodes' names. */
export function planPeerNotices(reach: readonly PeerReach[], leases: LeaseBook): readonly Notice[] {
  const troubled = reach.flatMap(({ subnetKey, how, problem }) => {
    if (problem === undefined) return [];
    const lease = leases.get(subnetKey);
    const name = lease === undefined ? subnetKey : `node ${lease.nodeName} (${subnetKeyOf(lease)})`;
    const reason = how === "ignored" ? "PeerIgnored" : "PeerUnreachable";
    return { type: "Warning" as const, reason, message: `no route to pods of ${name}: ${problem}` };
  });
  const sorted = troubled.toSorted((a, b) => (a.message < b.message ? -1 : 1));
  const [first] = sorted;
  if (first === undefined || sorted.length <= MAX_SINGLE_PEERS) return sorted;
  const message = `${sorted.length} nodes are not reached, see flanneld-ts status; the first: ${first.message}`;
  return [{ ...first, message }];
}

/** Rows that the kernel refuses: one notice per table, with its first failure. */
export function planFailureNotices({ tables }: ApplyReport): readonly Notice[] {
  return tables.flatMap(({ table, failed }) => {
    const [first] = failed;
    if (first === undefined) return [];
    const more = failed.length > 1 ? ` (and ${failed.length - 1} more)` : "";
    const message = `cannot set up ${table}: ${first.key}: ${first.reason}${more}`;
    return { type: "Warning" as const, reason: "HostSetupFailed", message };
  });
}

/** Tables that something else keeps changing. */
export function planRevertNotices(repairs: readonly RepairStatus[], nowMs: number): readonly Notice[] {
  const counts = new Map<string, number>();
  for (const { table, at } of repairs) {
    if (nowMs - Date.parse(at) <= REVERT_WINDOW_MS) counts.set(table, (counts.get(table) ?? 0) + 1);
  }
  return [...counts]
    .filter(([, count]) => count >= MIN_REVERTS)
    .map(([table]) => ({
      type: "Warning",
      reason: "HostStateReverted",
      message:
        `another program keeps changing ${table} rows of flanneld on this node; they are put back each time. ` +
        "Look for a second network manager (another CNI's daemon, firewalld, systemd-networkd, NetworkManager) and take flannel's devices and chains out of its hands",
    }));
}

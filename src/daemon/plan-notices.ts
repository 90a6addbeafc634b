// Which troubles of a pass are worth an operator's attention beyond the log, and in what words. Pure.
import type { PeerReach } from "../backends/backend.ts";
import type { ApplyReport } from "../host/apply.ts";
import type { ForeignRoute, HostInterface } from "../host/uplink.ts";
import { subnetKeyOf } from "../ipam/lease.ts";
import type { Lease, LeaseBook } from "../ipam/lease.ts";
import type { SubnetManagerHealth } from "../ipam/subnet-manager.ts";
import { cidrContains, cidrContainsIp, cidrFamily, cidrLength, cidrsOverlap } from "../net/cidr.ts";
import type { Cidr } from "../net/cidr.ts";
import type { Notice } from "./connect-store.ts";
import type { RepairStatus } from "./status-report.ts";

/** More peers in trouble than this have one cause, and are one notice. */
const MAX_SINGLE_PEERS = 3;
/** As often within `REVERT_WINDOW_MS` somebody changes our rows, it is no accident. */
const MIN_REVERTS = 3;
const REVERT_WINDOW_MS = 10 * 60_000;

/**
 * Peers that are not reached, by their Nodes' names.
 * @param skipped those whose lease the subnet manager could not take: "node n5", and why
 */
export function planPeerNotices(
  reach: readonly PeerReach[],
  leases: LeaseBook,
  skipped: SubnetManagerHealth["skipped"] = [],
): readonly Notice[] {
  const notice = (how: PeerReach["how"], name: string, problem: string): Notice => ({
    type: "Warning",
    reason: how === "ignored" ? "PeerIgnored" : "PeerUnreachable",
    message: `no route to pods of ${name}: ${problem}`,
  });
  const troubled = reach.flatMap(({ subnetKey, how, problem }) => {
    if (problem === undefined) return [];
    const lease = leases.get(subnetKey);
    const name = lease === undefined ? subnetKey : `node ${lease.nodeName} (${subnetKeyOf(lease)})`;
    return notice(how, name, problem);
  });
  const unread = skipped.map(({ key, reason }) => notice("ignored", key, reason));
  const sorted = [...troubled, ...unread].toSorted((a, b) => (a.message < b.message ? -1 : 1));
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

export interface LeftoverFacts {
  readonly uplink: { readonly name: string };
  /** Of others. */
  readonly routes: readonly ForeignRoute[];
  readonly self: Pick<Lease, "subnet" | "subnet6">;
  readonly leases: LeaseBook;
  readonly networks: readonly Cidr[];
}

/**
 * Routes on the uplink that look like those of Go flannel (host-gw, DirectRouting) to a node that has gone since: a subnet as
 * long as ours in our network, by a gateway, of protocol boot, and nobody's by the leases. Routes that people make look the same,
 * so that they are told of, and not removed. In the order of the table.
 */
export function planLeftoverNotices({
  uplink,
  routes,
  self,
  leases,
  networks,
}: LeftoverFacts): readonly Notice[] {
  const own = [self.subnet, self.subnet6].filter((subnet) => subnet !== undefined);
  const isLikeOurs = (dst: Cidr): boolean =>
    own.some(
      (subnet) =>
        cidrFamily(subnet) === cidrFamily(dst) &&
        cidrLength(subnet) === cidrLength(dst) &&
        !cidrsOverlap(subnet, dst),
    ) && networks.some((network) => cidrContains(network, dst));
  const suspects = routes.filter(
    ({ dst, via, dev, fromBoot }) =>
      fromBoot === true && via !== undefined && dev === uplink.name && isLikeOurs(dst),
  );
  if (suspects.length === 0) return [];
  const explained = new Set([...leases.values()].flatMap(({ subnet, subnet6 }) => [subnet, subnet6]));
  return suspects
    .filter(({ dst }) => !explained.has(dst))
    .map(({ dst, via }) => ({
      type: "Warning",
      reason: "RouteUnexplained",
      message:
        `packets to ${dst} go to ${via}, by a route that is not ours, though no node has a lease of that subnet. Go flannel ` +
        `leaves such routes behind when a node goes while it is down; if you do not need it: ip route del ${dst} via ${via}`,
    }));
}

export interface MtuFacts {
  readonly uplink: { readonly name: string; readonly mtu: number };
  readonly interfaces: readonly HostInterface[];
  readonly self: Pick<Lease, "subnet" | "subnet6">;
  /** Bytes that a packet between pods of different nodes may have. */
  readonly podMtu: number;
  /** Bytes; undefined: the uplink's. */
  readonly outerMtu: number | undefined;
}

/**
 * Packets that are larger than what carries them. Peers do not publish their MTU (flannel's annotations have no place for
 * it), so this compares what one node can see: configuration, uplink, and the wires of the pods that run.
 */
export function planMtuNotices({ uplink, interfaces, self, podMtu, outerMtu }: MtuFacts): readonly Notice[] {
  const notices: Notice[] = [];
  const reason = "MTUMismatch";
  if (outerMtu !== undefined && outerMtu > uplink.mtu) {
    const message =
      `the network configuration lets packets of ${outerMtu} bytes out (Backend.MTU), but ${uplink.name} carries ${uplink.mtu}: ` +
      `large packets of pods are lost; set Backend.MTU to ${uplink.mtu} or less, or raise the MTU of ${uplink.name} on all nodes`;
    notices.push({ type: "Warning", reason, message });
  }
  const subnets = [self.subnet, self.subnet6].filter((subnet) => subnet !== undefined);
  const bridges = new Set(
    interfaces
      .filter(({ addresses }) => addresses.some(({ ip }) => subnets.some((net) => cidrContainsIp(net, ip))))
      .map(({ name }) => name),
  );
  const tooLarge = interfaces.filter(
    ({ master, mtu }) => master !== undefined && bridges.has(master) && mtu > podMtu,
  );
  const [first] = tooLarge;
  if (first !== undefined) {
    const message =
      `${tooLarge.length} pods of this node were started with a larger MTU (${first.name}: ${first.mtu}) than the network has now ` +
      `(${podMtu}): their large packets to other nodes are lost; delete these pods so that they are made anew (kubectl drain does it)`;
    notices.push({ type: "Warning", reason, message });
  }
  return notices;
}

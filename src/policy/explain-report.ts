// The shape of an answer to "may FROM reach TO, and why": what the daemon serves and the command renders.
import type { Family, Ip } from "../net/ip.ts";
import type { AcceptReason, DenyReason } from "./evaluate.ts";
import type { Direction, Verdict } from "./snapshot.ts";

/** `partly`: some ports or some addresses only. */
export type Reachability = "allowed" | "denied" | "partly";

export interface ExplainReport {
  /** In words, e.g. `pod shop/web`. */
  readonly from: string;
  readonly to: string;
  /** In words, e.g. `TCP 80`, or `any port and protocol`. */
  readonly asked: string;
  /** The node that answers. */
  readonly node: string;
  readonly verdict: Reachability;
  /** Every pair of addresses of one family, times the ports that the question means. */
  readonly pairs: readonly ExplainedPair[];
  /** What the asker should know besides. */
  readonly notes: readonly string[];
  /** Absent where only policies were asked. */
  readonly kernel?: KernelReport;
}

export interface ExplainedPair {
  readonly family: Family;
  readonly src: Ip;
  readonly dst: Ip;
  /** E.g. `TCP 80`; of a name there may be several. */
  readonly service: string;
  readonly verdict: Reachability;
  /** Where the question names no port and not everything is allowed: what is, e.g. `TCP 80, 443`. */
  readonly open?: readonly string[];
  readonly egress: ExplainedDirection;
  readonly ingress: ExplainedDirection;
}

export interface ExplainedDirection {
  readonly verdict: Verdict;
  readonly reason: AcceptReason | DenyReason;
  /** `namespace/name` of the pod whose policies count. */
  readonly pod?: string;
  /** `namespace/name`. */
  readonly isolatedBy: readonly string[];
  /** The rule that accepts, or came closest to: `namespace/name ingress[0]`. */
  readonly rule?: string;
  /** The reason in words. */
  readonly text: string;
  /** Of what is denied: the rule that came closest and why it does not accept, in words. */
  readonly nearest?: string;
}

/** Whether the kernel of this node holds what the verdict follows from. */
export interface KernelReport {
  /** `agrees`: all that was looked at is as it should be. `not-asked`: nothing of it is enforced on this node. */
  readonly state: "agrees" | "disagrees" | "not-asked";
  /** What is in force for it, in words, e.g. `egress of shop/web: chain FTSP-E-..., set FTSP-4e-...`. */
  readonly facts: readonly string[];
  /** What is not as it should be. */
  readonly differences: readonly string[];
  /** What to do about them. */
  readonly cure?: string;
  /** How many chains, rules that lead to them, and members of sets were looked at. */
  readonly checked: number;
  readonly denied: readonly DeniedPackets[];
}

/** What the kernel has counted for a pod of this node. */
export interface DeniedPackets {
  readonly pod: string;
  readonly direction: Direction;
  readonly packets: number;
}

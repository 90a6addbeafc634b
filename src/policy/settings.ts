// What an operator decides about policy, where the API leaves it open.
import type { Family } from "../net/ip.ts";

/** Settings that change verdicts. */
export interface PolicySemantics {
  /**
   * Echo requests to and from isolated pods. `policy`: only where a rule without ports allows the peer. `allow-echo`: always.
   * ICMP errors of known connections and neighbor discovery always pass.
   */
  readonly icmp: "policy" | "allow-echo";
  /**
   * Pods to addresses of their own node. `policy`: as to any other address, which is what most engines do. `allow`: always,
   * as the concept page has it. A node always reaches its own pods.
   */
  readonly podToNode: "policy" | "allow";
  /**
   * A pod that reaches itself through a service. `allow`: always ("a pod cannot block access to itself"); needs the
   * kernel's xt_bpf. `policy`: its own rules must allow it.
   */
  readonly hairpin: "allow" | "policy";
}

export interface PolicySettings extends PolicySemantics {
  readonly families: readonly Family[];
  /** Bridges that pods are attached to; iptables' `+` ends a beginning of names. Who is unknown on these is closed. */
  readonly podInterfaces: readonly string[];
  /** `reject` answers that the port is closed; `drop` is silent. */
  readonly denyWith: "drop" | "reject";
  /** NFLOG group that denied packets are copied to, at most ten a second; absent: none. */
  readonly logGroup?: number;
  /** Count denied packets per pod. */
  readonly countDenied: boolean;
  /** Begins the names of all chains and sets; at most 9 characters. */
  readonly prefix: string;
}

export const DEFAULT_POLICY_SETTINGS: PolicySettings = {
  icmp: "policy",
  podToNode: "policy",
  hairpin: "allow",
  families: [4, 6],
  podInterfaces: ["cni0"],
  denyWith: "drop",
  countDenied: true,
  prefix: "FTSP-",
};

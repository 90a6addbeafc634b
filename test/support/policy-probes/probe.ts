// What the probing programs in pods and the tests say to each other.
import type { PolicyProtocol } from "../../../src/policy/snapshot.ts";

export interface Probe {
  readonly address: string;
  readonly port: number;
  readonly protocol: PolicyProtocol;
}

export interface ProbeRequest {
  readonly probes: readonly Probe[];
}

/** `open`: the other end answered. `refused`: something said no, which with `--policy-deny-with=reject` is the policy. */
export type ProbeAnswer = "open" | "refused" | "silent";

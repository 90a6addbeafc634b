// What the routes that people read need of the policy agent.
import type { KernelTable, RowFailure } from "../../host/kernel-table.ts";
import type { FirewallRow } from "../../host/state.ts";
import type { Exec } from "../../kernel/exec.ts";
import type { PolicyGraph } from "../../policy/graph.ts";
import type { InForceBook } from "../../policy/in-force-book.ts";
import type { PolicySettings } from "../../policy/settings.ts";
import type { PolicySourceHealth } from "../../policy/source.ts";
import type { DeniedCount } from "./denied-counts.ts";

/** How the agent is doing, at any moment. */
export interface PolicyAgentState {
  readonly source: PolicySourceHealth;
  /** The last pass over the kernel; absent before the first one. */
  readonly lastPass?: {
    /** Milliseconds since 1970. */
    readonly at: number;
    readonly durationMs: number;
    readonly failed: readonly RowFailure[];
  };
  /** Rows and sets that something else had changed and that were put back, so far. */
  readonly repairs: number;
  /** Attachments whose rules are not in the kernel yet. */
  readonly waiting: number;
  /** What keeps policy from being enforced, each with its cure, e.g. that the bridge hides packets from iptables. */
  readonly problems: readonly string[];
  /** What people asked for and do not get although policy is enforced, each with its cure, e.g. log lines. */
  readonly warnings?: readonly string[];
}

/**
 * `createPolicyReadRoutes(source): Routes` (read-routes.ts) gives `/v1/policy`, `/v1/policy/explain` and
 * `/v1/policy/matrix` for the status socket.
 */
export interface PolicyReadSource {
  readonly settings: PolicySettings;
  readonly graph: Pick<PolicyGraph, "synced" | "snapshot" | "compiled">;
  readonly book: Pick<InForceBook, "since">;
  readonly state: () => PolicyAgentState;
  /** Policy's own table: the one with `settings.prefix`. */
  readonly firewall: Pick<KernelTable<FirewallRow>, "list" | "key" | "equal">;
  /** `createDeniedCounts`, one for routes and metrics. */
  readonly denied: () => Promise<readonly DeniedCount[]>;
  readonly exec: Exec;
}

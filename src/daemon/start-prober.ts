// Starts the mesh prober beside the agent when --probe-interval asks for it; a daemon without it loads none of its code.
import type { Backend } from "../backends/backend.ts";
import { exec } from "../kernel/exec.ts";
import type { Logger } from "../net/logger.ts";
import type { Prober } from "../prober/prober.ts";
import type { Metrics } from "./metrics.ts";
import type { NodeAgent } from "./node-agent.ts";

export interface StartProberOptions {
  /** Seconds; 0: not at all. */
  readonly interval: number;
  readonly agent: NodeAgent;
  readonly backend: Backend;
}

export interface StartProberModules {
  readonly log: Logger;
  readonly metrics: Metrics;
  readonly onStart: (prober: Prober) => void;
}

/**
 * Runs until the signal. Probing is a service to the operator: where it is not possible, the daemon says so and goes on.
 * @param modules.onStart called with the prober once there is one
 */
export async function runProber(
  { interval, agent, backend }: StartProberOptions,
  { log, metrics, onStart }: StartProberModules,
  signal: AbortSignal,
): Promise<void> {
  if (interval === 0) return;
  try {
    const [{ Prober }, { chooseTransport }, { createPathLister }, { registerProbeMetrics }] =
      await Promise.all([
        import("../prober/prober.ts"),
        import("../prober/choose-transport.ts"),
        import("./probe-paths.ts"),
        import("./probe-metrics.ts"),
      ]);
    const { transport, note } = await chooseTransport({ exec });
    if (note !== undefined) log.warn({}, note);
    const paths = createPathLister(agent, backend);
    const prober = new Prober({ intervalMs: interval * 1000, paths, note }, { transport, log });
    onStart(prober);
    registerProbeMetrics(metrics, () => prober.report());
    log.info({ interval, transport: transport.name }, "probing the peers");
    await prober.run(signal);
  } catch (error) {
    log.error({ err: error }, "the peers are not probed");
  }
}

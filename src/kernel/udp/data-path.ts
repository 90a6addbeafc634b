// Keeps the native packet path as planned: starts it, swaps its peers, starts it anew when its device or addresses change.
import type { DataPath, DataPathCounters, DataPathPlan } from "../../host/data-path.ts";
import type { Logger } from "../../net/logger.ts";
import type { UdpAddon, UdpHandle } from "./addon.ts";
import { explainOffloads, explainStartFailure } from "./explain.ts";
import type { StartFailure } from "./explain.ts";
import { addressBytes, formatPeers } from "./peer-codec.ts";

export interface DataPathModules {
  /** Called when a plan first needs it. @throws {Error} with the cure */
  readonly loadAddon: () => UdpAddon;
  readonly log: Logger;
}

interface Running {
  readonly addon: UdpAddon;
  readonly handle: UdpHandle;
  /** All of the plan but its peers: what needs a new start when it changes. */
  readonly fixed: string;
  /** The table in force. */
  peers: Uint8Array;
}

export function createDataPath({ loadAddon, log }: DataPathModules): DataPath {
  let running: Running | undefined;
  let offloadsSaid = "";
  /** Of runs that have ended: counters of a daemon never fall. */
  let past: DataPathCounters = {};

  function stop(): void {
    if (running === undefined) return;
    past = addCounters(past, running.addon.counters(running.handle));
    running.addon.stop(running.handle);
    running = undefined;
  }

  function start(plan: DataPathPlan): Running {
    const addon = loadAddon();
    const handle = addon.start(
      plan.device,
      plan.port,
      addressBytes(plan.locals[4]),
      addressBytes(plan.locals[6]),
      addressBytes(plan.inner[4]),
      addressBytes(plan.inner[6]),
      plan.offload,
      !plan.peersOnly,
    );
    return { addon, handle, fixed: fixedOf(plan), peers: new Uint8Array() };
  }

  /** Why what runs cannot go on. */
  function reasonToRestart({ addon, handle, fixed }: Running, plan: DataPathPlan): string | undefined {
    if (fixed !== fixedOf(plan)) return "its addresses or options changed";
    const state = addon.state(handle);
    if (state.tunIndex === 0) return `the device ${plan.device} was made anew`;
    return state.errno === 0 ? undefined : `a thread ended with errno ${state.errno}`;
  }

  function sayOffloads({ addon, handle }: Running, plan: DataPathPlan): void {
    const said = explainOffloads(addon.state(handle)) ?? "";
    if (said === offloadsSaid) return;
    offloadsSaid = said;
    if (said === "") return;
    if (plan.offload) log.warn({}, `the udp backend works ${said}`);
    else log.info({}, `Backend.Offload is false: the udp backend works ${said}`);
  }

  function applyPlan(plan: DataPathPlan): void {
    const reason = running && reasonToRestart(running, plan);
    if (reason !== undefined) {
      log.warn({ reason }, "the udp data path starts anew");
      stop();
    }
    running ??= start(plan);
    sayOffloads(running, plan);
    const peers = formatPeers(plan.peers);
    if (Buffer.compare(peers, running.peers) === 0) return;
    running.addon.setPeers(running.handle, peers);
    running.peers = peers;
  }

  return {
    apply(plan) {
      try {
        if (plan === undefined) stop();
        else applyPlan(plan);
        return Promise.resolve(undefined);
      } catch (error) {
        const failure = error as StartFailure;
        const words =
          plan && failure.errno !== undefined ? explainStartFailure(failure, plan) : failure.message;
        return Promise.resolve(words);
      }
    },
    counters: () => (running ? addCounters(past, running.addon.counters(running.handle)) : past),
    stop,
  };
}

function fixedOf(plan: DataPathPlan): string {
  return JSON.stringify({ ...plan, peers: [] });
}

function addCounters(a: DataPathCounters, b: DataPathCounters): DataPathCounters {
  const sum: Record<string, number> = { ...a };
  for (const [name, count] of Object.entries(b)) sum[name] = (sum[name] ?? 0) + count;
  return sum;
}

// Tells operators, each thing once in a while: gathers notices after passes and from checks of the host.
import type { SubnetManagerHealth } from "../ipam/subnet-manager.ts";
import type { Cidr } from "../net/cidr.ts";
import type { Logger } from "../net/logger.ts";
import type { Backend } from "../backends/backend.ts";
import type { Notice } from "./connect-store.ts";
import { checkHost } from "./host-checks.ts";
import type { HostChecks } from "./host-checks.ts";
import type { NodeAgent } from "./node-agent.ts";
import {
  planFailureNotices,
  planLeftoverNotices,
  planMtuNotices,
  planPeerNotices,
  planRevertNotices,
} from "./plan-notices.ts";

/** What lasts is said again: the Kubernetes API forgets Events after an hour. */
const REPEAT_MS = 30 * 60_000;

export interface NoticeBoardModules {
  readonly notify: (notice: Notice) => void;
  readonly log: Logger;
  /** Milliseconds since the epoch. */
  readonly now: () => number;
  readonly checkHost?: typeof checkHost;
}

export interface NoticeBoardOptions extends HostChecks {
  readonly backend: Pick<Backend, "podMtu" | "outerMtu">;
  /** Of the cluster. */
  readonly networks: readonly Cidr[];
}

export class NoticeBoard {
  readonly #options: NoticeBoardOptions;
  readonly #modules: NoticeBoardModules;
  readonly #saidAt = new Map<string, number>();
  /** What the last check of the host found, so that the log tells a change and not a state. */
  #found = new Set<string>();
  #mtu: number | undefined;

  constructor(options: NoticeBoardOptions, modules: NoticeBoardModules) {
    this.#options = options;
    this.#modules = modules;
  }

  /** Call after each pass. The log has all of it already, but for sizes that do not fit and routes that are not ours. */
  afterPass(
    { reach, leases, lastPass, repairs, node, self, facts }: NodeAgent,
    skipped: SubnetManagerHealth["skipped"] = [],
  ): void {
    const now = this.#modules.now();
    const { hasDataPath, backend } = this.#options;
    const { uplink } = node;
    const { interfaces } = facts;
    const mtus = { uplink, interfaces, self, podMtu: backend.podMtu(uplink), outerMtu: backend.outerMtu };
    const current = [
      ...(hasDataPath ? planPeerNotices(reach, leases, skipped) : []),
      ...(lastPass === undefined ? [] : planFailureNotices(lastPass.report)),
      ...planRevertNotices(repairs.recent, now),
      ...this.#mtuNotices(uplink),
    ];
    for (const notice of current) this.#say(notice, now);
    const leftovers = { uplink, routes: facts.routes, self, leases, networks: this.#options.networks };
    const silent = hasDataPath ? [...planMtuNotices(mtus), ...planLeftoverNotices(leftovers)] : [];
    for (const notice of silent) {
      if (this.#say(notice, now)) this.#modules.log.warn({ reason: notice.reason }, notice.message);
    }
    for (const [key, at] of this.#saidAt) if (now - at > REPEAT_MS) this.#saidAt.delete(key);
  }

  /** Call at start and every few minutes. */
  lookAtHost(): void {
    const { log, now } = this.#modules;
    const notices = (this.#modules.checkHost ?? checkHost)(this.#options);
    for (const notice of notices) {
      if (!this.#found.has(notice.message)) log.warn({ reason: notice.reason }, notice.message);
      this.#say(notice, now());
    }
    this.#found = new Set(notices.map(({ message }) => message));
  }

  #mtuNotices({ name, mtu }: { readonly name: string; readonly mtu: number }): readonly Notice[] {
    const before = this.#mtu;
    this.#mtu = mtu;
    if (before === undefined || before === mtu) return [];
    const message =
      `the MTU of ${name} changed from ${before} to ${mtu}: new pods follow, running pods keep theirs` +
      (mtu < before
        ? ", and their large packets are lost on this node: delete them so that they are made anew"
        : "");
    return [{ type: "Warning", reason: "MTUChanged", message }];
  }

  /** Returns whether it was time to say it. */
  #say(notice: Notice, now: number): boolean {
    const key = `${notice.reason} ${notice.message}`;
    if (now - (this.#saidAt.get(key) ?? Number.NEGATIVE_INFINITY) <= REPEAT_MS) return false;
    this.#saidAt.set(key, now);
    this.#modules.notify(notice);
    return true;
  }
}

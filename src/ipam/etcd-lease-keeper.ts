// Keeps the own lease in etcd: renews it, puts it back when it is gone, and notices when it is somebody else's.
import { setTimeout as delay } from "node:timers/promises";
import { CompactedError, EtcdCallError } from "../etcd/client.ts";
import type { KeyValue } from "../etcd/client.ts";
import type { Ip } from "../net/ip.ts";
import { isFree } from "./etcd-acquire-plan.ts";
import { expiryAfter, NO_LEASE, pause, readEntry } from "./etcd-context.ts";
import type { EtcdContext, HeldLease } from "./etcd-context.ts";
import { formatLeaseValue, leaseKeyPrefix } from "./etcd-lease-codec.ts";
import { subnetKeyOf } from "./lease.ts";
import type { Lease } from "./lease.ts";
import { keepAliveDelayMs } from "./lease-renewal.ts";
import { LeaseLostError } from "./subnet-manager.ts";

const RETRY_MIN_MS = 1_000;
const RETRY_MAX_MS = 60_000;
/** Several events of our key in a row are one reason to look. */
const SETTLE_MS = 50;
/** Should no event tell of it: a lease that is gone cuts this node off. */
const LOOK_INTERVAL_MS = 10 * 60_000;
/** Two daemons that claim one key would otherwise write it in turns without end. */
const RESTORE_INTERVAL_MS = 60_000;

export interface KeeperOptions {
  /** flannel's --subnet-lease-renew-margin. */
  readonly renewMarginMs: number;
  /**
   * The unchanged value is written again this often: a Go flannel that has dropped us (it does so at a broken key or a
   * failing TTL lookup) learns of us again only by a write.
   */
  readonly rewriteIntervalMs: number;
}

/** Owns our key while `keep` runs. */
export class EtcdLeaseKeeper {
  readonly #context: EtcdContext;
  readonly #options: KeeperOptions;
  #held: HeldLease;
  /** Public IPs under which the key is ours: an update may not have reached etcd yet. */
  #ownIps: ReadonlySet<Ip>;
  #queue: Promise<unknown> = Promise.resolve();
  /** An event of our key came in since the last look began. */
  #dirty = false;
  #wake: (() => void) | undefined;
  #rewriteAt: number;
  #restoredAt = Number.NEGATIVE_INFINITY;
  #nextCheckMs: number;

  constructor(options: KeeperOptions, context: EtcdContext, held: HeldLease) {
    this.#options = options;
    this.#context = context;
    this.#held = held;
    this.#ownIps = new Set(addressesOf(held.lease));
    this.#rewriteAt = this.#nextRewrite();
    this.#nextCheckMs = this.#delayFor(context.leaseTtlSeconds);
  }

  /** The lease as last written, with its expiry as last renewed. */
  get lease(): Lease {
    return this.#held.lease;
  }

  /** Until aborted. @throws {LeaseLostError} */
  async keep(signal: AbortSignal): Promise<void> {
    const stop = new AbortController();
    const watching = this.#watchOwnKey(AbortSignal.any([signal, stop.signal]));
    try {
      let retryMs = RETRY_MIN_MS;
      while (!signal.aborted) {
        let waitMs: number;
        try {
          this.#dirty = false;
          await this.#inTurn(() => this.#check());
          this.#context.health.ok("keep");
          waitMs = Math.min(this.#nextCheckMs, LOOK_INTERVAL_MS * (0.75 + this.#context.random() / 2));
          retryMs = RETRY_MIN_MS;
        } catch (error) {
          if (!(error instanceof EtcdCallError)) throw error;
          this.#context.health.problem("keep", this.#renewalProblem(error), error.retryable);
          waitMs = retryMs * (1 - this.#context.random() / 2);
          retryMs = Math.min(retryMs * 2, RETRY_MAX_MS);
        }
        await this.#sleep(waitMs, signal);
      }
    } finally {
      stop.abort();
      await watching;
    }
  }

  /**
   * Publishes other attributes under the same key. If etcd does not take them now, `keep` writes them later.
   * @throws {EtcdCallError | LeaseLostError}
   */
  async update(lease: Lease): Promise<void> {
    this.#ownIps = new Set([...this.#ownIps, ...addressesOf(lease)]);
    const { expiresAt } = this.#held.lease;
    this.#held = { ...this.#held, lease: { ...lease, ...(expiresAt !== undefined && { expiresAt }) } };
    this.#rewriteAt = 0;
    try {
      await this.#inTurn(() => this.#check());
    } catch (error) {
      this.#lookAgain();
      throw error;
    }
  }

  #lookAgain(): void {
    this.#dirty = true;
    this.#wake?.();
  }

  /** Looks at our key and does what it needs. */
  async #check(): Promise<void> {
    const { client } = this.#context;
    const { key } = this.#held;
    for (;;) {
      const kv = await client.get(key);
      if (kv === undefined) {
        if (await this.#retake()) return;
        continue;
      }
      this.#refuseForeign(kv);
      if (kv.leaseId !== NO_LEASE && !(await this.#renew(kv))) continue;
      if (kv.leaseId === NO_LEASE) this.#becomeReservation();
      if (!this.#mustWrite(kv)) return;
      const value = formatLeaseValue(this.#held.lease);
      if (await client.put(key, value, { leaseId: kv.leaseId, only: { unchangedSince: kv.modRevision } })) {
        this.#rewriteAt = this.#nextRewrite();
        return;
      }
    }
  }

  #refuseForeign(kv: KeyValue): void {
    const { lease } = readEntry(this.#context, kv);
    // An unreadable value is nobody's: an administrator's slip, which we put right.
    if (lease === undefined || addressesOf(lease).some((ip) => this.#ownIps.has(ip))) return;
    if (kv.leaseId !== NO_LEASE && kv.leaseId === this.#held.leaseId) return;
    throw this.#lostTo(lease.nodeName, kv.key);
  }

  #lostTo(owner: string, key: string): LeaseLostError {
    return new LeaseLostError(
      `subnet ${subnetKeyOf(this.#held.lease)} belongs to ${owner} now (${key}), since our lease had expired or was deleted; ` +
        `start the daemon again to take another subnet, and recreate the pods of this node`,
    );
  }

  /** False if the etcd lease of an existing key is gone, and a new one could not be attached without a race. */
  async #renew(kv: KeyValue): Promise<boolean> {
    const { client, leaseTtlSeconds } = this.#context;
    const ttlSeconds = await client.keepAliveOnce(kv.leaseId);
    if (ttlSeconds > 0) {
      // Not the one we know: a Go flannel on this node has written it. Its lease is as good.
      this.#renewed(kv.leaseId, ttlSeconds);
      return true;
    }
    const leaseId = await client.grantLease(leaseTtlSeconds);
    const only = { unchangedSince: kv.modRevision };
    if (await client.put(kv.key, formatLeaseValue(this.#held.lease), { leaseId, only }))
      this.#renewed(leaseId, leaseTtlSeconds);
    else await client.revokeLease(leaseId);
    return false;
  }

  #renewed(leaseId: string, ttlSeconds: number): void {
    const lease = { ...this.#held.lease, expiresAt: expiryAfter(this.#context, ttlSeconds) };
    this.#held = { ...this.#held, leaseId, lease };
    this.#nextCheckMs = this.#delayFor(ttlSeconds);
  }

  #becomeReservation(): void {
    if (this.#held.leaseId === NO_LEASE) return;
    const { expiresAt: _, ...lease } = this.#held.lease;
    this.#held = { ...this.#held, leaseId: NO_LEASE, lease };
    this.#context.log.info(
      { key: this.#held.key },
      "our key has no etcd lease any more: a reservation, which we keep",
    );
  }

  #mustWrite(kv: KeyValue): boolean {
    const now = this.#context.now();
    if (now >= this.#rewriteAt) return true;
    if (kv.value === formatLeaseValue(this.#held.lease)) return false;
    if (now - this.#restoredAt < RESTORE_INTERVAL_MS) return false;
    this.#restoredAt = now;
    this.#context.log.warn(
      { key: kv.key, found: kv.value.slice(0, 500) },
      "somebody else wrote our lease; writing ours again. If this repeats, two nodes have the same public IP: set --public-ip",
    );
    return true;
  }

  /** Takes the same subnet again. False if somebody was faster. @throws {LeaseLostError} if it is not free */
  async #retake(): Promise<boolean> {
    const { client, prefix, leaseTtlSeconds, log } = this.#context;
    const { key, lease } = this.#held;
    const { kvs } = await client.list(leaseKeyPrefix(prefix));
    for (const kv of kvs) {
      const { subnets, lease: other } = readEntry(this.#context, kv);
      if (kv.key === key || subnets === undefined) continue;
      if (!isFree(lease, [subnets.subnet ?? [], subnets.subnet6 ?? []].flat()))
        throw this.#lostTo(other?.nodeName ?? "another key", kv.key);
    }
    const leaseId = await client.grantLease(leaseTtlSeconds);
    if (!(await client.put(key, formatLeaseValue(lease), { leaseId, only: { absent: true } }))) {
      await client.revokeLease(leaseId);
      return false;
    }
    this.#renewed(leaseId, leaseTtlSeconds);
    this.#rewriteAt = this.#nextRewrite();
    log.warn({ key }, "our lease was gone from etcd (expired or deleted); took the same subnet again");
    return true;
  }

  /** Wakes `keep` at every event of our key. The watch of all leases does not need to run for that. */
  async #watchOwnKey(signal: AbortSignal): Promise<void> {
    const { client, prefix } = this.#context;
    const { key } = this.#held;
    while (!signal.aborted) {
      try {
        const { revision } = await client.list(key);
        this.#lookAgain();
        // A store that was made anew meanwhile may be past our revision; then it tells nothing of our key.
        const onState = ({ connected }: { readonly connected: boolean }): void => {
          if (connected) this.#lookAgain();
        };
        for await (const events of client.watch(key, revision + 1n, { signal, onState })) {
          // The prefix also matches the dual-stack key of the same subnet, which concerns us as well.
          if (events.length > 0) this.#lookAgain();
        }
      } catch (error) {
        if (signal.aborted) return;
        // Perhaps our key is gone with the data that etcd has lost, and peers wait for it.
        if (error instanceof CompactedError) continue;
        // Not permitted: `keep` tells of it. It looks by itself, if less often.
        this.#context.log.debug({ prefix, error: String(error) }, "watch of the own lease begins anew");
        await pause(this.#context, RETRY_MIN_MS * 5, signal).catch(() => undefined);
      }
    }
  }

  async #sleep(ms: number, signal: AbortSignal): Promise<void> {
    const woken = new AbortController();
    this.#wake = () => woken.abort();
    if (this.#dirty) woken.abort();
    await delay(ms, undefined, { signal: AbortSignal.any([signal, woken.signal]) }).catch(() => undefined);
    this.#wake = undefined;
    if (woken.signal.aborted) await delay(SETTLE_MS, undefined, { signal }).catch(() => undefined);
  }

  /** `update` and `keep` do not see each other's half-done work. */
  #inTurn<T>(work: () => Promise<T>): Promise<T> {
    const result = this.#queue.then(work);
    this.#queue = result.catch(() => undefined);
    return result;
  }

  #delayFor(ttlSeconds: number): number {
    return keepAliveDelayMs(ttlSeconds * 1000, this.#options.renewMarginMs, this.#context.random);
  }

  #nextRewrite(): number {
    return this.#context.now() + this.#options.rewriteIntervalMs * (0.75 + this.#context.random() / 2);
  }

  #renewalProblem(error: EtcdCallError): string {
    const { expiresAt } = this.#held.lease;
    const until =
      expiresAt === undefined
        ? ""
        : `; it expires ${new Date(expiresAt).toISOString()} unless etcd is back by then`;
    return `the lease of ${subnetKeyOf(this.#held.lease)} cannot be renewed: ${error.message}${until}. Pods keep their connections meanwhile`;
  }
}

/** By which a lease is known for a node's: the IPv4 one where there is one (flannel 2.3). */
function addressesOf({ publicIp, publicIp6 }: Lease): readonly Ip[] {
  return [publicIp ?? publicIp6 ?? []].flat();
}

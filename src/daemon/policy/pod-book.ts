// The pods of this node as the API tells of them and as CNI ADD does, joined: what the policy graph hears of pods.
import type { Ip } from "../../net/ip.ts";
import { mergePod } from "../../policy/etcd-codec.ts";
import { objectKey } from "../../policy/snapshot.ts";
import type { Pod } from "../../policy/snapshot.ts";
import type { PolicyEvent } from "../../policy/source.ts";
import { attachmentId, incarnationOf, localPodsOf } from "./attachment.ts";
import type { AttachmentKey, StoredAttachment } from "./attachment.ts";

export type PodEvent = Extract<PolicyEvent, { readonly kind: "pods" }>;

export interface PodBookOptions {
  readonly nodeName: string;
  /**
   * `true` (etcd): an attachment says all there is to know of a pod. `false` (Kubernetes): labels come from the API, and
   * until it shows the pod nobody could say which policies it is under; so it stays unknown, which is closed.
   */
  readonly selfDescribing: boolean;
}

export interface PodBookModules {
  readonly emit: (event: PodEvent) => void;
  /** Told of each attachment that is new, changed or gone, before it counts. @throws to refuse the change */
  readonly save: (attachment: StoredAttachment) => void;
  readonly remove: (key: AttachmentKey) => void;
  /** Milliseconds since 1970. */
  readonly now: () => number;
}

type Claims = ReadonlyMap<Ip, StoredAttachment>;

/** For so long the API may be behind what ADD and DEL have told. */
const API_LAG_MS = 10 * 60_000;

/**
 * Of a local pod's addresses those that ADD told are its own for sure; those of its status are, unless ADD gave them to
 * another pod or DEL took them away: an address plugin gives an address to one container at a time, while the API is late.
 */
export class PodBook {
  readonly #options: PodBookOptions;
  readonly #modules: PodBookModules;
  /** Pods of this node, as the source has them. */
  readonly #known = new Map<string, Pod>();
  /** Where attachments describe themselves: what people have declared of a pod besides, labels for example. */
  readonly #declared = new Map<string, Pod>();
  readonly #attachments = new Map<string, StoredAttachment>();
  /** Pods of this node, as they were last emitted. */
  readonly #emitted = new Map<string, Pod>();
  /** Since which revision an attachment is part of what was emitted. */
  readonly #admittedAt = new Map<string, number>();
  #revision = 0;

  constructor(options: PodBookOptions, modules: PodBookModules, stored: readonly StoredAttachment[] = []) {
    this.#options = options;
    this.#modules = modules;
    for (const attachment of stored) this.#attachments.set(attachmentId(attachment), attachment);
    this.#settle();
  }

  /** Grows with everything that is emitted. */
  get revision(): number {
    return this.#revision;
  }

  /** Those that are in use. */
  get attachments(): readonly StoredAttachment[] {
    return [...this.#attachments.values()].filter(({ detached }) => !detached);
  }

  /** The revision from which on the attachment's pod is known with its addresses; undefined while it is not. */
  admittedAt(key: AttachmentKey): number | undefined {
    return this.#admittedAt.get(attachmentId(key));
  }

  apply(event: PodEvent): void {
    if (this.#isOfOtherNodes(event)) {
      this.#tell(event);
      return;
    }
    switch (event.type) {
      case "put":
        this.#rememberDeclared(event.object);
        if (this.#isLocal(event.object)) this.#known.set(objectKey(event.object), event.object);
        else this.#passForeign(objectKey(event.object), event);
        break;
      case "removed":
        this.#known.delete(event.key);
        this.#declared.delete(event.key);
        this.#passForeign(event.key, event);
        this.#pruneGone((key) => key === event.key, 0);
        break;
      case "snapshot":
        this.#applySnapshot(event.objects);
        return;
    }
    this.#settle();
  }

  /** @throws what `save` throws; nothing is changed then */
  attach(attachment: StoredAttachment): void {
    const id = attachmentId(attachment);
    const before = this.#attachments.get(id);
    const kept =
      before !== undefined && !before.detached && incarnationOf(before) === incarnationOf(attachment)
        ? { ...attachment, attachedAtMs: before.attachedAtMs }
        : attachment;
    if (JSON.stringify(before) !== JSON.stringify(kept)) this.#modules.save(kept);
    this.#attachments.set(id, kept);
    for (const other of this.#attachments.values()) if (isSuperseded(other, kept)) this.#end(other);
    this.#settle();
  }

  /** @returns false if it was not attached */
  detach(key: AttachmentKey): boolean {
    const attachment = this.#attachments.get(attachmentId(key));
    if (attachment === undefined || attachment.detached) return false;
    this.#end(attachment);
    this.#settle();
    return true;
  }

  #isLocal(pod: Pod): boolean {
    return pod.nodeName === this.#options.nodeName;
  }

  /** The next incarnation of the name has it, too, before the store shows that. */
  #rememberDeclared(pod: Pod): void {
    if (!this.#options.selfDescribing) return;
    const key = objectKey(pod);
    if (pod.nodeName === "") this.#declared.set(key, pod);
    if (!this.#isLocal(pod)) return;
    const own = this.attachments.find((each) => objectKey(each) === key && this.#isOf(each, pod));
    if (own === undefined) return;
    const labels = Object.entries(pod.labels).filter(([name, value]) => own.labels[name] !== value);
    const told = new Set(own.ports.map((port) => JSON.stringify(port)));
    const ports = pod.ports.filter((port) => !told.has(JSON.stringify(port)));
    this.#declared.set(key, { ...pod, labels: Object.fromEntries(labels), ports });
  }

  /** Pods of other nodes are none of our business, unless one has the name of a pod that is attached here. */
  #passForeign(key: string, event: PodEvent): void {
    this.#known.delete(key);
    if (this.#emitted.has(key) && this.#effective(key, this.#claims()) !== undefined) return;
    this.#emitted.delete(key);
    this.#tell(event);
  }

  /** Most events of a large cluster are; they cost nothing here. */
  #isOfOtherNodes(event: PodEvent): boolean {
    if (event.type === "snapshot") return false;
    const key = event.type === "put" ? objectKey(event.object) : event.key;
    if (this.#known.has(key) || this.#declared.has(key) || this.#emitted.has(key)) return false;
    return event.type === "removed" || (event.object.nodeName !== "" && !this.#isLocal(event.object));
  }

  #tell(event: PodEvent): void {
    this.#revision += 1;
    this.#modules.emit(event);
  }

  #applySnapshot(objects: readonly Pod[]): void {
    const before = new Set(this.#known.keys());
    this.#known.clear();
    this.#declared.clear();
    for (const pod of objects) this.#rememberDeclared(pod);
    for (const pod of objects) if (this.#isLocal(pod)) this.#known.set(objectKey(pod), pod);
    // A list can be older than a pod that has just been made, but not than one that it has shown already.
    this.#pruneGone((key) => before.has(key) && !this.#known.has(key), 0);
    this.#pruneGone((key) => !this.#known.has(key), API_LAG_MS);
    const claims = this.#claims();
    const local = this.#localKeys().flatMap((key) => this.#effective(key, claims) ?? []);
    const localKeys = new Set(local.map(objectKey));
    // Few pods elsewhere have the name of one here, and the keys of all would be a megabyte.
    const localNames = new Set(local.map(({ name }) => name));
    const isTaken = (pod: Pod): boolean => localNames.has(pod.name) && localKeys.has(objectKey(pod));
    const pods = objects.filter((pod) => !this.#isLocal(pod) && !isTaken(pod));
    pods.push(...local);
    this.#emitted.clear();
    for (const pod of local) this.#emitted.set(objectKey(pod), pod);
    this.#tell({ type: "snapshot", kind: "pods", objects: pods });
    this.#settle();
  }

  /** The API says that these pods are gone. Where attachments describe themselves, only DEL and GC end them. */
  #pruneGone(isGone: (key: string) => boolean, minAgeMs: number): void {
    if (this.#options.selfDescribing) return;
    const newest = this.#modules.now() - minAgeMs;
    for (const attachment of this.#attachments.values()) {
      if (isGone(objectKey(attachment)) && attachment.attachedAtMs <= newest) this.#forget(attachment);
    }
  }

  #end(attachment: StoredAttachment): void {
    const isStillShown = !this.#options.selfDescribing && this.#known.has(objectKey(attachment));
    if (!isStillShown) {
      this.#forget(attachment);
      return;
    }
    const ended = { ...attachment, detached: true };
    this.#admittedAt.delete(attachmentId(ended));
    this.#attachments.set(attachmentId(ended), ended);
    this.#trySave(ended);
  }

  /** What cannot be written is right in memory until the next start. */
  #trySave(attachment: StoredAttachment): void {
    try {
      this.#modules.save(attachment);
    } catch {
      this.#modules.remove(attachment);
    }
  }

  #forget(attachment: StoredAttachment): void {
    this.#attachments.delete(attachmentId(attachment));
    this.#admittedAt.delete(attachmentId(attachment));
    this.#modules.remove(attachment);
  }

  #localKeys(): readonly string[] {
    return [...new Set([...this.#known.keys(), ...this.attachments.map(objectKey)])];
  }

  /** By whom an address is attached. */
  #claims(): Claims {
    return new Map(
      this.attachments.flatMap((attachment) => attachment.ips.map((ip) => [ip, attachment] as const)),
    );
  }

  /** Emits what has changed. A node has a few hundred pods, so all of them are looked at. */
  #settle(): void {
    this.#dropOutdated();
    const claims = this.#claims();
    const keys = this.#localKeys();
    const present = new Set(keys);
    for (const key of this.#emitted.keys()) if (!present.has(key)) this.#emit(key, undefined);
    for (const key of keys) this.#emit(key, this.#effective(key, claims));
    for (const attachment of this.attachments) this.#admit(attachment);
  }

  #emit(key: string, pod: Pod | undefined): void {
    const before = this.#emitted.get(key);
    if (before === pod || (before !== undefined && pod !== undefined && isSamePod(before, pod))) return;
    if (pod === undefined) {
      this.#emitted.delete(key);
      this.#tell({ type: "removed", kind: "pods", key });
    } else {
      this.#emitted.set(key, pod);
      this.#tell({ type: "put", kind: "pods", object: pod });
    }
  }

  #admit(attachment: StoredAttachment): void {
    const id = attachmentId(attachment);
    const pod = this.#emitted.get(objectKey(attachment));
    const isKnown =
      pod !== undefined && this.#isOf(attachment, pod) && attachment.ips.every((ip) => pod.ips.includes(ip));
    if (!isKnown) this.#admittedAt.delete(id);
    else if (!this.#admittedAt.has(id)) this.#admittedAt.set(id, this.#revision);
  }

  /** Ended attachments matter for as long as the API shows their addresses, or may be late to. */
  #dropOutdated(): void {
    const oldest = this.#modules.now() - API_LAG_MS;
    for (const attachment of this.#attachments.values()) {
      if (!attachment.detached) continue;
      const shown = this.#known.get(objectKey(attachment))?.ips ?? [];
      if (attachment.attachedAtMs < oldest && !attachment.ips.some((ip) => shown.includes(ip)))
        this.#forget(attachment);
    }
  }

  /** The pod as policy should see it; undefined if nobody knows it. */
  #effective(key: string, claims: Claims): Pod | undefined {
    const known = this.#known.get(key);
    const all = [...this.#attachments.values()].filter((attachment) => objectKey(attachment) === key);
    const matching = all.filter((attachment) => known !== undefined && this.#isOf(attachment, known));
    const used = matching.filter(({ detached }) => !detached);
    if (known === undefined || used.length === 0) {
      const described = this.#describe(all.filter(({ detached }) => !detached));
      if (described !== undefined || known === undefined) return described;
    }
    const own = used.flatMap(({ ips }) => ips);
    const ended = new Set(matching.filter(({ detached }) => detached).flatMap(({ ips }) => ips));
    const isItsOwn = (ip: Ip): boolean => {
      const claim = claims.get(ip);
      return (
        !ended.has(ip) && (claim === undefined || (objectKey(claim) === key && this.#isOf(claim, known)))
      );
    };
    const ips = known.ips.filter((ip) => own.includes(ip) || isItsOwn(ip));
    ips.push(...new Set(own.filter((ip) => !known.ips.includes(ip))));
    const isUnchanged = ips.length === known.ips.length && ips.every((ip, index) => ip === known.ips[index]);
    return isUnchanged ? known : { ...known, ips };
  }

  #isOf({ uid, containerId }: StoredAttachment, pod: Pod): boolean {
    if (this.#options.selfDescribing) return incarnationOf({ uid, containerId }) === pod.uid;
    return uid === "" || pod.uid === "" || uid === pod.uid;
  }

  /** A pod of which only its attachments tell. */
  #describe(attachments: readonly StoredAttachment[]): Pod | undefined {
    if (!this.#options.selfDescribing) return undefined;
    const [described] = localPodsOf(attachments);
    if (described === undefined) return undefined;
    const pod: Pod = {
      ...described,
      nodeName: this.#options.nodeName,
      hostNetwork: false,
      finished: false,
      terminating: false,
    };
    return mergePod(this.#declared.get(objectKey(pod)), [pod]);
  }
}

/** A newer attachment of the same pod and interface, or of one of its addresses, ends an older one that DEL has not ended. */
function isSuperseded(older: StoredAttachment, newer: StoredAttachment): boolean {
  if (attachmentId(older) === attachmentId(newer) || older.detached) return false;
  const isSameInterface = objectKey(older) === objectKey(newer) && older.ifName === newer.ifName;
  return isSameInterface || older.ips.some((ip) => newer.ips.includes(ip));
}

function isSamePod(a: Pod, b: Pod): boolean {
  return a === b || JSON.stringify(a) === JSON.stringify(b);
}

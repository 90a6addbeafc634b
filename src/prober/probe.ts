// What is probed and how a probe ends: the words that planner, transports and report share.
import type { Family, Ip } from "../net/ip.ts";

/** Underlay: between the nodes' public IPs. Overlay: as pods' packets go. */
export type Via = "underlay" | "overlay";

/** One way to one peer. */
export interface ProbePath {
  /** Stays the same as long as it is the same way, e.g. "10.244.2.0/24 overlay 4". */
  readonly key: string;
  /** The peer's lease, by which `status` finds it. */
  readonly subnetKey: string;
  /** The peer for a person: its node's name or public IP. */
  readonly peer: string;
  readonly via: Via;
  readonly family: Family;
  readonly address: Ip;
  /** Bytes of the largest IP packet that must pass: the uplink's MTU, or the pods'. */
  readonly fullBytes: number;
  /** The address is there only once the peer has a pod: silence means nothing until it has answered. */
  readonly mayBeSilent: boolean;
  /** What to look at when nothing comes through, e.g. "let UDP port 8472 through". */
  readonly cure: string;
}

export interface Probe {
  readonly path: ProbePath;
  /** The whole IP packet. It is sent with "don't fragment". */
  readonly bytes: number;
  /** `echo` is a small one, for round trip and loss; `size` asks whether this many bytes pass. */
  readonly purpose: "echo" | "size";
}

export type ProbeOutcome =
  | { readonly kind: "answered"; readonly rttMs: number }
  /** @param reason what the kernel said when it was sent; absent where there was just no answer */
  | { readonly kind: "lost"; readonly reason?: string }
  /** Refused for its size: by this host, or by the router that says so (RFC 792 type 3 code 4, RFC 4443 type 2). */
  | { readonly kind: "too big"; readonly by?: Ip; readonly mtu?: number };

/** Sends probes and waits for their answers. */
export interface ProbeTransport {
  readonly name: "raw-socket" | "ping";
  /** What this transport's cost allows. */
  readonly maxPerSecond: number;
  readonly maxInFlight: number;
  /** Never rejects. Settles after `timeoutMs` at the latest. */
  probe(address: Ip, bytes: number, timeoutMs: number): Promise<ProbeOutcome>;
  /** What is still under way is lost. */
  close(): void;
}

/** Bytes of IP and ICMP header (RFC 791 without options, RFC 8200; both ICMP echo headers have 8). */
export const HEADER_BYTES: Readonly<Record<Family, number>> = { 4: 28, 6: 48 };
/** As ping: 56 bytes of payload. */
export const ECHO_BYTES: Readonly<Record<Family, number>> = { 4: 84, 6: 104 };

// Probes over raw ICMP sockets: one per family, one packet per probe, no process. Needs CAP_NET_RAW.
import { randomBytes, randomInt } from "node:crypto";
import { familyOf, tryParseIp } from "../net/ip.ts";
import type { Family, Ip } from "../net/ip.ts";
import { formatEchoRequest, parseIcmpMessage, wantedTypes } from "./icmp-codec.ts";
import type { ProbeOutcome, ProbeTransport } from "./probe.ts";

/** What we use of raw-socket 1.8.1, which has no types. */
export interface RawSocketModule {
  createSocket(options: {
    readonly protocol: number;
    readonly addressFamily: number;
    readonly bufferSize: number;
  }): RawSocket;
}

interface RawSocket {
  on(event: "message", listener: (packet: Buffer, source: string) => void): void;
  on(event: "error", listener: (error: Error) => void): void;
  setOption(level: number, option: number, value: number): void;
  setOption(level: number, option: number, value: Buffer, length: number): void;
  /** `before` is called when its turn comes. */
  send(
    packet: Buffer,
    offset: number,
    length: number,
    address: string,
    before: () => void,
    done: (error: Error | null) => void,
  ): void;
  send(
    packet: Buffer,
    offset: number,
    length: number,
    address: string,
    done: (error: Error | null) => void,
  ): void;
  close(): void;
}

/** Up to 160 microseconds of CPU each with its answer (bench/prober.ts): 0.8% of a core. */
const MAX_PER_SECOND = 50;
const MAX_IN_FLIGHT = 1_000;
/** raw-socket's own numbers of the families. */
const ADDRESS_FAMILY: Readonly<Record<Family, number>> = { 4: 1, 6: 2 };
const PROTOCOL: Readonly<Record<Family, number>> = { 4: 1, 6: 58 };
/** Only headers are looked at; the rest of a packet is cut off. */
const RECEIVE_BYTES = 256;
/** setsockopt levels and options: linux/in.h, in6.h, icmp.h, icmpv6.h. */
const IPPROTO_IP = 0;
const IP_MTU_DISCOVER = 10;
const IPPROTO_IPV6 = 41;
const IPV6_MTU_DISCOVER = 23;
/** "Don't fragment" on every packet, whatever MTU the kernel has learned of the path. */
const PMTUDISC_PROBE = 3;
const SOL_RAW = 255;
const ICMP_FILTER = 1;
const IPPROTO_ICMPV6 = 58;
const ICMPV6_FILTER = 1;
const ICMPV6_FILTER_BYTES = 32;
const TOKEN_BYTES = 8;
/** A timer as late as this is a sign that this process had no CPU; as long again to read what has come meanwhile. */
const STALLED_MS = 50;

interface Waiting {
  readonly address: Ip;
  sentAt: number;
  readonly settle: (outcome: ProbeOutcome) => void;
}

/** @throws {Error} where a socket cannot be opened (EPERM without CAP_NET_RAW) */
export function createRawTransport(module: RawSocketModule): ProbeTransport {
  return new RawTransport(module);
}

class RawTransport implements ProbeTransport {
  readonly name = "raw-socket";
  readonly maxPerSecond = MAX_PER_SECOND;
  readonly maxInFlight = MAX_IN_FLIGHT;
  readonly #module: RawSocketModule;
  readonly #sockets: Partial<Record<Family, RawSocket>> = {};
  readonly #waiting = new Map<number, Waiting>();
  readonly #id = randomInt(0x1_0000);
  readonly #token = randomBytes(TOKEN_BYTES);
  #sequence = randomInt(0x1_0000);
  #closed = false;

  constructor(module: RawSocketModule) {
    this.#module = module;
    // At once, so that a missing capability is noticed here; IPv6 may be switched off on this host.
    this.#sockets[4] = this.#open(4);
  }

  probe(address: Ip, bytes: number, timeoutMs: number): Promise<ProbeOutcome> {
    const family = familyOf(address);
    return new Promise((resolve) => {
      let socket: RawSocket;
      try {
        if (this.#closed) return resolve({ kind: "lost", reason: "the prober has ended" });
        socket = this.#sockets[family] ??= this.#open(family);
      } catch (error) {
        return resolve({ kind: "lost", reason: (error as Error).message });
      }
      const sequence = this.#freeSequence();
      const settle = (outcome: ProbeOutcome): void => {
        clearTimeout(timer);
        if (this.#waiting.delete(sequence)) resolve(outcome);
      };
      const isOverAt = performance.now() + timeoutMs;
      let timer = setTimeout(() => {
        // Timers run before sockets are read: after a while without CPU the answer may lie there since long ago.
        const isLate = performance.now() - isOverAt > STALLED_MS;
        if (isLate) timer = setTimeout(() => settle({ kind: "lost" }), STALLED_MS);
        else settle({ kind: "lost" });
      }, timeoutMs);
      const waiting: Waiting = { address, sentAt: 0, settle };
      this.#waiting.set(sequence, waiting);
      const request = { id: this.#id, sequence, bytes, token: this.#token };
      const message = formatEchoRequest(family, request);
      // Probes that are due together wait for each other in raw-socket's queue.
      const begin = (): void => void (waiting.sentAt = performance.now());
      socket.send(message, 0, message.length, address, begin, (error) => {
        if (error) settle(explainRefusal(error));
      });
    });
  }

  close(): void {
    this.#closed = true;
    for (const socket of Object.values(this.#sockets)) socket.close();
    for (const { settle } of this.#waiting.values()) settle({ kind: "lost", reason: "the prober has ended" });
  }

  #freeSequence(): number {
    do this.#sequence = (this.#sequence + 1) & 0xffff;
    while (this.#waiting.has(this.#sequence));
    return this.#sequence;
  }

  #open(family: Family): RawSocket {
    const socket = this.#module.createSocket({
      protocol: PROTOCOL[family],
      addressFamily: ADDRESS_FAMILY[family],
      bufferSize: RECEIVE_BYTES,
    });
    // It closes itself after an error of its poll; the next probe opens another.
    socket.on("error", () => {
      if (this.#sockets[family] === socket) delete this.#sockets[family];
    });
    socket.on("message", (packet, source) => this.#onMessage(family, packet, source));
    if (family === 4) socket.setOption(IPPROTO_IP, IP_MTU_DISCOVER, PMTUDISC_PROBE);
    else socket.setOption(IPPROTO_IPV6, IPV6_MTU_DISCOVER, PMTUDISC_PROBE);
    filterTypes(socket, family);
    return socket;
  }

  #onMessage(family: Family, packet: Buffer, source: string): void {
    const message = parseIcmpMessage(family, packet);
    if (message === undefined || message.id !== this.#id) return;
    const waiting = this.#waiting.get(message.sequence);
    if (waiting === undefined) return;
    const by = tryParseIp(source);
    if (message.kind === "reply") {
      if (by !== waiting.address || !this.#token.equals(message.token)) return;
      waiting.settle({ kind: "answered", rttMs: performance.now() - waiting.sentAt });
    } else {
      const { mtu } = message;
      waiting.settle({ kind: "too big", ...(by !== undefined && { by }), ...(mtu !== undefined && { mtu }) });
    }
  }
}

/** The kernel drops the rest before it wakes us: other people's pings, neighbor discovery. */
function filterTypes(socket: RawSocket, family: Family): void {
  // A bit per type: set is dropped (raw(7), RFC 3542 section 3.2; Linux has the latter's bits the other way round).
  if (family === 4) {
    const mask = wantedTypes(4).reduce((bits, type) => bits & ~(1 << type), -1);
    const filter = Buffer.alloc(4);
    if (isLittleEndian) filter.writeInt32LE(mask);
    else filter.writeInt32BE(mask);
    socket.setOption(SOL_RAW, ICMP_FILTER, filter, filter.length);
    return;
  }
  const filter = Buffer.alloc(ICMPV6_FILTER_BYTES, 0xff);
  for (const type of wantedTypes(6)) {
    const word = (type >> 5) * 4;
    const byte = word + (isLittleEndian ? (type >> 3) & 3 : 3 - ((type >> 3) & 3));
    filter[byte] = (filter[byte] ?? 0) & ~(1 << (type & 7));
  }
  socket.setOption(IPPROTO_ICMPV6, ICMPV6_FILTER, filter, filter.length);
}

const isLittleEndian = new Uint8Array(new Uint32Array([1]).buffer)[0] === 1;

/** raw-socket throws strerror(3)'s text: EMSGSIZE, ENETUNREACH, EPERM for a firewall's drop. */
function explainRefusal(error: Error): ProbeOutcome {
  return error.message === "Message too long" ? { kind: "too big" } : { kind: "lost", reason: error.message };
}

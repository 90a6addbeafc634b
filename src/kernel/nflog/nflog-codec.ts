// A packet that a rule with NFLOG has copied, as libpcap hands it on (LINKTYPE_NFLOG). Pure.
import type { PcapRecord } from "./pcap-codec.ts";

export interface NflogMessage {
  /** `--nflog-prefix` of the rule. */
  readonly prefix: string;
  /** The packet from its IP header on, perhaps cut off. */
  readonly payload: Buffer;
}

/** Family, version, resource id (struct nfgenmsg). */
const HEADER_BYTES = 4;
/** Length and type of an attribute (struct nlattr). */
const ATTRIBUTE_BYTES = 4;
/** linux/netfilter/nfnetlink_log.h, enum nfulnl_attr_type. */
const NFULA_PAYLOAD = 9;
const NFULA_PREFIX = 10;
/** The two upper bits of a type are flags (NLA_TYPE_MASK). */
const TYPE_MASK = 0x3fff;
/** NF_LOG_PREFIXLEN */
const MAX_PREFIX_BYTES = 128;

/** Undefined for what is no such message or has no payload. The payload comes last and may be cut off. */
export function parseNflogMessage({ data, littleEndian }: PcapRecord): NflogMessage | undefined {
  let prefix = "";
  for (let offset = HEADER_BYTES; offset + ATTRIBUTE_BYTES <= data.length;) {
    const length = littleEndian ? data.readUInt16LE(offset) : data.readUInt16BE(offset);
    const type = (littleEndian ? data.readUInt16LE(offset + 2) : data.readUInt16BE(offset + 2)) & TYPE_MASK;
    if (length < ATTRIBUTE_BYTES) return undefined;
    const value = data.subarray(offset + ATTRIBUTE_BYTES, Math.min(offset + length, data.length));
    if (type === NFULA_PREFIX) prefix = readText(value);
    if (type === NFULA_PAYLOAD) return { prefix, payload: value };
    // Attributes begin at multiples of four.
    offset += (length + 3) & ~3;
  }
  return undefined;
}

/** Up to the final zero. */
function readText(value: Buffer): string {
  const end = value.indexOf(0);
  return value.toString("latin1", 0, Math.min(end < 0 ? value.length : end, MAX_PREFIX_BYTES));
}

// The peer table as bytes for the native packet path (native/udp/peers.h). Pure.
import type { DataPathPeer } from "../../host/data-path.ts";
import { cidrBase, cidrFamily, cidrLength } from "../../net/cidr.ts";
import { bitsOf, familyOf, ipToBigint } from "../../net/ip.ts";
import type { Ip } from "../../net/ip.ts";

/** Inner family, prefix length in bits, outer family, 0; prefix in 16 bytes; outer address in 16 bytes. */
export const PEER_RECORD_BYTES = 36;
const PREFIX_AT = 4;
const REMOTE_AT = 20;

/** Per peer object: one more among thousands is one record to make. */
const known = new WeakMap<DataPathPeer, Uint8Array>();

/** One record per peer, in order. */
export function formatPeers(peers: readonly DataPathPeer[]): Uint8Array {
  const bytes = new Uint8Array(peers.length * PEER_RECORD_BYTES);
  for (const [i, peer] of peers.entries()) {
    let record = known.get(peer);
    if (record === undefined) known.set(peer, (record = formatPeer(peer)));
    bytes.set(record, i * PEER_RECORD_BYTES);
  }
  return bytes;
}

function formatPeer({ prefix, remote }: DataPathPeer): Uint8Array {
  const record = new Uint8Array(PEER_RECORD_BYTES);
  record[0] = cidrFamily(prefix);
  record[1] = cidrLength(prefix);
  record[2] = familyOf(remote);
  record.set(addressBytes(cidrBase(prefix)), PREFIX_AT);
  record.set(addressBytes(remote), REMOTE_AT);
  return record;
}

/** 4 or 16 bytes, network order; none for no address. */
export function addressBytes(ip: Ip | undefined): Uint8Array {
  if (ip === undefined) return new Uint8Array();
  const bytes = new Uint8Array(bitsOf(familyOf(ip)) / 8);
  let rest = ipToBigint(ip);
  for (let i = bytes.length - 1; i >= 0; i -= 1) {
    bytes[i] = Number(rest & 0xffn);
    rest >>= 8n;
  }
  return bytes;
}

// Translates between etcd's protobuf messages and our values; pure.
import type { IEvent, IKeyValue } from "etcd3";
import type { KeyValue, WatchEvent } from "./client.ts";

export function decodeKeyValue(kv: IKeyValue): KeyValue {
  return {
    key: kv.key.toString("utf8"),
    value: kv.value.toString("utf8"),
    createRevision: BigInt(kv.create_revision),
    modRevision: BigInt(kv.mod_revision),
    leaseId: kv.lease,
  };
}

export function decodeEvent({ type, kv }: IEvent): WatchEvent {
  return type === "Delete"
    ? { type: "delete", key: kv.key.toString("utf8"), modRevision: BigInt(kv.mod_revision) }
    : { type: "put", kv: decodeKeyValue(kv) };
}

/** The smallest key above all keys with this prefix (etcd's clientv3.GetPrefixRangeEnd); `\0` means "to the end". */
export function prefixEnd(prefix: string): Buffer {
  const end = Buffer.from(prefix);
  for (let i = end.length - 1; i >= 0; i--) {
    if (end[i]! < 0xff) {
      end[i]! += 1;
      return end.subarray(0, i + 1);
    }
  }
  return Buffer.of(0);
}

/** The smallest key above `key`. */
export function keyAfter(key: Buffer): Buffer {
  return Buffer.concat([key, Buffer.of(0)]);
}

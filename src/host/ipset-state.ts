// The plan of ipsets: the sets that firewall rules name, as plain data.
import type { Family } from "../net/ip.ts";
import type { MemberList } from "./member-list.ts";

/** Types that every kernel with ipset has (CONFIG_IP_SET_HASH_*). */
export type IpsetType = "hash:ip" | "hash:net" | "hash:ip,port";

/** A set with all of its members. The name is host-wide: two families need two sets. */
export interface IpsetRow {
  readonly kind: "set";
  /** At most 31 characters (IPSET_MAXNAMELEN - 1). */
  readonly name: string;
  readonly type: IpsetType;
  readonly family: Family;
  /**
   * Sorted and unique, spelled as `ipset save` prints them: `10.0.0.1`, `10.0.0.0/8` (never /0; a host without its length),
   * `10.0.0.1,tcp:80`.
   */
  readonly members: MemberList;
  /** Counts packets per member (`counters`). */
  readonly counters: boolean;
}

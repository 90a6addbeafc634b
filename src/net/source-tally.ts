// Where sources of events count that they had to begin anew; the daemon makes metrics of it.

export type RelistReason =
  /** The history that was needed is gone: HTTP 410, or a compaction of etcd. */
  | "expired"
  /** The store was restored from a backup, made anew, or lost its data. */
  | "other-history"
  /** For safety, after a while. */
  | "periodic"
  /** A call failed. */
  | "error";

export interface SourceTally {
  /** All objects of the source are read anew. @param source "leases", "policies"; of Kubernetes the resource, "nodes" */
  relist(source: string, reason: RelistReason): void;
  /** A watch lost its stream before its time; it goes on where it was. */
  cut(source: string): void;
}

export const NO_TALLY: SourceTally = { relist: () => undefined, cut: () => undefined };

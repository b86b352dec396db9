import type {
  Configuration,
  Entry,
  HardState,
  LogIndex,
  ShardId,
  SnapshotMetadata,
  Term,
} from "../types.ts";

/**
 * The durable side of a node, as the turn loop needs it: one store for all shards, one batch per turn.
 *
 * A store is poisoned by its first failed write: that write rejects with a StoreFailure, and so does everything after it. The host
 * stops acknowledging and voting, closes the store and exits; whoever opens it again verifies it.
 */
export interface LogStore {
  /** Every shard found on disk, its log verified: contiguous from the compacted index to the recorded end, checksums right. */
  recover(): Promise<readonly RecoveredShard[]>;
  /** Set once a write has failed, a turn's or any other: nothing can be promised any more. */
  readonly failure: Error | null;
  /** An empty batch. One turn fills it and writes it; two batches are never in flight together. */
  batch(): TurnBatch;
  /**
   * Part of a log that lies where nothing else is needed any more, and keeps much space from being freed: the store would like to have it
   * with the next batch once more, by `TurnBatch.repeat`. Null as a rule.
   */
  outdated(): LogPart | null;
}

/** Entries `first` to `last` of a shard's log; none, when only what is small is meant: `last` is below `first` then. */
export interface LogPart {
  readonly shard: ShardId;
  readonly first: number;
  readonly last: number;
}

/** All that one turn changes on disk, over all shards: written atomically. */
export interface TurnBatch {
  /** A new replica: an empty log under `configuration`. `isQuarantined` for one that may have lost a log that others count on. */
  createShard(shard: ShardId, configuration: Configuration, isQuarantined: boolean): void;
  setHardState(shard: ShardId, hardState: HardState): void;
  /** Replaces the log from `entries[0].index` on. `entries` is not empty. Once in a batch. */
  append(shard: ShardId, entries: readonly Entry[]): void;
  /** The entries that `LogStore.outdated` asked for, as they are in the log already. After `append`. */
  repeat(shard: ShardId, entries: readonly Entry[]): void;
  /** Forgets entries up to and including `index`, which had `term`. The bytes are deleted later, with other turns. */
  compact(shard: ShardId, index: LogIndex, term: Term): void;
  /** The log is empty after the snapshot and the quarantine, if any, is over. The state itself is switched by `StateMachine.install`. */
  resetLog(shard: ShardId, snapshot: SnapshotMetadata): void;
  /** Deletes all of a shard: its replica has left this node. */
  removeShard(shard: ShardId): void;
  readonly isEmpty: boolean;
  /** Number of entries that were appended, for metrics. */
  readonly entryCount: number;
  /**
   * Resolves when the batch is on the disk's platter: every turn is synced, and what nothing waits for is put off and joined with the
   * next one. Rejects once and for all when it is not written: see the poison rule above.
   */
  write(): Promise<void>;
}

/** One shard as the disk had it, checked. */
export interface RecoveredShard {
  readonly shard: ShardId;
  readonly hardState: HardState;
  readonly compactedIndex: LogIndex;
  readonly compactedTerm: Term;
  readonly entries: readonly Entry[];
  readonly appliedIndex: LogIndex;
  /** Membership at `appliedIndex`. */
  readonly configuration: Configuration;
  readonly isQuarantined: boolean;
  readonly verdict: LogVerdict;
}

/**
 * What opening found. `torn_tail`: the end is missing but nothing that was acknowledged can be (the recorded end says so);
 * `hole` and `corrupt`: acknowledged entries are gone from `index` on; such a replica is recovered as quarantined.
 */
export type LogVerdict =
  | { readonly type: "ok" }
  | { readonly type: "torn_tail"; readonly index: LogIndex }
  | { readonly type: "hole"; readonly index: LogIndex }
  | { readonly type: "corrupt"; readonly index: LogIndex };

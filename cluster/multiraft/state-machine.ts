import type {
  Configuration,
  Entry,
  LogIndex,
  Revision,
  ShardId,
  SnapshotMetadata,
} from "../types.ts";
import type { TurnBatch } from "./store.ts";

/**
 * What a shard's log is applied to. Deterministic: the same entries give the same bytes and the same results on every replica,
 * whatever the batch boundaries, restarts and snapshots in between. Expected failures are results; a throw ends the process.
 *
 * Applying changes an overlay in memory. `stage` puts the overlay into a turn's batch; reads look through it until `staged` says
 * that the batch is on disk.
 */
export interface StateMachine {
  /** Index of the last entry that was applied (to the overlay). */
  readonly appliedIndex: LogIndex;
  readonly revision: Revision;
  /** Digest of the state at `appliedIndex`, 16 hex digits: equal on all replicas at equal index. */
  readonly digest: string;
  /**
   * Applies the next entry; `configuration` is the membership from this entry on. An entry of type `command` carries one or more
   * commands (see `encodeEntryPayload` in storage/commands.ts); the answer holds one encoded result for each. Other types give none.
   */
  apply(entry: Entry, configuration: Configuration): readonly Uint8Array[];
  /** Adds what was applied since the last `stage`, and the applied index, to the batch. */
  stage(batch: TurnBatch): void;
  /** The batch of the last `stage` is written: reads no longer need its part of the overlay. */
  staged(): void;
  /** Whether something is applied that no batch holds yet. */
  readonly isDirty: boolean;
  /** Commands that this replica should propose if it leads: expirations that are due, checkpoints. Bounded by `limit`. */
  dueCommands(limit: number): readonly Uint8Array[];
  /** A consistent view of the durable state, and the metadata that belongs to it. Close it. */
  snapshot(): SnapshotReader;
  /** Receives the bytes of another replica's snapshot into a new generation, invisible until `install`. */
  receiveSnapshot(): SnapshotWriter;
  /** Switches to the received generation in this batch: atomically with the log's reset. Readers see it when the batch is written. */
  install(batch: TurnBatch, received: SnapshotWriter): void;
  /** Deletes unreferenced generations. Runs in the background, off the turn. */
  collectGarbage(): Promise<void>;
}

/** The bytes of a snapshot: self-describing, versioned, checksummed; also the backup format. */
export interface SnapshotReader {
  readonly metadata: SnapshotMetadata;
  /** Chunks of at most `chunkBytesMax` bytes, in order. */
  chunks(chunkBytesMax: number): AsyncIterable<Uint8Array>;
  close(): Promise<void>;
}

/** Takes in the bytes of a snapshot. Nothing of it is visible, or survives a crash, before it is installed. */
export interface SnapshotWriter {
  /** Adds the next chunk; chunk boundaries mean nothing. Rejects with a typed error when the bytes are not a snapshot of this shard. */
  write(chunk: Uint8Array): Promise<void>;
  /** The snapshot is complete, its checksum right, all of it on disk. Resolves to what it stands for. */
  finish(): Promise<SnapshotMetadata>;
  /** Gives up: deletes what was staged. Idempotent, also after `finish`. */
  abort(): Promise<void>;
}

/** Opens the state machine of a shard; one factory knows which kind of state the shard has. */
export type OpenStateMachine = (shard: ShardId) => StateMachine;

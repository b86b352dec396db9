import type { NodeId, ShardId } from "../cluster/types.ts";
import type { WatchCounts } from "./watch-stream.ts";

/** Where gauges come from: asked once per scrape, so that nothing on the hot path keeps them up to date. */
export interface MetricsSource {
  snapshot(): NodeSnapshot;
}

/** A node at one moment. Counts called "since start" only grow while the process lives. */
export interface NodeSnapshot {
  /** Version of the cluster map; 0 before there is one. */
  readonly epoch: number;
  /** Share of the key space that each node leads; sums to at most 1. */
  readonly ownership: ReadonlyMap<NodeId, number>;
  readonly watchers: number;
  /** Since start. */
  readonly watchCounts: Readonly<WatchCounts>;
  readonly snapshotsSending: number;
  readonly snapshotsReceiving: number;
  readonly shards: readonly ShardSnapshot[];
  /** All other nodes of the map. */
  readonly peers: readonly PeerSnapshot[];
  /** Null until it has been measured. */
  readonly disk: DiskSnapshot | null;
}

/** One local replica. */
export interface ShardSnapshot {
  readonly shard: ShardId;
  readonly role: ReplicaRole;
  readonly leader: NodeId | null;
  readonly isQuarantined: boolean;
  readonly term: number;
  readonly commitIndex: number;
  readonly appliedIndex: number;
  readonly lastIndex: number;
  /** Entries kept, not yet compacted. */
  readonly logEntries: number;
  readonly pendingProposals: number;
  /** Milliseconds since the replica heard from its leader; null unless it follows one and hears from it (idle groups do not). */
  readonly leaderSilenceMs: number | null;
  /** Of a leader: the last index that every other member has. Empty otherwise. */
  readonly matchIndexes: ReadonlyMap<NodeId, number>;
}

/** A replica's part in its group at the moment. */
export type ReplicaRole = "leader" | "follower" | "candidate" | "preCandidate" | "learner";

/** One other node. */
export interface PeerSnapshot {
  readonly id: NodeId;
  readonly isConnected: boolean;
  /** Phi-accrual; see FailureDetector. */
  readonly suspicion: number;
  readonly queuedBytes: number;
  readonly sentFrames: number;
  readonly receivedFrames: number;
  readonly sentBytes: number;
  readonly receivedBytes: number;
  readonly droppedFrames: number;
  readonly reconnects: number;
}

/** The disk under the data directory. */
export interface DiskSnapshot {
  readonly sizeBytes: number;
  readonly freeBytes: number;
  /** What the data directory holds. */
  readonly usedBytes: number;
}

import type { Configuration, LogIndex, NodeId, Term } from "../types.ts";

/** A group as seen by one replica, for metrics, health and operators. A copy: holding it costs nothing to the group. */
export interface Status {
  readonly id: NodeId;
  readonly role: "follower" | "preCandidate" | "candidate" | "leader";
  readonly term: Term;
  readonly vote: NodeId | null;
  readonly leader: NodeId | null;
  readonly commitIndex: LogIndex;
  readonly appliedIndex: LogIndex;
  readonly lastIndex: LogIndex;
  /** The last index that this replica has durably. */
  readonly persistedIndex: LogIndex;
  readonly compactedIndex: LogIndex;
  readonly configuration: Configuration;
  readonly isQuiesced: boolean;
  readonly isQuarantined: boolean;
  readonly transferTarget: NodeId | null;
  /** Payload bytes proposed here and not committed yet; 0 unless leader. */
  readonly uncommittedBytes: number;
  /** Of a leader: how far every other member is. Empty otherwise. */
  readonly progress: ReadonlyMap<NodeId, ProgressStatus>;
}

/** One other member, as its leader knows it. */
export interface ProgressStatus {
  readonly state: "probe" | "replicate" | "snapshot";
  readonly matchIndex: LogIndex;
  readonly nextIndex: LogIndex;
  readonly isLearner: boolean;
  /** Whether it answered since the last check-quorum but one. */
  readonly isRecentlyActive: boolean;
  /** It told us that it lost its log: it must be demoted before it can take part again. */
  readonly isQuarantined: boolean;
}

import { assert } from "../assert.ts";
import type { Configuration, Entry, HardState, LogIndex, NodeId, Term } from "../types.ts";

/** Limits and timings of one Raft group. Time is counted in ticks; the host decides how long a tick is. */
export interface RaftOptions {
  readonly id: NodeId;
  /** A follower that hears nothing for `electionTicks` plus a random part of `electionJitterTicks` campaigns. */
  readonly electionTicks: number;
  readonly electionJitterTicks: number;
  readonly heartbeatTicks: number;
  /** With evidence that the leader is gone, a pre-vote starts after 0 to this many ticks. */
  readonly fastElectionJitterTicks: number;
  /** Added to every election timeout of this replica: a hint that others should lead. 0 for the preferred leader. */
  readonly electionPriorityDelayTicks: number;
  /** Window of one follower: AppendEntries in flight, and their bytes. */
  readonly inflightMessagesMax: number;
  readonly inflightBytesMax: number;
  /** Payload bytes of one AppendEntries; a single larger entry still goes alone. */
  readonly appendBytesMax: number;
  /** Payload bytes a leader accepts beyond what is committed; more proposals are refused. One proposal is always accepted when none is pending. */
  readonly uncommittedBytesMax: number;
  /** Reads waiting for a round; more are answered with index null at once. */
  readonly pendingReadsMax: number;
  /** A leader's lease is shorter than the election timeout by this many ticks: the clock drift that lease reads survive. */
  readonly leaseMarginTicks: number;
  /** Uniform in [0, 1). The only source of chance. */
  readonly random: () => number;
}

/** What the disk knew when the replica was opened. */
export interface RestoredState {
  readonly hardState: HardState;
  /** The log holds entries after this point; (0, 0) for a log from the beginning. */
  readonly compactedIndex: LogIndex;
  readonly compactedTerm: Term;
  readonly entries: readonly Entry[];
  /** Entries up to here have been applied to the durable state, and `configuration` is the membership at this index. */
  readonly appliedIndex: LogIndex;
  readonly configuration: Configuration;
  /** The replica lost entries that it may have acknowledged: it neither votes nor acknowledges until a snapshot makes it a learner. */
  readonly isQuarantined: boolean;
}

/** Refuses settings that break the protocol's arithmetic. */
export function checkRaftOptions(options: RaftOptions): void {
  assert(options.heartbeatTicks >= 1, "heartbeatTicks must be at least 1");
  assert(
    options.electionTicks > 2 * options.heartbeatTicks,
    "electionTicks must exceed two heartbeats",
  );
  assert(options.electionJitterTicks >= 1, "electionJitterTicks must be at least 1");
  assert(options.fastElectionJitterTicks >= 0, "fastElectionJitterTicks must not be negative");
  assert(
    options.electionPriorityDelayTicks >= 0,
    "electionPriorityDelayTicks must not be negative",
  );
  assert(options.leaseMarginTicks >= 1, "leaseMarginTicks must be at least 1");
  assert(
    options.leaseMarginTicks < options.electionTicks,
    "leaseMarginTicks must be below electionTicks",
  );
  assert(options.inflightMessagesMax >= 1, "inflightMessagesMax must be at least 1");
  assert(options.inflightBytesMax >= 1, "inflightBytesMax must be at least 1");
  assert(options.appendBytesMax >= 1, "appendBytesMax must be at least 1");
  assert(options.uncommittedBytesMax >= 1, "uncommittedBytesMax must be at least 1");
  assert(options.pendingReadsMax >= 1, "pendingReadsMax must be at least 1");
}

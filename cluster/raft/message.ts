import type { Entry, LogIndex, NodeId, SnapshotMetadata, Term } from "../types.ts";

/**
 * Everything that replicas of one shard say to each other. Messages may be lost, repeated and reordered; each carries the
 * sender's term, and a receiver treats an older term as noise and a newer one as news (Raft section 5.1).
 */
export type Message =
  | RequestPreVote
  | RequestPreVoteResponse
  | RequestVote
  | RequestVoteResponse
  | AppendEntries
  | AppendEntriesResponse
  | Heartbeat
  | HeartbeatResponse
  | CommitNotice
  | InstallSnapshot
  | TimeoutNow
  | ReadIndex
  | ReadIndexResponse;

/** The names of the messages. */
export type MessageType = Message["type"];

interface Envelope {
  readonly from: NodeId;
  readonly to: NodeId;
  /** The sender's term; for RequestPreVote and its granting response, the term that the vote would be for. */
  readonly term: Term;
}

/**
 * "Would you vote for me?" Asked before the term is raised, so that a replica that was cut off cannot depose a healthy leader by
 * coming back with a high term (thesis 9.6). Changes nothing on either side.
 */
export interface RequestPreVote extends Envelope {
  readonly type: "RequestPreVote";
  readonly lastIndex: LogIndex;
  readonly lastTerm: Term;
}

/** Granted with the candidate's prospective term, refused with the voter's own. */
export interface RequestPreVoteResponse extends Envelope {
  readonly type: "RequestPreVoteResponse";
  readonly granted: boolean;
  /**
   * What the voter knows to be committed. Members count from the entry's application on, so a candidate that does not know that the
   * change it holds is over could need the vote of somebody who left with a longer log, for ever (raft-rs: `maybe_commit_by_vote`).
   */
  readonly commit: LogIndex;
  readonly commitTerm: Term;
}

/** "Vote for me in this term" (section 5.2). Sent only after the candidate's own vote is durable. */
export interface RequestVote extends Envelope {
  readonly type: "RequestVote";
  readonly lastIndex: LogIndex;
  readonly lastTerm: Term;
  /** The old leader asked for this election (TimeoutNow): voters skip the check that they still hear it (thesis 3.10). */
  readonly isTransfer: boolean;
}

/** The vote is durable when this leaves the voter. */
export interface RequestVoteResponse extends Envelope {
  readonly type: "RequestVoteResponse";
  readonly granted: boolean;
}

/** Replicates `entries` after (`prevIndex`, `prevTerm`); without entries, a probe (section 5.3). */
export interface AppendEntries extends Envelope {
  readonly type: "AppendEntries";
  readonly prevIndex: LogIndex;
  readonly prevTerm: Term;
  readonly entries: readonly Entry[];
  readonly commit: LogIndex;
}

/** Says where the follower's durable log agrees with the leader's, or where to look for agreement. */
export interface AppendEntriesResponse extends Envelope {
  readonly type: "AppendEntriesResponse";
  readonly result:
    | {
        readonly type: "accepted";
        /** The follower's log equals the leader's, durably, up to here. */
        readonly matchIndex: LogIndex;
      }
    | {
        readonly type: "rejected";
        /** The `prevIndex` that did not match: ties the answer to its question. */
        readonly rejectedIndex: LogIndex;
        /** The largest index at which the follower's term is not above the leader's `prevTerm`, and that term: fast back-off. */
        readonly hintIndex: LogIndex;
        readonly hintTerm: Term;
      }
    | {
        /** The follower lost its log and takes no part until it has been made a learner and has received a snapshot. */
        readonly type: "quarantined";
      };
}

/**
 * Keeps followers from campaigning, tells the commit index (never beyond the follower's known match), and carries the number of a
 * ReadIndex round: a quorum that answers round r confirms the leader for all reads that came before r was sent (thesis 6.4).
 */
export interface Heartbeat extends Envelope {
  readonly type: "Heartbeat";
  readonly commit: LogIndex;
  /** Number of the leader's latest read round; 0 before the first. */
  readonly round: number;
  /** The leader stops ticking this idle group; the follower may too when its log is complete. */
  readonly quiesce: boolean;
}

/** The follower still follows, and `round` is the round that it answers. */
export interface HeartbeatResponse extends Envelope {
  readonly type: "HeartbeatResponse";
  readonly round: number;
}

/**
 * Tells a follower that has nothing else to learn what is committed, never beyond its known match. Not answered, and nobody relies on its
 * arrival: entries and heartbeats tell the same.
 */
export interface CommitNotice extends Envelope {
  readonly type: "CommitNotice";
  readonly commit: LogIndex;
}

/** The follower needs entries that the leader no longer has. Metadata only: the host moves the bytes and then hands over this message. */
export interface InstallSnapshot extends Envelope {
  readonly type: "InstallSnapshot";
  readonly snapshot: SnapshotMetadata;
}

/** The leader hands over: "campaign now, without asking first" (thesis 3.10). */
export interface TimeoutNow extends Envelope {
  readonly type: "TimeoutNow";
}

/** A follower asks the leader for an index that is safe to read at. `context` is the follower's own number for the question. */
export interface ReadIndex extends Envelope {
  readonly type: "ReadIndex";
  readonly context: number;
}

/** `index` is null when the leader cannot confirm itself (no entry of its term is committed yet, or it lost leadership). */
export interface ReadIndexResponse extends Envelope {
  readonly type: "ReadIndexResponse";
  readonly context: number;
  readonly index: LogIndex | null;
}

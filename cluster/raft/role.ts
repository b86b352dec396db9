import type { LogIndex, NodeId } from "../types.ts";
import type { Progress } from "./progress.ts";
import type { ReadRounds } from "./read-index.ts";

/** What a replica is at the moment, with the state that only this role needs: it comes and goes with the role. */
export type Role = Follower | PreCandidate | Candidate | Leader;

/** Listens. Also every learner, and every replica that does not know yet what it is. */
export interface Follower {
  readonly type: "follower";
  /** Null until a leader of this term was heard. */
  leader: NodeId | null;
  /** The leader said TimeoutNow, but a change of members has to be applied first. */
  isAskedToCampaign: boolean;
  /** Reads that were forwarded to the leader, by the number on the wire, oldest first. */
  readonly forwardedReads: Map<number, ForwardedRead>;
}

/** A read that a follower has sent to its leader. */
export interface ForwardedRead {
  /** The host's number for the read. */
  readonly context: number;
  readonly clock: number;
}

/** Asks whether an election would succeed. Its term and vote are still a follower's. */
export interface PreCandidate {
  readonly type: "preCandidate";
  readonly votes: Map<NodeId, boolean>;
}

/** Has raised its term and votes for itself. Its own vote counts, like everybody's, only when it is durable. */
export interface Candidate {
  readonly type: "candidate";
  readonly votes: Map<NodeId, boolean>;
}

/** Brings its log to the others, counts, and proves that it still leads. */
export interface Leader {
  readonly type: "leader";
  /** Everybody but itself, sorted. */
  readonly progress: Map<NodeId, Progress>;
  readonly reads: ReadRounds;
  /** How far a member's durable log agrees, itself included: what commits are counted from. */
  readonly matchOf: (member: NodeId) => number;
  /** The read round that a member has answered, itself included. */
  readonly roundOf: (member: NodeId) => number;
  /** The no-op that opened the term. */
  readonly firstIndex: LogIndex;
  /** R9: no change of members is proposed until this entry is applied. */
  pendingConfigIndex: LogIndex;
  uncommittedBytes: number;
  heartbeatElapsed: number;
  quorumCheckElapsed: number;
  transfer: Transfer | null;
  /** A TimeoutNow left in this term: somebody may be elected although a quorum still hears this leader, so leases are over. */
  isLeaseForfeited: boolean;
  /** Something changed that may allow messages to leave at the next `ready()`. */
  isDirty: boolean;
}

/** A handover of leadership that is going on. */
export interface Transfer {
  readonly target: NodeId;
  elapsed: number;
  isTimeoutNowSent: boolean;
}

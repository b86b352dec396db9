import { assert, unreachable } from "../assert.ts";
import { LogIndex, Term } from "../types.ts";
import type { NodeId } from "../types.ts";
import {
  acceptAppendEntries,
  acceptCommitNotice,
  acceptHeartbeat,
  acceptInstallSnapshot,
} from "./accept.ts";
import {
  abandonReads,
  answerRead,
  armElectionTimer,
  becomeFollower,
  isBoundToLeader,
  isInstalling,
  isPromotable,
  knownLeader,
  promise,
  raiseTerm,
  send,
} from "./core.ts";
import type { Core } from "./core.ts";
import { becomeLeader } from "./leader.ts";
import { isVoter } from "./membership.ts";
import type { Message, RequestPreVote, RequestPreVoteResponse, RequestVote } from "./message.ts";
import { quorumVote } from "./quorum.ts";
import type { Candidate, PreCandidate } from "./role.ts";

/** How a replica asks for votes, and how every replica gives them. */

/** Asks whether an election would succeed (thesis 9.6). Nothing changes but the role. */
export function becomePreCandidate(core: Core): void {
  if (!isPromotable(core)) {
    return;
  }
  abandonReads(core);
  const role: PreCandidate = { type: "preCandidate", votes: new Map([[core.id, true]]) };
  core.role = role;
  armElectionTimer(core);
  const { lastIndex, lastTerm } = core.log;
  for (const to of core.peers) {
    if (isVoter(core.configuration, to)) {
      const term = Term(core.term + 1);
      send(core, { type: "RequestPreVote", from: core.id, to, term, lastIndex, lastTerm });
    }
  }
  countVotes(core, role);
}

/** Raises the term and asks for votes. The requests, and the own vote, wait for the disk. */
export function becomeCandidate(core: Core, isTransfer: boolean): void {
  assert(isPromotable(core), "R9: only a voter with a log and current members campaigns");
  abandonReads(core);
  raiseTerm(core, Term(core.term + 1));
  core.vote = core.id;
  core.role = { type: "candidate", votes: new Map() };
  armElectionTimer(core);
  const { id: from, term } = core;
  const { lastIndex, lastTerm } = core.log;
  for (const to of core.peers) {
    if (isVoter(core.configuration, to)) {
      promise(core, { type: "RequestVote", from, to, term, lastIndex, lastTerm, isTransfer });
    }
  }
}

/** Counts a vote, the first of each voter, and draws the conclusion. */
export function recordVote(
  core: Core,
  role: PreCandidate | Candidate,
  voter: NodeId,
  granted: boolean,
): void {
  if (!role.votes.has(voter)) {
    role.votes.set(voter, granted);
    countVotes(core, role);
  }
}

/** What either kind of candidate does with a message of its term. */
export function stepCandidate(
  core: Core,
  role: PreCandidate | Candidate,
  message: Exclude<Message, RequestPreVote | RequestVote>,
): void {
  switch (message.type) {
    case "RequestPreVoteResponse":
      // A grant carries the term that it is for; one for another term answers an older question.
      if (role.type === "preCandidate" && (!message.granted || message.term === core.term + 1)) {
        recordVote(core, role, message.from, message.granted);
      }
      return;
    case "RequestVoteResponse":
      if (role.type === "candidate") {
        recordVote(core, role, message.from, message.granted);
      }
      return;
    case "AppendEntries":
      becomeFollower(core, core.term, message.from);
      acceptAppendEntries(core, message);
      return;
    case "Heartbeat":
      becomeFollower(core, core.term, message.from);
      acceptHeartbeat(core, message);
      return;
    case "CommitNotice":
      becomeFollower(core, core.term, message.from);
      acceptCommitNotice(core, message);
      return;
    case "InstallSnapshot":
      becomeFollower(core, core.term, message.from);
      acceptInstallSnapshot(core, message);
      return;
    case "ReadIndex":
      answerRead(core, message, null);
      return;
    case "AppendEntriesResponse":
    case "HeartbeatResponse":
    case "TimeoutNow":
    case "ReadIndexResponse":
      return;
    default:
      unreachable(message);
  }
}

/** Grants what would be a vote: a newer term, a log that is good enough, and no leader to protect. Any role answers. */
export function answerPreVote(core: Core, message: RequestPreVote): void {
  const granted =
    message.term > core.term &&
    !core.isQuarantined &&
    !isBoundToLeader(core) &&
    core.log.isUpToDate(message.lastIndex, message.lastTerm);
  sendPreVote(core, message.from, granted ? message.term : core.term, granted);
}

/** The answer to a pre-vote, with what this replica knows to be committed, and will still know after a crash. */
export function sendPreVote(core: Core, to: NodeId, term: Term, granted: boolean): void {
  const { id: from, log } = core;
  const commit = LogIndex(Math.max(core.durableCommit, log.compactedIndex));
  const commitTerm = log.termAt(commit);
  assert(commitTerm !== null, "R7: the commit index is in the log or where it was compacted");
  send(core, { type: "RequestPreVoteResponse", from, to, term, granted, commit, commitTerm });
}

/**
 * Takes over what a voter knows to be committed, if the entry is here: then it is the same entry, with the same log before it (R3).
 * Whoever counted votes by members that this makes outdated starts again.
 */
export function learnCommit(core: Core, message: RequestPreVoteResponse): void {
  const { log, role } = core;
  if (role.type === "leader" || isInstalling(core) || core.isQuarantined) {
    return;
  }
  if (log.matches(message.commit, message.commitTerm)) {
    log.commitTo(message.commit);
  }
  if (role.type !== "follower" && log.hasUnappliedConfiguration()) {
    becomeFollower(core, core.term, null);
  }
}

/** R2: at most one vote in a term, durable before it leaves; a repeated request gets the same answer. */
export function answerVote(core: Core, message: RequestVote): void {
  const hasVotedForIt = core.vote === message.from;
  const isFree = core.vote === null && knownLeader(core) === null;
  const granted =
    (hasVotedForIt || isFree) &&
    !core.isQuarantined &&
    (message.isTransfer || hasVotedForIt || !isBoundToLeader(core)) &&
    core.log.isUpToDate(message.lastIndex, message.lastTerm);
  if (granted) {
    // A pre-candidate that helps another gives up its own attempt.
    becomeFollower(core, core.term, null);
    core.vote = message.from;
    armElectionTimer(core);
  }
  const { id: from, term } = core;
  promise(core, { type: "RequestVoteResponse", from, to: message.from, term, granted });
}

function countVotes(core: Core, role: PreCandidate | Candidate): void {
  const result = quorumVote(core.configuration, (voter) => role.votes.get(voter));
  if (result === "lost") {
    becomeFollower(core, core.term, null);
  } else if (result === "won") {
    if (role.type === "preCandidate") {
      becomeCandidate(core, false);
    } else {
      becomeLeader(core);
    }
  }
}

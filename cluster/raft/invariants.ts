import { assert, unreachable } from "../assert.ts";
import type { Core } from "./core.ts";
import { isVoter, membersOf } from "./membership.ts";
import type { Raft } from "./raft.ts";
import type { Leader } from "./role.ts";

/**
 * Checks everything that README.md promises of one replica, at rest between two calls. Throws InvariantViolation with the number of
 * what is broken. For tests and the simulator; what concerns several replicas at once is checked by whoever sees them all.
 */
export function checkInvariants(raft: Raft): void {
  raft.inspect(checkCore);
}

function checkCore(core: Core): void {
  checkTerms(core);
  checkLog(core);
  checkMembers(core);
  switch (core.role.type) {
    case "leader":
      checkLeader(core, core.role);
      return;
    case "candidate":
      assert(core.vote === core.id, "R2: a candidate votes for itself");
      return;
    case "preCandidate":
    case "follower":
      return;
    default:
      unreachable(core.role);
  }
}

function checkTerms(core: Core): void {
  assert(core.written.term <= core.term, "R1: no term is written before it is entered");
  assert(core.durableTerm <= core.written.term, "R1: no term is durable before it is written");
  const isVoteKept = core.written.term < core.term || core.written.vote === null;
  assert(isVoteKept || core.written.vote === core.vote, "R2: a written vote is never changed");
  for (const message of core.promises) {
    assert(message.term === core.term, "R4: promises are made in the current term");
  }
}

function checkLog(core: Core): void {
  const { log } = core;
  const { compactedIndex, appliedIndex, commitIndex, persistedIndex, lastIndex } = log;
  assert(compactedIndex <= appliedIndex, "R7: compacted <= applied");
  assert(appliedIndex <= commitIndex, "R7: applied <= commit");
  assert(commitIndex <= lastIndex, "R7: commit <= last");
  assert(compactedIndex <= persistedIndex, "R7: compacted <= persisted");
  assert(persistedIndex <= lastIndex, "R7: persisted <= last");
  let index: number = compactedIndex;
  let term = log.compactedTerm;
  for (const entry of log.between(compactedIndex + 1, lastIndex)) {
    index += 1;
    assert(entry.index === index, "R3: a log has no holes");
    assert(entry.term >= term, "R3: terms never fall along a log");
    term = entry.term;
  }
  assert(term <= core.term, "R3: no entry is newer than the replica's term");
}

function checkMembers(core: Core): void {
  const { configuration, id } = core;
  assert(configuration.voters.length > 0, "R9: a group has a voter");
  for (const learner of configuration.learners) {
    assert(!isVoter(configuration, learner), "R9: nobody is both voter and learner");
  }
  for (const learner of configuration.learnersNext) {
    const isLeaving = configuration.votersOutgoing.includes(learner);
    assert(isLeaving, "R9: who becomes a learner later is a voter until then");
  }
  const others = membersOf(configuration).filter((member) => member !== id);
  assert(others.join() === core.peers.join(), "R9: the peers are the members");
  if (core.isQuarantined) {
    assert(core.role.type === "follower", "R10: a quarantined replica never campaigns");
    assert(core.log.lastIndex === 0, "R10: a quarantined replica has no log");
  }
}

function checkLeader(core: Core, leader: Leader): void {
  const { log } = core;
  assert(core.vote === core.id, "R2: a leader voted for itself");
  assert(core.durableTerm === core.term, "R4: a leader's vote is durable");
  assert(isVoter(core.configuration, core.id), "R9: a leader is a voter");
  assert(leader.uncommittedBytes >= 0, "uncommitted bytes are counted down once");
  assert([...leader.progress.keys()].join() === core.peers.join(), "R9: every member is tracked");
  for (const progress of leader.progress.values()) {
    assert(progress.matchIndex < progress.nextIndex, "R5: match < next");
    assert(progress.nextIndex <= log.lastIndex + 1, "R5: next <= last + 1");
    assert(progress.matchIndex <= log.lastIndex, "R5: match <= last");
    assert(progress.ackedRound <= leader.reads.latest, "R11: no round is answered before it began");
    if (progress.isQuarantined) {
      assert(
        progress.matchIndex === 0,
        "R10: what a quarantined member acknowledged does not count",
      );
    }
  }
}

import { assert } from "../assert.ts";
import { LogIndex } from "../types.ts";
import type { EntryType, NodeId } from "../types.ts";
import { answerRead, send } from "./core.ts";
import type { Core } from "./core.ts";
import { isLearner } from "./membership.ts";
import type { CommitNotice } from "./message.ts";
import type { Progress } from "./progress.ts";
import { quorumReached } from "./quorum.ts";
import type { Leader } from "./role.ts";

/** How a leader brings its log to the others, counts what they have, and proves that it still leads. */

/** Adds an entry to the leader's log. It leaves with the next `ready()`, to the disk and to the members alike. */
export function appendEntry(
  core: Core,
  leader: Leader,
  type: EntryType,
  payload: Uint8Array,
): LogIndex {
  const index = LogIndex(core.log.lastIndex + 1);
  core.log.append({ index, term: core.term, type, payload });
  leader.uncommittedBytes += payload.length;
  leader.isDirty = true;
  return index;
}

/**
 * R6: an entry is committed when a quorum holds it durably and it is of the leader's own term; older ones are committed with it,
 * never by counting (Raft 5.4.2, figure 8).
 */
export function advanceCommit(core: Core, leader: Leader): void {
  const { log } = core;
  const index = quorumReached(core.configuration, leader.matchOf);
  if (index <= log.commitIndex || log.termAt(index) !== core.term) {
    return;
  }
  const from = Math.max(log.commitIndex + 1, leader.firstIndex);
  leader.uncommittedBytes -= log.payloadBytes(from, index);
  log.commitTo(index);
  leader.isDirty = true;
}

/** Whether the leader's commit index is known to be the newest: true from the first commit of its own term on (thesis 6.4). */
export function hasCommittedInTerm(core: Core, leader: Leader): boolean {
  return core.log.commitIndex >= leader.firstIndex;
}

/** What of the commit index a member may be told: only what its log is known to hold. */
function tellableCommit(core: Core, progress: Progress): LogIndex {
  return LogIndex(Math.min(core.log.commitIndex, progress.matchIndex));
}

/** Whether a member may be told more of the commit index than it was. */
function isUntold(core: Core, progress: Progress): boolean {
  return progress.state === "replicate" && progress.sentCommit < tellableCommit(core, progress);
}

/** Whether `commitNotices` has something to tell some member. */
export function isCommitUntold(core: Core, leader: Leader): boolean {
  for (const progress of leader.progress.values()) {
    if (isUntold(core, progress)) {
      return true;
    }
  }
  return false;
}

/** Tells the members that are wanted, and were not told yet, what is committed. */
export function commitNotices(
  core: Core,
  leader: Leader,
  isWanted: (member: NodeId) => boolean,
): CommitNotice[] {
  const notices: CommitNotice[] = [];
  for (const [to, progress] of leader.progress) {
    if (isUntold(core, progress) && isWanted(to)) {
      const commit = tellableCommit(core, progress);
      progress.sentCommit = commit;
      notices.push({ type: "CommitNotice", from: core.id, to, term: core.term, commit });
    }
  }
  return notices;
}

/**
 * Sends what may be sent: a read round if reads wait, and to each member what it lacks. `tellsCommit`: also to those that lack nothing but
 * the commit index.
 */
export function flush(core: Core, leader: Leader, tellsCommit: boolean): void {
  leader.isDirty = false;
  if (leader.reads.wantsRound && hasCommittedInTerm(core, leader)) {
    startRound(core, leader);
  }
  for (const [member, progress] of leader.progress) {
    replicateTo(core, member, progress, tellsCommit);
  }
}

/** One heartbeat to everybody, with a new number: its answers keep the lease, and confirm the reads that came before it. */
export function startRound(core: Core, leader: Leader): void {
  const { log } = core;
  const index = hasCommittedInTerm(core, leader) ? log.commitIndex : null;
  leader.reads.start(core.clock, index);
  leader.heartbeatElapsed = 0;
  sendHeartbeats(core, leader, false);
  confirmRounds(core, leader);
}

/** One heartbeat to each member, all of the latest round. */
export function sendHeartbeats(core: Core, leader: Leader, quiesce: boolean): void {
  for (const [member, progress] of leader.progress) {
    send(core, {
      type: "Heartbeat",
      from: core.id,
      to: member,
      term: core.term,
      // A member may hold entries of an older term beyond its match: it must not take them for committed.
      commit: tellableCommit(core, progress),
      round: leader.reads.latest,
      quiesce,
    });
  }
}

/** R11: answers the reads of every round that a quorum has answered. */
export function confirmRounds(core: Core, leader: Leader): void {
  const round = quorumReached(core.configuration, leader.roundOf);
  for (const read of leader.reads.confirm(round)) {
    answerRead(core, read, read.index);
  }
}

function replicateTo(core: Core, member: NodeId, progress: Progress, tellsCommit: boolean): void {
  if (progress.isQuarantined) {
    // R10: a quarantined voter gets nothing; once it is a learner, only a snapshot makes it whole.
    if (isLearner(core.configuration, member) && !progress.isPaused) {
      sendSnapshot(core, member, progress);
    }
    return;
  }
  switch (progress.state) {
    case "probe":
      if (!progress.isPaused) {
        progress.isPaused = true;
        sendAppend(core, member, progress, core.options.appendBytesMax);
      }
      return;
    case "replicate":
      replicateEntries(core, member, progress, tellsCommit);
      return;
    case "snapshot":
      return;
  }
}

function replicateEntries(
  core: Core,
  member: NodeId,
  progress: Progress,
  tellsCommit: boolean,
): void {
  const { log } = core;
  while (
    progress.state === "replicate" &&
    progress.nextIndex <= log.lastIndex &&
    !progress.isWindowFull
  ) {
    sendAppend(core, member, progress, core.options.appendBytesMax);
  }
  if (
    progress.state === "replicate" &&
    (progress.mustProbe || (tellsCommit && progress.sentCommit < log.commitIndex))
  ) {
    // Without entries: tells the commit index, and finds out whether something was lost.
    sendAppend(core, member, progress, 0);
  }
}

/** One AppendEntries from `nextIndex` on; without entries if `bytesMax` is 0. A snapshot instead, if the log starts later. */
function sendAppend(core: Core, member: NodeId, progress: Progress, bytesMax: number): void {
  const { log } = core;
  const prevIndex = LogIndex(progress.nextIndex - 1);
  const prevTerm = log.termAt(prevIndex);
  if (prevTerm === null) {
    if (progress.isRecentlyActive) {
      sendSnapshot(core, member, progress);
    } else {
      // Nobody is known to be there to receive it: wait for an answer to a heartbeat.
      progress.becomeProbe();
      progress.isPaused = true;
    }
    return;
  }
  assert(progress.matchIndex < progress.nextIndex, "R5: match is below next");
  const entries = bytesMax === 0 ? [] : log.slice(progress.nextIndex, bytesMax);
  if (progress.state === "replicate") {
    const last = entries.at(-1);
    if (last !== undefined) {
      progress.sent(last.index, log.payloadBytes(progress.nextIndex, last.index));
    }
    progress.sentCommit = log.commitIndex;
    progress.mustProbe = false;
  }
  send(core, {
    type: "AppendEntries",
    from: core.id,
    to: member,
    term: core.term,
    prevIndex,
    prevTerm,
    entries,
    commit: log.commitIndex,
  });
}

/** Asks the host to move a snapshot, unless one is on its way. */
function sendSnapshot(core: Core, member: NodeId, progress: Progress): void {
  if (progress.state === "snapshot") {
    return;
  }
  const { log } = core;
  const index = log.appliedIndex;
  const term = log.termAt(index);
  assert(term !== null, "R8: the applied index is in the log or where it was compacted");
  progress.becomeSnapshot(index);
  send(core, {
    type: "InstallSnapshot",
    from: core.id,
    to: member,
    term: core.term,
    snapshot: { index, term, configuration: core.configuration },
  });
}

import { assert } from "../assert.ts";
import { LogIndex } from "../types.ts";
import type { Entry, HardState } from "../types.ts";
import { recordVote } from "./candidate.ts";
import { isInstalling } from "./core.ts";
import type { Core } from "./core.ts";
import { campaignIfAsked } from "./follower.ts";
import { changeConfiguration, leaveJointWhenDue } from "./leader.ts";
import { decodeConfiguration, isLearner } from "./membership.ts";
import type { Ready, Write } from "./ready.ts";
import { advanceCommit, flush } from "./replicate.ts";

/** What the host gets to do, and what follows when it is done. */

/** Whether `takeReady` would return anything. */
export function hasOutput(core: Core): boolean {
  if (core.outbox.length > 0 || core.reads.length > 0) {
    return true;
  }
  if (core.role.type === "leader" && core.role.isDirty) {
    return true;
  }
  if (core.log.hasCommitted && !isInstalling(core)) {
    return true;
  }
  return core.outstanding === null && (needsWrite(core) || core.promises.length > 0);
}

/** @param mayWrite whether the host's disk is free; if not, what is to be written waits and is not outstanding */
export function takeReady(core: Core, mayWrite: boolean): Ready {
  // Before the members change, so that one who leaves learns of the commit that sends it away.
  flushLeader(core);
  const committed = isInstalling(core) ? [] : core.log.takeCommitted();
  applyConfiguration(core, committed);
  campaignIfAsked(core);
  flushLeader(core);
  releasePromises(core);
  const messages = core.outbox;
  const reads = core.reads;
  core.outbox = [];
  core.reads = [];
  const isWriteDue = mayWrite && core.outstanding === null && needsWrite(core);
  const write = isWriteDue ? takeWrite(core) : null;
  return { messages, committed, reads, write };
}

/** What is promised is durable already: a repeated vote, an acknowledgement of nothing new. No write need be waited for. */
function releasePromises(core: Core): void {
  if (core.promises.length > 0 && core.outstanding === null && !needsWrite(core)) {
    core.outbox.push(...core.promises);
    core.promises = [];
  }
}

/** The outstanding write is durable: its snapshot is the state, its entries count, its vote counts. */
export function finishWrite(core: Core): void {
  const { outstanding, log } = core;
  assert(outstanding !== null, "advance() belongs to a write");
  core.outstanding = null;
  core.durableTerm = outstanding.hardState.term;
  core.durableCommit = outstanding.hardState.commit;
  const { snapshot } = outstanding;
  if (snapshot === null) {
    log.persistWritten(outstanding.lastIndex);
  } else {
    log.reset(snapshot);
    core.isQuarantined = core.isQuarantined && !isLearner(snapshot.configuration, core.id);
    changeConfiguration(core, snapshot.configuration);
  }
  const { role } = core;
  if (role.type === "leader") {
    advanceCommit(core, role);
  } else if (role.type === "candidate" && core.durableTerm === core.term) {
    recordVote(core, role, core.id, true);
  }
}

/** A commit index that no entries carry is told at once only when members change by it; else the host asks for notices of it. */
function flushLeader(core: Core): void {
  const { role } = core;
  if (role.type === "leader" && role.isDirty) {
    flush(core, role, role.pendingConfigIndex > core.log.appliedIndex);
  }
}

/** R9: a configuration holds from the moment its entry is applied; it is the last of the list, if there is one. */
function applyConfiguration(core: Core, committed: readonly Entry[]): void {
  const last = committed.at(-1);
  if (last?.type === "config") {
    const configuration = decodeConfiguration(last.payload);
    assert(configuration !== null, "R9: a committed configuration is readable");
    core.configurationIndex = last.index;
    changeConfiguration(core, configuration);
  }
  if (core.role.type === "leader") {
    leaveJointWhenDue(core, core.role);
  }
}

/**
 * A new commit index alone is worth no write: it goes with the next one, and a restarted replica hears it from its leader. Unless members
 * have changed by it: who has left may not be there any more to tell (R9).
 */
function needsWrite(core: Core): boolean {
  const { written, log } = core;
  return (
    core.incomingSnapshot !== null ||
    log.hasUnwritten ||
    written.commit < core.configurationIndex ||
    written.term !== core.term ||
    written.vote !== core.vote
  );
}

function takeWrite(core: Core): Write {
  const { log, written } = core;
  const snapshot = core.incomingSnapshot;
  // What the log holds is replaced by the snapshot; writing it would only cost time.
  const entries = snapshot === null ? log.takeUnwritten() : [];
  const commit = LogIndex(Math.max(log.commitIndex, snapshot?.index ?? 0));
  const hardState: HardState = { term: core.term, vote: core.vote, commit };
  const isVoteNew = hardState.term !== written.term || hardState.vote !== written.vote;
  const areMembersNew = written.commit < core.configurationIndex;
  const isNew = isVoteNew || hardState.commit !== written.commit;
  core.incomingSnapshot = null;
  core.outstanding = { hardState, lastIndex: log.lastIndex, snapshot };
  core.written = hardState;
  const messages = core.promises;
  core.promises = [];
  return {
    hardState: isNew ? hardState : null,
    entries,
    snapshot,
    mustSync: entries.length > 0 || snapshot !== null || isVoteNew || areMembersNew,
    messages,
  };
}

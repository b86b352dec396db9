import { LogIndex } from "../types.ts";
import { hearLeader, isInstalling, promise, send } from "./core.ts";
import type { Core } from "./core.ts";
import { decodeConfiguration, isLearner } from "./membership.ts";
import type {
  AppendEntries,
  AppendEntriesResponse,
  CommitNotice,
  Heartbeat,
  InstallSnapshot,
} from "./message.ts";

/** What every replica that does not lead does with a leader's messages of the current term. */

/** Raft 5.3, receiver's side: refuse what does not fit, cut only what conflicts, commit only what was compared. */
export function acceptAppendEntries(core: Core, message: AppendEntries): void {
  const { log } = core;
  hearLeader(core, message.from);
  if (isInstalling(core)) {
    return;
  }
  if (core.isQuarantined) {
    refuseInQuarantine(core, message);
    return;
  }
  if (message.prevIndex < log.commitIndex) {
    promiseAccepted(core, message, log.commitIndex);
    return;
  }
  if (!log.matches(message.prevIndex, message.prevTerm)) {
    const hintIndex = log.findAgreement(message.prevIndex, message.prevTerm);
    promiseResult(core, message, {
      type: "rejected",
      rejectedIndex: message.prevIndex,
      hintIndex,
      hintTerm: log.termAt(hintIndex) ?? log.compactedTerm,
    });
    return;
  }
  log.accept(message.entries);
  const lastCompared = LogIndex(message.prevIndex + message.entries.length);
  log.commitTo(Math.min(message.commit, lastCompared));
  promiseAccepted(core, message, lastCompared);
}

/** The commit index in a heartbeat never exceeds what this replica acknowledged, so it may be taken as it is. */
export function acceptHeartbeat(core: Core, message: Heartbeat): void {
  const { log } = core;
  hearLeader(core, message.from);
  if (core.isQuarantined) {
    if (!isInstalling(core)) {
      refuseInQuarantine(core, message);
    }
    return;
  }
  if (!isInstalling(core)) {
    log.commitTo(Math.min(message.commit, log.lastIndex));
    const isComplete = log.lastIndex === message.commit && log.lastTerm === message.term;
    if (message.quiesce && isComplete) {
      core.isQuiesced = true;
      return;
    }
  }
  const response = {
    type: "HeartbeatResponse",
    from: core.id,
    to: message.from,
    term: core.term,
    round: message.round,
  } as const;
  if (core.durableTerm === core.term) {
    send(core, response);
  } else {
    // A lease counts on this answer to survive a restart, and a replica without a term would not know that it restarted.
    promise(core, response);
  }
}

/** As with a heartbeat, the commit index may be taken as it is; there is no answer. */
export function acceptCommitNotice(core: Core, message: CommitNotice): void {
  hearLeader(core, message.from);
  if (!core.isQuarantined && !isInstalling(core)) {
    core.log.commitTo(Math.min(message.commit, core.log.lastIndex));
  }
}

/** The host has staged the bytes; this decides whether the state they stand for is news. */
export function acceptInstallSnapshot(core: Core, message: InstallSnapshot): void {
  const { log } = core;
  const { snapshot } = message;
  hearLeader(core, message.from);
  if (core.isQuarantined) {
    // R10: only as a learner, whose acknowledgements nobody counts, may it start again; and only from a state, not from nothing.
    if (!isLearner(snapshot.configuration, core.id) || snapshot.index === 0) {
      refuseInQuarantine(core, message);
      return;
    }
    // Its vote in this term may be lost; the term has this leader, so nobody else can need it.
    core.vote ??= message.from;
  }
  const installing = core.incomingSnapshot ?? core.outstanding?.snapshot ?? null;
  if (installing !== null && snapshot.index <= installing.index) {
    return;
  }
  if (log.matches(snapshot.index, snapshot.term) && !isInstalling(core)) {
    log.commitTo(snapshot.index);
  }
  if (snapshot.index <= log.commitIndex) {
    promiseAccepted(core, message, log.commitIndex);
    return;
  }
  core.incomingSnapshot = snapshot;
  promiseAccepted(core, message, snapshot.index);
}

/** Whether the entries are what a sane leader sends: contiguous, terms rising to its own, configurations readable. */
export function isWellFormed(message: AppendEntries): boolean {
  let index: number = message.prevIndex;
  let term: number = message.prevTerm;
  for (const entry of message.entries) {
    index += 1;
    if (entry.index !== index || entry.term < term) {
      return false;
    }
    if (entry.type === "config" && decodeConfiguration(entry.payload) === null) {
      return false;
    }
    term = entry.term;
  }
  return term <= message.term;
}

type Asked = AppendEntries | Heartbeat | InstallSnapshot;

function refuseInQuarantine(core: Core, message: Asked): void {
  core.vote ??= message.from;
  promiseResult(core, message, { type: "quarantined" });
}

/** Acknowledges up to `matchIndex`; takes the place of a smaller acknowledgement that has not left yet. */
function promiseAccepted(core: Core, message: Asked, matchIndex: LogIndex): void {
  const last = core.promises.at(-1);
  if (last?.type === "AppendEntriesResponse" && last.result.type === "accepted") {
    if (last.to === message.from && last.result.matchIndex <= matchIndex) {
      core.promises.pop();
    }
  }
  promiseResult(core, message, { type: "accepted", matchIndex });
}

function promiseResult(core: Core, message: Asked, result: AppendEntriesResponse["result"]): void {
  promise(core, {
    type: "AppendEntriesResponse",
    from: core.id,
    to: message.from,
    term: core.term,
    result,
  });
}

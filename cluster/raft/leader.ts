import { assert, unreachable } from "../assert.ts";
import { LogIndex } from "../types.ts";
import type { Configuration, NodeId } from "../types.ts";
import { answerRead, becomeFollower, send, setConfiguration } from "./core.ts";
import type { Core } from "./core.ts";
import { encodeConfiguration, isJoint, isVoter, leaveJoint } from "./membership.ts";
import type {
  AppendEntriesResponse,
  HeartbeatResponse,
  Message,
  ReadIndex,
  RequestPreVote,
  RequestVote,
} from "./message.ts";
import { Progress } from "./progress.ts";
import { quorumVote } from "./quorum.ts";
import { ReadRounds } from "./read-index.ts";
import {
  advanceCommit,
  appendEntry,
  confirmRounds,
  hasCommittedInTerm,
  startRound,
} from "./replicate.ts";
import type { Leader } from "./role.ts";

/** What a leader does with the passing of time and with messages of its term. */

const noPayload = new Uint8Array(0);

/** The election is won: nothing is known of the others, and a no-op opens the term (thesis 6.4: reads wait for its commit). */
export function becomeLeader(core: Core): void {
  const { log, options } = core;
  assert(core.role.type === "candidate", "R2: only a candidate with a quorum of votes leads");
  assert(core.durableTerm === core.term, "R4: a leader's own vote is durable");
  const progress = new Map<NodeId, Progress>();
  const firstIndex = LogIndex(log.lastIndex + 1);
  for (const peer of core.peers) {
    progress.set(peer, new Progress(firstIndex, false, options));
  }
  const reads = new ReadRounds(options.pendingReadsMax);
  const leader: Leader = {
    type: "leader",
    progress,
    reads,
    matchOf: (member) =>
      member === core.id ? log.persistedIndex : (progress.get(member)?.matchIndex ?? 0),
    roundOf: (member) =>
      member === core.id ? reads.latest : (progress.get(member)?.ackedRound ?? 0),
    firstIndex,
    pendingConfigIndex: firstIndex,
    uncommittedBytes: 0,
    heartbeatElapsed: 0,
    quorumCheckElapsed: 0,
    transfer: null,
    isLeaseForfeited: false,
    isDirty: true,
  };
  core.role = leader;
  appendEntry(core, leader, "noop", noPayload);
}

/** Heartbeats, check-quorum, and the end of a transfer that did not happen. `isPaused`: the process has slept. */
export function tickLeader(core: Core, leader: Leader, ticks: number, isPaused: boolean): void {
  const { options } = core;
  if (isPaused) {
    leader.reads.dropLease();
  }
  if (leader.transfer !== null) {
    leader.transfer.elapsed += ticks;
    if (leader.transfer.elapsed >= options.electionTicks) {
      leader.transfer = null;
      leaveJointWhenDue(core, leader);
    }
  }
  leader.quorumCheckElapsed += ticks;
  if (leader.quorumCheckElapsed >= options.electionTicks) {
    leader.quorumCheckElapsed = 0;
    if (!hasActiveQuorum(core, leader)) {
      becomeFollower(core, core.term, null);
      return;
    }
  }
  leader.heartbeatElapsed += ticks;
  if (isPaused || leader.heartbeatElapsed >= options.heartbeatTicks) {
    startRound(core, leader);
  }
}

/** A leader of term T hears everything of term T except another leader. */
export function stepLeader(
  core: Core,
  leader: Leader,
  message: Exclude<Message, RequestPreVote | RequestVote>,
): void {
  switch (message.type) {
    case "AppendEntriesResponse":
      stepAppendEntriesResponse(core, leader, message);
      return;
    case "HeartbeatResponse":
      stepHeartbeatResponse(core, leader, message);
      return;
    case "ReadIndex":
      stepReadIndex(core, leader, message);
      return;
    case "AppendEntries":
    case "Heartbeat":
    case "CommitNotice":
    case "InstallSnapshot":
      assert(false, `R2: ${message.from} leads term ${message.term} of ${core.id}`);
    case "RequestPreVoteResponse":
    case "RequestVoteResponse":
    case "TimeoutNow":
    case "ReadIndexResponse":
      return;
    default:
      unreachable(message);
  }
}

/** Registers a read of this replica's host (`from` null) or of another; answered at once, with null, when too many wait. */
export function registerRead(
  core: Core,
  leader: Leader,
  read: { readonly from: NodeId | null; readonly context: number },
): void {
  if (leader.reads.add(read)) {
    leader.isDirty = true;
  } else {
    answerRead(core, read, null);
  }
}

/** An applied configuration: members come and go, quorums change, and a leader that is no voter any more leaves. */
export function changeConfiguration(core: Core, configuration: Configuration): void {
  setConfiguration(core, configuration);
  const leader = core.role;
  if (leader.type !== "leader") {
    return;
  }
  const known = new Map(leader.progress);
  leader.progress.clear();
  for (const peer of core.peers) {
    const newcomer = (): Progress =>
      new Progress(LogIndex(core.log.lastIndex + 1), true, core.options);
    leader.progress.set(peer, known.get(peer) ?? newcomer());
  }
  leader.isDirty = true;
  if (!isVoter(configuration, core.id)) {
    handOver(core, leader);
    becomeFollower(core, core.term, null);
    return;
  }
  if (leader.transfer !== null && !configuration.voters.includes(leader.transfer.target)) {
    leader.transfer = null;
  }
  advanceCommit(core, leader);
  confirmRounds(core, leader);
}

/** Joint consensus is only a passage: the leader proposes its end as soon as it is applied, also when another leader began it. */
export function leaveJointWhenDue(core: Core, leader: Leader): void {
  const { configuration, log } = core;
  const isDue = isJoint(configuration) && configuration.autoLeave;
  if (isDue && leader.transfer === null && log.appliedIndex >= leader.pendingConfigIndex) {
    const payload = encodeConfiguration(leaveJoint(configuration));
    leader.pendingConfigIndex = appendEntry(core, leader, "config", payload);
  }
}

/** Tells the target to campaign, once, when it has the whole log. */
export function continueTransfer(core: Core, leader: Leader): void {
  const { transfer } = leader;
  if (transfer === null || transfer.isTimeoutNowSent) {
    return;
  }
  const progress = leader.progress.get(transfer.target);
  if (progress !== undefined && progress.matchIndex === core.log.lastIndex) {
    transfer.isTimeoutNowSent = true;
    sendTimeoutNow(core, leader, transfer.target);
  }
}

function stepAppendEntriesResponse(
  core: Core,
  leader: Leader,
  message: AppendEntriesResponse,
): void {
  const { log } = core;
  const progress = leader.progress.get(message.from);
  if (progress === undefined) {
    return;
  }
  leader.isDirty = true;
  const { result } = message;
  if (result.type === "quarantined") {
    progress.becomeQuarantined();
    resumeAfterSnapshot(core, progress);
    return;
  }
  progress.hasAnswered = true;
  progress.isQuarantined = false;
  if (result.type === "rejected") {
    const agreement = log.findAgreement(result.hintIndex, result.hintTerm);
    progress.rejected(result.rejectedIndex, agreement);
    return;
  }
  if (result.matchIndex > log.lastIndex) {
    return;
  }
  const isNews = progress.accepted(result.matchIndex);
  const isFound = progress.state === "probe" && progress.matchIndex === result.matchIndex;
  const isRestored = progress.state === "snapshot" && progress.matchIndex >= log.compactedIndex;
  if (isFound || isRestored) {
    progress.becomeReplicate();
  }
  if (isNews) {
    advanceCommit(core, leader);
  }
  continueTransfer(core, leader);
}

function stepHeartbeatResponse(core: Core, leader: Leader, message: HeartbeatResponse): void {
  const progress = leader.progress.get(message.from);
  if (progress === undefined || message.round > leader.reads.latest) {
    return;
  }
  progress.hasAnswered = true;
  progress.isQuarantined = false;
  resumeAfterSnapshot(core, progress);
  progress.isPaused = false;
  if (progress.state === "probe" || progress.matchIndex < core.log.lastIndex) {
    progress.mustProbe = true;
    leader.isDirty = true;
  }
  if (message.round > progress.ackedRound) {
    progress.ackedRound = message.round;
    confirmRounds(core, leader);
    leader.isDirty = true;
  }
}

/** The bytes arrived long ago and the acknowledgement did not: find out by asking. */
function resumeAfterSnapshot(core: Core, progress: Progress): void {
  const { deliveredAt, snapshotIndex } = progress;
  if (deliveredAt !== null && core.clock - deliveredAt >= core.options.electionTicks) {
    progress.becomeProbe();
    progress.nextIndex = LogIndex(Math.max(progress.nextIndex, snapshotIndex + 1));
  }
}

/**
 * R11: a question counts as its sender's answer to a round that began with it. When it left, its sender was in this term, and this replica
 * still is: where the two are a quorum, nobody was elected in a later term before the read began, and nobody else need be asked.
 */
function stepReadIndex(core: Core, leader: Leader, message: ReadIndex): void {
  const read = { from: message.from, context: message.context };
  const areQuorum =
    quorumVote(core.configuration, (voter) => voter === core.id || voter === message.from) ===
    "won";
  if (areQuorum && hasCommittedInTerm(core, leader)) {
    answerRead(core, read, core.log.commitIndex);
  } else {
    registerRead(core, leader, read);
  }
}

/** Check-quorum (thesis 6.2): a leader that a quorum did not answer for an election timeout serves nobody. */
function hasActiveQuorum(core: Core, leader: Leader): boolean {
  const result = quorumVote(
    core.configuration,
    (voter) => voter === core.id || leader.progress.get(voter)?.hasAnswered === true,
  );
  for (const progress of leader.progress.values()) {
    progress.checked();
  }
  return result === "won";
}

/** The leader is leaving: whoever has most of the log, of the voters that are present, need not wait for a timeout. */
function handOver(core: Core, leader: Leader): void {
  let best: NodeId | null = null;
  let bestMatch = 0;
  for (const [member, progress] of leader.progress) {
    const isCandidate = core.configuration.voters.includes(member) && progress.isRecentlyActive;
    if (isCandidate && progress.matchIndex > bestMatch) {
      best = member;
      bestMatch = progress.matchIndex;
    }
  }
  if (best !== null) {
    sendTimeoutNow(core, leader, best);
  }
}

function sendTimeoutNow(core: Core, leader: Leader, to: NodeId): void {
  leader.isLeaseForfeited = true;
  send(core, { type: "TimeoutNow", from: core.id, to, term: core.term });
}

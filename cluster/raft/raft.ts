import { assert, unreachable } from "../assert.ts";
import type { Configuration, Entry, LogIndex, NodeId, Term } from "../types.ts";
import {
  answerPreVote,
  answerVote,
  becomePreCandidate,
  learnCommit,
  sendPreVote,
  stepCandidate,
} from "./candidate.ts";
import { isWellFormed } from "./accept.ts";
import {
  becomeFollower,
  createCore,
  isBoundToLeader,
  isSoleVoter,
  knownLeader,
  send,
} from "./core.ts";
import type { Core } from "./core.ts";
import {
  forwardRead,
  noteLeaderBack,
  noteLeaderGone,
  stepFollower,
  tickElection,
} from "./follower.ts";
import { askWhoKnows, isMissed, noteInformed } from "./leave.ts";
import { continueTransfer, registerRead, stepLeader, tickLeader } from "./leader.ts";
import type { CommitNotice, Message } from "./message.ts";
import { checkRaftOptions } from "./options.ts";
import type { RaftOptions, RestoredState } from "./options.ts";
import { finishWrite, hasOutput, takeReady } from "./output.ts";
import { proposeChange, proposePayloads } from "./propose.ts";
import { mayQuiesce, wakeUp } from "./quiesce.ts";
import type {
  ConfChange,
  ConfChangeResult,
  ProposeResult,
  Ready,
  UnreachableEvidence,
} from "./ready.ts";
import { commitNotices, hasCommittedInTerm, isCommitUntold, sendHeartbeats } from "./replicate.ts";
import type { Status } from "./status.ts";
import { describe } from "./describe.ts";

/** A gap of more ticks than this means that the process slept: what waits in its sockets may be news. */
const pauseTicks = 2;

/**
 * One replica of one Raft group. Synchronous and deterministic: nothing happens but by a call, and the outcome of a call is in the next
 * `ready()`. See README.md for the protocol and the numbered invariants, ready.ts for what the host owes.
 */
export class Raft {
  readonly #core: Core;

  constructor(options: RaftOptions, restored: RestoredState) {
    checkRaftOptions(options);
    this.#core = createCore(options, restored);
  }

  get id(): NodeId {
    return this.#core.id;
  }

  get term(): Term {
    return this.#core.term;
  }

  get role(): Status["role"] {
    return this.#core.role.type;
  }

  get isLeader(): boolean {
    return this.#core.role.type === "leader";
  }

  /** Who leads the current term, as far as this replica knows. */
  get leader(): NodeId | null {
    return knownLeader(this.#core);
  }

  get commitIndex(): LogIndex {
    return this.#core.log.commitIndex;
  }

  /** The last entry that was handed out in `Ready.committed`, or that a snapshot stands for. */
  get appliedIndex(): LogIndex {
    return this.#core.log.appliedIndex;
  }

  get lastIndex(): LogIndex {
    return this.#core.log.lastIndex;
  }

  get persistedIndex(): LogIndex {
    return this.#core.log.persistedIndex;
  }

  get compactedIndex(): LogIndex {
    return this.#core.log.compactedIndex;
  }

  /** The snapshot that takes the place of everything with the next write; null when there is none. */
  get incomingSnapshotIndex(): LogIndex | null {
    return this.#core.incomingSnapshot?.index ?? null;
  }

  /** The members as of `appliedIndex`. */
  get configuration(): Configuration {
    return this.#core.configuration;
  }

  get isQuiesced(): boolean {
    return this.#core.isQuiesced;
  }

  get isQuarantined(): boolean {
    return this.#core.isQuarantined;
  }

  /** Whether `ready()` would return anything. Cheap: hosts ask it for every group in every turn. */
  get hasReady(): boolean {
    return hasOutput(this.#core);
  }

  /** Null for an index that is compacted away or not there yet. */
  termAt(index: LogIndex): Term | null {
    return this.#core.log.termAt(index);
  }

  /** Entries `from` to `to`, both included, as far as they are in memory. */
  entriesBetween(from: LogIndex, to: LogIndex): readonly Entry[] {
    return this.#core.log.between(from, to);
  }

  /** Lets time pass. `elapsedTicks`: how many tick intervals really went by since the last call; more than 2 say that the process slept. */
  tick(elapsedTicks: number): void {
    assert(elapsedTicks >= 1, "a tick lasts at least one tick");
    const core = this.#core;
    const isPaused = elapsedTicks > pauseTicks;
    const ticks = isPaused ? 1 : elapsedTicks;
    core.clock += elapsedTicks;
    if (core.isQuiesced) {
      return;
    }
    if (core.role.type === "leader") {
      tickLeader(core, core.role, ticks, isPaused);
      return;
    }
    if (isPaused) {
      core.ticksToHold = pauseTicks + 1;
    }
    tickElection(core, ticks);
    core.ticksToHold = Math.max(0, core.ticksToHold - 1);
  }

  /** Takes in a message of another replica, whatever it is. */
  step(message: Message): void {
    const core = this.#core;
    if (message.to !== core.id || message.from === core.id) {
      return;
    }
    if (message.type === "AppendEntries" && !isWellFormed(message)) {
      return;
    }
    if (core.isQuiesced && isWaking(core, message)) {
      wakeUp(core);
    }
    if (message.type === "RequestPreVoteResponse") {
      learnCommit(core, message);
      noteInformed(core, message);
    }
    if (message.term < core.term) {
      answerOldTerm(core, message);
      return;
    }
    if (message.type === "RequestPreVote") {
      answerPreVote(core, message);
      return;
    }
    if (message.term > core.term && !enterTerm(core, message)) {
      return;
    }
    if (message.type === "RequestVote") {
      answerVote(core, message);
      return;
    }
    const { role } = core;
    switch (role.type) {
      case "follower":
        stepFollower(core, role, message);
        return;
      case "preCandidate":
      case "candidate":
        stepCandidate(core, role, message);
        return;
      case "leader":
        stepLeader(core, role, message);
        return;
      default:
        unreachable(role);
    }
  }

  /** Appends one entry per payload, if this replica leads; all of them or none. They are committed, or lost, later. */
  propose(payloads: readonly Uint8Array[]): ProposeResult {
    return proposePayloads(this.#core, payloads);
  }

  /** Starts a change of members. It is over when a configuration that is not joint is applied. */
  proposeConfChange(change: ConfChange): ConfChangeResult {
    return proposeChange(this.#core, change);
  }

  /** Hands leadership to a voter: proposals are refused until it has taken over, or for an election timeout. False if impossible now. */
  transferLeader(to: NodeId): boolean {
    const core = this.#core;
    const { role } = core;
    if (role.type !== "leader" || role.transfer !== null) {
      return false;
    }
    const progress = role.progress.get(to);
    if (
      progress === undefined ||
      progress.isQuarantined ||
      !core.configuration.voters.includes(to)
    ) {
      return false;
    }
    wakeUp(core);
    role.transfer = { target: to, elapsed: 0, isTimeoutNowSent: false };
    role.isDirty = true;
    continueTransfer(core, role);
    return true;
  }

  /** Asks for votes now, without waiting for the timeout. Ignored while a leader may count on this replica's silence. */
  campaign(): void {
    const core = this.#core;
    if (core.role.type === "follower" && (isSoleVoter(core) || !isBoundToLeader(core))) {
      wakeUp(core);
      becomePreCandidate(core);
    }
  }

  /** Asks for an index that is safe to read at; the answer is in a later `Ready.reads`, with this `context`. */
  readIndex(context: number): void {
    const core = this.#core;
    wakeUp(core);
    const { role } = core;
    if (role.type === "leader") {
      registerRead(core, role, { from: null, context });
    } else if (role.type === "follower") {
      forwardRead(core, role, context);
    } else {
      core.reads.push({ context, index: null });
    }
  }

  /** R12: an index that is safe to read at, at once, while the lease holds; null otherwise. Rests on bounded clock drift: see README.md. */
  leaseRead(): LogIndex | null {
    const { role, options, clock, isQuiesced, log } = this.#core;
    if (role.type !== "leader" || isQuiesced || !hasCommittedInTerm(this.#core, role)) {
      return null;
    }
    const { leaseStart } = role.reads;
    if (leaseStart === null || role.transfer !== null || role.isLeaseForfeited) {
      return null;
    }
    const leaseTicks = options.electionTicks - options.leaseMarginTicks;
    return clock - leaseStart < leaseTicks ? log.commitIndex : null;
  }

  /** A peer cannot be reached. What is in flight to it may be lost; if it leads and is `gone`, an election comes soon. */
  reportUnreachable(peer: NodeId, evidence: UnreachableEvidence): void {
    const core = this.#core;
    if (core.role.type === "leader") {
      const progress = core.role.progress.get(peer);
      if (progress?.state === "replicate") {
        progress.becomeProbe();
      }
    } else if (evidence === "gone" && core.contact.leader === peer) {
      wakeUp(core);
      noteLeaderGone(core);
    }
  }

  /** A peer can be reached: evidence against it is void. */
  reportReachable(peer: NodeId): void {
    const core = this.#core;
    if (core.contact.leader === peer) {
      noteLeaderBack(core);
    }
  }

  /** Every InstallSnapshot that left must be reported, once: its bytes have arrived, or did not. */
  reportSnapshot(peer: NodeId, outcome: "sent" | "failed"): void {
    const core = this.#core;
    const progress = core.role.type === "leader" ? core.role.progress.get(peer) : undefined;
    if (progress?.state !== "snapshot") {
      return;
    }
    if (outcome === "sent") {
      progress.deliveredAt = core.clock;
    } else {
      progress.becomeProbe();
      progress.isPaused = true;
    }
  }

  /** Forgets entries up to `index`, which must be applied and durable. */
  compact(index: LogIndex): void {
    this.#core.log.compact(index);
  }

  /** Falls silent if the whole group has nothing to say. False when it has, or when this replica does not lead. */
  quiesce(): boolean {
    const core = this.#core;
    const { role } = core;
    if (role.type !== "leader" || core.isQuiesced || !mayQuiesce(core, role)) {
      return false;
    }
    sendHeartbeats(core, role, true);
    role.reads.dropLease();
    core.isQuiesced = true;
    return true;
  }

  /** Ends the silence; a leader's heartbeat wakes the others. */
  wake(): void {
    wakeUp(this.#core);
  }

  /**
   * All there is to do since the last call. A host whose disk is busy passes false: then `write` is null and what is to be written stays
   * together for the next call.
   */
  ready(mayWrite = true): Ready {
    return takeReady(this.#core, mayWrite);
  }

  /** Whether `commitNotices` would return anything, to whatever members. */
  get isCommitUntold(): boolean {
    const { role } = this.#core;
    return role.type === "leader" && isCommitUntold(this.#core, role);
  }

  /**
   * What is committed, for members that lack nothing else and were not told yet. Beside `ready()`, because nobody waits for it but those
   * who watch a follower: a host sends it along with what goes to `isWanted` members anyway, and otherwise when it sees fit.
   */
  commitNotices(isWanted: (member: NodeId) => boolean): readonly CommitNotice[] {
    const { role } = this.#core;
    return role.type === "leader" ? commitNotices(this.#core, role, isWanted) : [];
  }

  /** The write of the last `Ready` that had one is durable, and its messages are sent. */
  advance(): void {
    finishWrite(this.#core);
  }

  /**
   * Whether this replica, which is no member any more, may be deleted; if not, asks those who decide, so that a later call knows more.
   *
   * @param successors voters that the group is to have, or has already, after the members known here
   */
  mayBeDeleted(successors: readonly NodeId[]): boolean {
    const core = this.#core;
    if (!isMissed(core, successors)) {
      return true;
    }
    askWhoKnows(core, successors);
    return false;
  }

  /** Changes the hint that others should lead: 0 for the preferred leader. */
  setElectionPriority(delayTicks: number): void {
    assert(delayTicks >= 0, "a delay must not be negative");
    this.#core.electionPriorityDelayTicks = delayTicks;
  }

  /** A copy of the state, for people and metrics; not for hot paths. */
  status(): Status {
    return describe(this.#core);
  }

  /** Lets a checker look inside, without changing anything. */
  inspect<T>(look: (core: Core) => T): T {
    return look(this.#core);
  }
}

/** Raft 5.1: a newer term is news. False when the message must not raise ours. */
function enterTerm(core: Core, message: Message): boolean {
  switch (message.type) {
    case "RequestPreVoteResponse":
      // A grant is made in the term that the vote would be for; a refusal tells the voter's own.
      if (!message.granted) {
        becomeFollower(core, message.term, null);
      }
      return true;
    case "RequestVote":
      // R10, R12: who must not vote, or protects a leader, does not follow the candidate into its term either.
      if (core.isQuarantined || (!message.isTransfer && isBoundToLeader(core))) {
        return false;
      }
      becomeFollower(core, message.term, null);
      return true;
    case "AppendEntries":
    case "Heartbeat":
    case "CommitNotice":
    case "InstallSnapshot":
      becomeFollower(core, message.term, message.from);
      return true;
    default:
      becomeFollower(core, message.term, null);
      return true;
  }
}

/** An old leader or candidate should learn that its time is over; everything else of an old term is noise. */
function answerOldTerm(core: Core, message: Message): void {
  const { id: from, term } = core;
  switch (message.type) {
    case "AppendEntries":
    case "Heartbeat":
      send(core, { type: "HeartbeatResponse", from, to: message.from, term, round: 0 });
      return;
    case "RequestPreVote":
      sendPreVote(core, message.from, term, false);
      return;
    default:
      return;
  }
}

/** Everything wakes a silent replica but what silence itself brings: the word to be silent, and what comes late. */
function isWaking(core: Core, message: Message): boolean {
  switch (message.type) {
    case "Heartbeat":
      return !message.quiesce;
    case "HeartbeatResponse":
    case "CommitNotice":
      return message.term > core.term;
    default:
      return true;
  }
}

import { assert } from "../assert.ts";
import { LogIndex, Term } from "../types.ts";
import type { Configuration, HardState, NodeId, SnapshotMetadata } from "../types.ts";
import { RaftLog } from "./log.ts";
import { isVoter, membersOf } from "./membership.ts";
import type { Message } from "./message.ts";
import type { RaftOptions, RestoredState } from "./options.ts";
import type { ReadState } from "./ready.ts";
import type { Follower, Role } from "./role.ts";

/** Fast elections after evidence that the leader is gone; then the ordinary timeout takes over. */
const fastAttemptsMax = 8;

/** The state of one replica. Internal to this folder: hosts see `Raft`, the role files work on this. */
export interface Core {
  readonly id: NodeId;
  readonly options: RaftOptions;
  readonly log: RaftLog;
  term: Term;
  vote: NodeId | null;
  role: Role;
  /** The members as of the applied index. */
  configuration: Configuration;
  /** All members but this replica, sorted. */
  peers: readonly NodeId[];
  /** Index of the last configuration that was applied from the log; 0 when there was none since the start. */
  configurationIndex: LogIndex;
  /** Who is known to have a durable commit index that is not below what was applied here. Begins anew with each configuration. */
  readonly informed: Set<NodeId>;
  isQuarantined: boolean;
  isQuiesced: boolean;
  /** Ticks that really passed, pauses included. Leases are measured by it. */
  clock: number;
  /** Ticks to let pass after a pause before this replica may campaign by itself. */
  ticksToHold: number;
  electionPriorityDelayTicks: number;
  readonly election: ElectionTimer;
  readonly contact: LeaderContact;
  /** Number of the next forwarded read on the wire. */
  nextReadNumber: number;
  /** Leave at once. */
  outbox: Message[];
  /** Leave when the next write is durable: votes and acknowledgements of this term. */
  promises: Message[];
  reads: ReadState[];
  /** A snapshot that the next write installs. */
  incomingSnapshot: SnapshotMetadata | null;
  /** The write that the host works on. */
  outstanding: OutstandingWrite | null;
  /** The hard state that was given to a write last. */
  written: HardState;
  /** The term that is durable. */
  durableTerm: Term;
  /** The commit index that is durable. */
  durableCommit: LogIndex;
}

/** Ticks since this replica campaigned, voted or heard a leader; at `timeout` it campaigns. */
export interface ElectionTimer {
  elapsed: number;
  timeout: number;
  /** Armed by evidence that the leader is gone: without the priority delay. */
  isFast: boolean;
}

/**
 * The promise that check-quorum and leases rest on: whoever heard a leader does not help to replace it for `electionTicks`, unless the
 * leader asked for it or is known to be gone. Outlives role and term, because the leader's lease does too.
 */
export interface LeaderContact {
  leader: NodeId | null;
  ticks: number;
  isGone: boolean;
  fastAttempts: number;
}

/** What the disk is busy with, and what will be true when it is done. */
export interface OutstandingWrite {
  readonly hardState: HardState;
  readonly lastIndex: LogIndex;
  readonly snapshot: SnapshotMetadata | null;
}

/** The state of a replica at its start: a follower that knows what the disk knew. */
export function createCore(options: RaftOptions, restored: RestoredState): Core {
  const { id } = options;
  const { hardState, configuration, isQuarantined } = restored;
  // R10: a quarantined replica has no log. Whatever is left of it proves nothing, and any snapshot replaces it.
  const log = new RaftLog(isQuarantined ? withoutLog(restored) : restored);
  const core: Core = {
    id,
    options,
    log,
    term: hardState.term,
    vote: hardState.vote,
    role: follower(null),
    configuration,
    peers: membersOf(configuration).filter((member) => member !== id),
    configurationIndex: LogIndex(0),
    informed: new Set(),
    isQuarantined,
    isQuiesced: false,
    clock: 0,
    ticksToHold: 0,
    electionPriorityDelayTicks: options.electionPriorityDelayTicks,
    election: { elapsed: 0, timeout: 0, isFast: false },
    // Before the restart this replica may have answered a leader that counts on its silence: it does not know, so it keeps still.
    contact: {
      leader: null,
      ticks: hardState.term > 0 ? 0 : options.electionTicks,
      isGone: false,
      fastAttempts: 0,
    },
    // Answers to questions from before a restart must not fit new ones.
    nextReadNumber: Math.floor(options.random() * 2 ** 32) * 2 ** 20,
    outbox: [],
    promises: [],
    reads: [],
    incomingSnapshot: null,
    outstanding: null,
    written: { term: hardState.term, vote: hardState.vote, commit: log.commitIndex },
    durableTerm: hardState.term,
    durableCommit: log.commitIndex,
  };
  armElectionTimer(core);
  return core;
}

function withoutLog(restored: RestoredState): RestoredState {
  return {
    ...restored,
    hardState: { ...restored.hardState, commit: LogIndex(0) },
    compactedIndex: LogIndex(0),
    compactedTerm: Term(0),
    entries: [],
    appliedIndex: LogIndex(0),
  };
}

/** A follower's state at the start of its role. */
export function follower(leader: NodeId | null): Follower {
  return { type: "follower", leader, isAskedToCampaign: false, forwardedReads: new Map() };
}

/** Sends at once. Only for what promises nothing that a crash could break. */
export function send(core: Core, message: Message): void {
  core.outbox.push(message);
}

/** Sends when the next write is durable. */
export function promise(core: Core, message: Message): void {
  core.promises.push(message);
}

/** Steps down, or follows somebody else. Reads of the old role are answered: ask again. */
export function becomeFollower(core: Core, term: Term, leader: NodeId | null): void {
  const previous = core.role;
  raiseTerm(core, term);
  abandonReads(core);
  core.role = follower(leader);
  if (previous.type === "leader") {
    // This replica was the leader that others wait for; it does not wait for itself.
    core.contact.leader = null;
    core.contact.ticks = core.options.electionTicks;
    core.contact.isGone = false;
  }
  if (previous.type !== "follower" || leader !== null) {
    armElectionTimer(core);
  }
}

/** R1, R2: a term never falls, and a new one starts without a vote. Promises of the old term that have not left are void. */
export function raiseTerm(core: Core, term: Term): void {
  assert(term >= core.term, "R1: a term never falls");
  if (term > core.term) {
    core.term = term;
    core.vote = null;
    core.promises = [];
  }
}

/** Restarts the election timer: quickly while the leader is known to be gone, else with the ordinary random timeout. */
export function armElectionTimer(core: Core): void {
  const { election, contact, options } = core;
  election.elapsed = 0;
  election.isFast = contact.isGone && contact.fastAttempts < fastAttemptsMax;
  if (election.isFast) {
    contact.fastAttempts += 1;
    // Later attempts wait longer: the answers may need more than a tick, and two that collided must drift apart.
    const attempts = contact.fastAttempts;
    const jitterTicks = (options.fastElectionJitterTicks + 1) * attempts;
    election.timeout = attempts + Math.floor(options.random() * jitterTicks);
  } else {
    election.timeout =
      options.electionTicks + Math.floor(options.random() * options.electionJitterTicks);
  }
}

/** A live leader of this term spoke. */
export function hearLeader(core: Core, leader: NodeId): void {
  const { role, contact } = core;
  assert(role.type === "follower", "R2: a term has one leader");
  assert(role.leader === null || role.leader === leader, "R2: a term has one leader");
  role.leader = leader;
  contact.leader = leader;
  contact.ticks = 0;
  core.election.elapsed = 0;
  if (contact.isGone) {
    contact.isGone = false;
    armElectionTimer(core);
  }
}

/** R12: whether this replica has to refuse votes because a leader may count on it. */
export function isBoundToLeader(core: Core): boolean {
  if (core.role.type === "leader") {
    return true;
  }
  return !core.contact.isGone && core.contact.ticks < core.options.electionTicks;
}

/** Whether nobody else has a vote: then there is nobody to protect, to ask, or to wait for. */
export function isSoleVoter(core: Core): boolean {
  const { voters, votersOutgoing } = core.configuration;
  return voters.length === 1 && voters[0] === core.id && votersOutgoing.length === 0;
}

/** Whether this replica may become a leader at all. */
export function isPromotable(core: Core): boolean {
  return (
    isVoter(core.configuration, core.id) &&
    !core.isQuarantined &&
    !isInstalling(core) &&
    // R9: its list of voters may be older than the one that the others decide by.
    !core.log.hasUnappliedConfiguration()
  );
}

/** Whether a snapshot is on its way to the disk: the log is about to be replaced. */
export function isInstalling(core: Core): boolean {
  return core.incomingSnapshot !== null || (core.outstanding?.snapshot ?? null) !== null;
}

/** Follows the members that an applied entry or a snapshot says. */
export function setConfiguration(core: Core, configuration: Configuration): void {
  core.configuration = configuration;
  core.informed.clear();
  core.peers = membersOf(configuration).filter((member) => member !== core.id);
}

/** Who leads, as far as this replica knows. */
export function knownLeader(core: Core): NodeId | null {
  switch (core.role.type) {
    case "leader":
      return core.id;
    case "follower":
      return core.role.leader;
    case "preCandidate":
    case "candidate":
      return null;
  }
}

/** Answers a read of this replica's host, or of another replica. */
export function answerRead(
  core: Core,
  read: { readonly from: NodeId | null; readonly context: number },
  index: LogIndex | null,
): void {
  const { from, context } = read;
  if (from === null) {
    core.reads.push({ context, index });
  } else {
    send(core, {
      type: "ReadIndexResponse",
      from: core.id,
      to: from,
      term: core.term,
      context,
      index,
    });
  }
}

/** The role ends: whoever waits for a read must ask again. */
export function abandonReads(core: Core): void {
  if (core.role.type === "leader") {
    for (const read of core.role.reads.drain()) {
      answerRead(core, read, null);
    }
  } else if (core.role.type === "follower") {
    for (const { context } of core.role.forwardedReads.values()) {
      answerRead(core, { from: null, context }, null);
    }
  }
}

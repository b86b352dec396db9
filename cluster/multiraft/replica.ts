import type { InstallSnapshot, Message } from "../raft/message.ts";
import type { RaftOptions } from "../raft/options.ts";
import { Raft } from "../raft/raft.ts";
import type { Ready, Write } from "../raft/ready.ts";
import type { Configuration, NodeId, Revision, ShardId } from "../types.ts";
import { LogIndex } from "../types.ts";
import { keepBytes } from "./kept-bytes.ts";
import type { MultiRaftLimits } from "./options.ts";
import { type ProposalDone, type ProposalLogged, Proposals } from "./proposals.ts";
import { type ReadDone, Reads } from "./reads.ts";
import { LogRetention } from "./retention.ts";
import { StateComparison } from "./state-comparison.ts";
import type { SnapshotWriter, StateMachine } from "./state-machine.ts";
import type { LogPart, RecoveredShard, TurnBatch } from "./store.ts";

/** What one pass over a replica has to send. */
export interface PumpResult {
  readonly messages: readonly Message[];
  /** Whether anything happened at all. */
  readonly didWork: boolean;
}

/** What a replica is made from: what the disk knew, and the machine that its log is applied to. */
export interface ReplicaOptions {
  readonly shard: ShardId;
  readonly raft: RaftOptions;
  readonly limits: MultiRaftLimits;
  readonly machine: StateMachine;
  readonly recovered: RecoveredShard;
  readonly encodePayload: (floor: Revision, commands: readonly Uint8Array[]) => Uint8Array;
  /** This replica's part of the node's bytes for applied log. */
  readonly retainedBytes: () => number;
  /** Called while it applies: the state is at `comparison.wantedIndex`. */
  readonly onComparable: (replica: Replica) => void;
  /** Called when a snapshot has taken the place of what was here, durably. */
  readonly onInstalled: () => void;
}

/** A snapshot whose bytes are on disk under a new generation and that Raft has been told of. */
interface StagedSnapshot {
  readonly index: LogIndex;
  readonly writer: SnapshotWriter;
}

/**
 * One shard on one node: its Raft group, its state machine, and everybody who waits for either. Does nothing by itself; the turn
 * loop (MultiRaft) pumps it, and the order of work in here is the contract of `Ready`.
 */
export class Replica {
  readonly shard: ShardId;
  readonly raft: Raft;
  readonly machine: StateMachine;
  readonly proposals: Proposals;
  readonly reads: Reads;
  readonly comparison: StateComparison;
  readonly #onComparable: ReplicaOptions["onComparable"];
  readonly #onInstalled: ReplicaOptions["onInstalled"];
  readonly #encodePayload: ReplicaOptions["encodePayload"];
  readonly #retention: LogRetention;
  #configuration: Configuration;
  /** Applied index that the last written batch holds: the log below it may be forgotten. */
  #durableApplied: LogIndex;
  #stagingApplied: LogIndex;
  #compacting: LogIndex | null = null;
  #staged: StagedSnapshot | null = null;
  #write: Write | null = null;
  #isStaging = false;
  /** Payload of the entries that were applied and are in no batch yet. */
  #unstagedBytes = 0;
  readonly #unstagedBytesMax: number;
  #isOutOfService = false;
  #isStopped = false;
  /** Ticks since anything but ticks happened here. */
  idleTicks = 0;

  constructor(options: ReplicaOptions) {
    const { recovered } = options;
    this.shard = options.shard;
    this.machine = options.machine;
    this.raft = new Raft(options.raft, recovered);
    this.proposals = new Proposals(options.limits);
    const start = Math.floor(options.raft.random() * contextStarts);
    this.reads = new Reads(options.limits.queuedReadsMax, start * contextsPerStart);
    this.comparison = new StateComparison(options.raft.id);
    this.#onComparable = options.onComparable;
    this.#onInstalled = options.onInstalled;
    this.#encodePayload = options.encodePayload;
    this.#retention = new LogRetention({
      retainedBytes: options.retainedBytes,
      retainedEntries: options.limits.retainedEntries,
    });
    for (const entry of recovered.entries) {
      if (entry.index <= recovered.appliedIndex) {
        this.#retention.applied(entry);
      }
    }
    this.#unstagedBytesMax = options.limits.unstagedBytesMax;
    this.#configuration = recovered.configuration;
    this.#durableApplied = recovered.appliedIndex;
    this.#stagingApplied = recovered.appliedIndex;
  }

  /** Queues a command for the next turn; false when the queue is full. */
  propose(command: Uint8Array, done: ProposalDone, logged: ProposalLogged | null = null): boolean {
    this.idleTicks = 0;
    return this.proposals.enqueue(command, done, logged);
  }

  /** Queues a linearizable read; false when too many wait. */
  read(done: ReadDone): boolean {
    this.idleTicks = 0;
    return this.reads.enqueue(done);
  }

  /** Turns the queued commands into entries. Called only when the disk is free, so that load makes entries larger. */
  proposeQueued(floor: Revision): void {
    if (this.proposals.queuedCount === 0) {
      return;
    }
    for (const group of this.proposals.takeGroups()) {
      const result = this.raft.propose([keepBytes(this.#encodePayload(floor, group.commands))]);
      if (result.type === "accepted") {
        this.proposals.wait(result.term, result.index, group.done);
        continue;
      }
      const reason = result.reason === "uncommitted_full" ? "overloaded" : "not_leader";
      this.proposals.refuse(reason, group.done);
    }
  }

  /**
   * Handles everything that Raft has ready, except the disk. `mayWrite` says that a batch is about to be built: then the part to
   * be written is taken too and handed to `fill`.
   */
  pump(nowMs: number, mayWrite: boolean): PumpResult {
    const question = this.reads.nextQuestion(nowMs);
    if (question !== null) {
      this.raft.readIndex(question);
    }
    if (!this.raft.hasReady) {
      return nothing;
    }
    const ready = this.raft.ready(mayWrite);
    if (ready.write !== null) {
      this.#write = ready.write;
    }
    this.#apply(ready);
    this.reads.answered(ready.reads);
    this.reads.applied(this.machine.appliedIndex);
    return { messages: ready.messages, didWork: true };
  }

  #apply(ready: Ready): void {
    for (const entry of ready.committed) {
      if (entry.type === "config") {
        this.#configuration = this.raft.configuration;
        // Snapshots are made of the durable state, and a new member needs one that knows of it.
        this.#unstagedBytes = Infinity;
      }
      const results = this.machine.apply(entry, this.#configuration);
      this.#retention.applied(entry);
      this.#unstagedBytes += entry.payload.length;
      this.proposals.applied(entry, results);
      if (entry.index === this.comparison.wantedIndex) {
        this.#onComparable(this);
      }
    }
  }

  /** Whether a batch would carry anything of this replica. */
  get hasWrite(): boolean {
    return this.#write !== null || this.machine.isDirty || this.#compactionIndex() !== null;
  }

  /**
   * Whether the batch cannot wait: it holds entries, a vote, a snapshot, or a lot of state. State that was applied can be applied again, and
   * is cheaper to write when more of it has come together.
   */
  get hasUrgentWrite(): boolean {
    return this.#write !== null || this.#isStateDue;
  }

  get #isStateDue(): boolean {
    return this.#unstagedBytes >= this.#unstagedBytesMax;
  }

  /** Puts this replica's part into the turn's batch. `flushesState`: what was applied goes with it, however little. */
  fill(batch: TurnBatch, flushesState: boolean): void {
    const write = this.#write;
    if (write?.snapshot) {
      this.#installStaged(batch, write.snapshot.index);
      batch.resetLog(this.shard, write.snapshot);
    }
    if (write?.hardState) {
      batch.setHardState(this.shard, write.hardState);
    }
    if (write !== null && write.entries.length > 0) {
      batch.append(this.shard, write.entries);
    }
    if (this.machine.isDirty && (flushesState || this.#isStateDue) && !write?.snapshot) {
      this.machine.stage(batch);
      this.#isStaging = true;
      this.#stagingApplied = this.machine.appliedIndex;
      this.#unstagedBytes = 0;
    }
    const compaction = write?.snapshot ? null : this.#compactionIndex();
    if (compaction !== null) {
      const term = this.raft.termAt(compaction);
      if (term !== null) {
        batch.compact(this.shard, compaction, term);
        this.#compacting = compaction;
      }
    }
  }

  /** Puts a part of the log that is durable already into the batch once more, as the store has asked; after `fill`, if this turn fills. */
  repeat(batch: TurnBatch, { first, last }: LogPart): void {
    const gone = this.#compacting ?? this.raft.compactedIndex;
    const isInLog = first > gone && last <= this.raft.persistedIndex;
    if (!this.#write?.snapshot && (isInLog || last < first)) {
      batch.repeat(this.shard, this.raft.entriesBetween(LogIndex(first), LogIndex(last)));
    }
  }

  /** The batch of the last `fill` is on disk: returns the promises that may be given now. */
  written(): readonly Message[] {
    const write = this.#write;
    this.#write = null;
    if (this.#isStaging || write?.snapshot) {
      this.#isStaging = false;
      this.machine.staged();
    }
    this.#durableApplied = this.#stagingApplied;
    if (this.#compacting !== null) {
      this.raft.compact(this.#compacting);
      this.#compacting = null;
    }
    if (write === null) {
      return [];
    }
    this.raft.advance();
    if (write.snapshot) {
      this.#configuration = write.snapshot.configuration;
      this.#durableApplied = write.snapshot.index;
      this.#stagingApplied = write.snapshot.index;
      this.#unstagedBytes = 0;
      this.#retention.reset();
      this.comparison.clear();
      this.proposals.skippedTo(write.snapshot.index);
      this.#onInstalled();
    }
    return write.messages;
  }

  /** The log up to here is in the durable state and old enough to be forgotten; null when there is nothing to forget. */
  #compactionIndex(): LogIndex | null {
    const index = this.#retention.compactableIndex;
    const isUseful = index > this.raft.compactedIndex && index <= this.#durableApplied;
    return isUseful ? index : null;
  }

  /**
   * A snapshot lies staged beside the state. Raft decides whether it is wanted: if so the next batch installs it, in place of an earlier one
   * that was waiting for the disk; if not, because it is no news or its term is over, it is thrown away.
   */
  offerSnapshot(message: InstallSnapshot, writer: SnapshotWriter): void {
    if (!this.#isStopped) {
      this.raft.step(message);
    }
    const { index } = message.snapshot;
    if (this.#isStopped || this.raft.incomingSnapshotIndex !== index) {
      writer.abort().catch(() => {});
      return;
    }
    this.#staged?.writer.abort().catch(() => {});
    this.#staged = { index, writer };
  }

  #installStaged(batch: TurnBatch, index: LogIndex): void {
    const staged = this.#staged;
    if (staged === null || staged.index !== index) {
      throw new Error(
        `shard ${this.shard}: raft installs a snapshot at ${index} that is not staged`,
      );
    }
    this.#staged = null;
    this.machine.install(batch, staged.writer);
  }

  /**
   * What this replica holds is not what it should hold: whoever waits is answered, and nobody is served any more. Its vote and its log are as
   * good as ever.
   */
  leaveService(): void {
    this.#isOutOfService = true;
    this.proposals.stop();
    this.reads.stop();
  }

  get isOutOfService(): boolean {
    return this.#isOutOfService;
  }

  /** Nothing that it does counts any more. */
  get isStopped(): boolean {
    return this.#isStopped;
  }

  /** Answers everybody who waits. */
  stop(): void {
    this.#isStopped = true;
    this.proposals.stop();
    this.reads.stop();
    this.#staged?.writer.abort().catch(() => {});
    this.#staged = null;
  }

  /** Whether this replica may serve: it hears from its group, has its log, and nobody has found its state wrong. */
  get takesPart(): boolean {
    return !this.raft.isQuarantined && !this.#isOutOfService && this.isMember;
  }

  /** Whether this replica belongs to its group, as far as it has applied. */
  get isMember(): boolean {
    const { configuration, id } = this.raft;
    const { voters, votersOutgoing, learners } = configuration;
    return [voters, votersOutgoing, learners].some((ids) => ids.includes(id));
  }

  /** Members other than this one, in a stable order. */
  otherMembers(): readonly NodeId[] {
    const { voters, votersOutgoing, learners } = this.raft.configuration;
    return [...new Set([...voters, ...votersOutgoing, ...learners])].filter(
      (id) => id !== this.raft.id,
    );
  }
}

/** Two starts of a replica are given the same contexts once in a million times. */
const contextStarts = 2 ** 20;
const contextsPerStart = 2 ** 32;

const nothing: PumpResult = { messages: [], didWork: false };

import type { NodeId, Revision, ShardId } from "../types.ts";
import { LogIndex, Revision as toRevision } from "../types.ts";
import { CommitNotices } from "./commit-notices.ts";
import type { MultiRaftOptions, NewReplica } from "./options.ts";
import { Outbox } from "./outbox.ts";
import type { Replica } from "./replica.ts";
import type { ForwardRequest } from "./transport.ts";

/** What the loop needs from the owner of the replicas. */
export interface TurnHost {
  readonly options: MultiRaftOptions;
  /** The replica of a shard on this node, or null. */
  replica(shard: ShardId): Replica | null;
  /** The created shards are on disk: make replicas of them. */
  created(replicas: readonly NewReplica[]): void;
  /** Raft wants a peer to have a snapshot. */
  sendSnapshot(replica: Replica, to: NodeId): void;
  /** The transport could not take these requests. */
  undeliverable(to: NodeId, request: ForwardRequest): void;
  /** After a replica was pumped: its leader or term may have changed. */
  pumped(replica: Replica): void;
  readonly epoch: number;
}

/**
 * The turn: one loop per node, one write in flight.
 *
 * Input (messages, commands, reads, ticks) only marks replicas; a turn then handles all of them together: sends a leader's entries
 * at once, applies what is committed and answers its clients, and puts everything that must be durable, of all groups, into one
 * batch. While that batch is on its way to the disk, further turns run without the write part: reads, commits and messages flow,
 * new commands queue up. So load makes batches larger, not the queue longer.
 */
export class TurnLoop {
  readonly outbox = new Outbox();
  readonly #host: TurnHost;
  readonly #notices: CommitNotices;
  readonly #dirty = new Set<Replica>();
  /** Pumped while the disk was busy: they have their say again when it is free. */
  readonly #waitingForDisk = new Set<Replica>();
  /** They have something to write that nobody waits for, such as state that was applied. Who has waited longest comes first. */
  readonly #unhurried = new Set<Replica>();
  /** Those of them whose turn it is: the next batch takes all they have. */
  #flushing = new Set<Replica>();
  #creating: NewReplica[] = [];
  #removing: ShardId[] = [];
  #floor = toRevision(0);
  #isScheduled = false;
  /** Whether anything has come in since the last look. */
  #hasNews = false;
  #looksLeft = 0;
  #firstLookMs = 0;
  #isStopped = false;
  #writeStartedMs: number | null = null;
  #idle: (() => void)[] = [];

  constructor(host: TurnHost) {
    this.#host = host;
    this.#notices = new CommitNotices({
      outbox: this.outbox,
      after: host.options.after,
      schedule: () => this.schedule(),
    });
  }

  /** The largest revision that this node has heard of. */
  get floor(): Revision {
    return this.#floor;
  }

  raiseFloor(seen: Revision): void {
    if (seen > this.#floor) {
      this.#floor = seen;
    }
  }

  /** How long the present batch has been on its way, or 0. */
  writeAgeMs(nowMs: number): number {
    return this.#writeStartedMs === null ? 0 : nowMs - this.#writeStartedMs;
  }

  /** The replica has something to do: the next turn looks at it. */
  mark(replica: Replica): void {
    this.#dirty.add(replica);
    this.schedule();
  }

  /**
   * A tick has passed: some of the replicas whose applied state waits to be written have it written, each of them within a few dozen
   * ticks. Seldom, because some rows change with every command and are written once for all of them; in turn, because a batch of all
   * replicas' state would hold up those who wait for theirs.
   */
  flushState(): void {
    const count = Math.ceil(this.#unhurried.size / flushTicks);
    for (const replica of [...this.#unhurried].slice(0, count)) {
      this.#unhurried.delete(replica);
      this.#flushing.add(replica);
      this.schedule();
    }
  }

  /** Runs a turn soon: when a look at what comes in brings nothing new, and after some looks or some time in any case. */
  schedule(): void {
    this.#hasNews = true;
    if (this.#isScheduled || this.#isStopped) {
      return;
    }
    this.#isScheduled = true;
    this.#looksLeft = looksMax;
    this.#firstLookMs = this.#host.options.clock();
    this.#look();
  }

  #look(): void {
    this.#host.options.schedule(() => {
      if (this.#hasNews && this.#looksLeft > 0 && !this.#areLooksSlow()) {
        this.#hasNews = false;
        this.#looksLeft -= 1;
        this.#look();
        return;
      }
      this.#isScheduled = false;
      this.#runGuarded();
    });
  }

  #areLooksSlow(): boolean {
    return this.#host.options.clock() - this.#firstLookMs > lookMsMax;
  }

  create(replica: NewReplica): void {
    this.#creating.push(replica);
    this.schedule();
  }

  remove(replica: Replica): void {
    this.#dirty.delete(replica);
    this.#waitingForDisk.delete(replica);
    this.#unhurried.delete(replica);
    this.#flushing.delete(replica);
    this.#notices.remove(replica);
    this.#removing.push(replica.shard);
    this.schedule();
  }

  /** Takes no more turns; resolves when the batch in flight has ended. */
  stop(): Promise<void> {
    this.#isStopped = true;
    this.#notices.stop();
    if (this.#writeStartedMs === null) {
      return Promise.resolve();
    }
    return new Promise((resolve) => this.#idle.push(resolve));
  }

  #runGuarded(): void {
    if (this.#isStopped) {
      return;
    }
    try {
      this.#run();
    } catch (error) {
      this.fail(error);
    }
  }

  #run(): void {
    const mayWrite = this.#writeStartedMs === null;
    const replicas = [...this.#dirty];
    this.#dirty.clear();
    for (const replica of replicas) {
      if (mayWrite) {
        replica.proposeQueued(this.#floor);
      }
      this.#pump(replica, mayWrite);
    }
    this.#notices.collect(mayWrite);
    // What others wait for leaves before our own disk is asked: replication runs beside the write.
    this.flush();
    if (mayWrite) {
      this.#write(replicas);
    } else {
      for (const replica of replicas) {
        this.#waitingForDisk.add(replica);
      }
    }
  }

  #pump(replica: Replica, mayWrite: boolean): void {
    const result = replica.pump(this.#host.options.clock(), mayWrite);
    for (const message of result.messages) {
      if (message.type === "InstallSnapshot") {
        this.#host.sendSnapshot(replica, message.to);
      } else {
        this.outbox.addMessage(replica.shard, message);
      }
    }
    this.raiseFloor(replica.machine.revision);
    if (result.didWork) {
      this.#host.pumped(replica);
      this.#notices.pumped(replica);
      if (mayWrite && replica.raft.hasReady) {
        this.mark(replica);
      }
    }
  }

  #write(candidates: readonly Replica[]): void {
    for (const replica of candidates) {
      if (replica.hasWrite && !this.#flushing.has(replica)) {
        this.#unhurried.add(replica);
      }
    }
    const flushing = this.#flushing;
    this.#flushing = new Set();
    const replicas = [
      ...[...flushing].filter((replica) => replica.hasWrite),
      ...candidates.filter((replica) => replica.hasUrgentWrite && !flushing.has(replica)),
    ];
    if (replicas.length === 0 && this.#creating.length === 0 && this.#removing.length === 0) {
      return;
    }
    const { clock, store, events } = this.#host.options;
    const batch = store.batch();
    for (const replica of replicas) {
      replica.fill(batch, flushing.has(replica));
    }
    const outdated = store.outdated();
    if (outdated !== null) {
      this.#host.replica(outdated.shard)?.repeat(batch, outdated);
    }
    const created = this.#creating;
    this.#creating = [];
    // A shard that left and came back within one turn is in both lists: its old replica goes first.
    for (const shard of this.#removing) {
      batch.removeShard(shard);
    }
    this.#removing = [];
    for (const { shard, configuration, isQuarantined, term } of created) {
      batch.createShard(shard, configuration, isQuarantined);
      if (term !== undefined) {
        batch.setHardState(shard, { term, vote: null, commit: LogIndex(0) });
      }
    }
    const startedMs = clock();
    this.#writeStartedMs = startedMs;
    batch.write().then(
      () => {
        events.onWrite(clock() - startedMs, batch.entryCount);
        this.#written(replicas, created);
      },
      (error: unknown) => this.fail(error),
    );
  }

  /** The batch is on disk: give the promises that waited for it, and take the next turn soon. */
  #written(replicas: readonly Replica[], created: readonly NewReplica[]): void {
    this.#writeStartedMs = null;
    try {
      for (const replica of replicas) {
        if (replica.isStopped) {
          continue;
        }
        for (const message of replica.written()) {
          this.outbox.addMessage(replica.shard, message);
        }
        this.#dirty.add(replica);
      }
      for (const replica of this.#waitingForDisk) {
        this.#dirty.add(replica);
      }
      this.#waitingForDisk.clear();
      if (created.length > 0) {
        this.#host.created(created);
      }
    } catch (error) {
      this.fail(error);
      return;
    }
    if (this.#isStopped) {
      this.#settle();
      return;
    }
    this.schedule();
  }

  /** Sends what the outbox holds. */
  flush(): void {
    const { transport, clock } = this.#host.options;
    const header = { floor: this.#floor, epoch: this.#host.epoch, nowMs: clock() };
    for (const { to, request } of this.outbox.flush(transport, header)) {
      this.#host.undeliverable(to, request);
    }
  }

  /** First failure: no more turns, so nothing more is acknowledged, voted or sent. */
  fail(error: unknown): void {
    const isFirst = !this.#isStopped;
    this.#isStopped = true;
    this.#notices.stop();
    this.#writeStartedMs = null;
    this.#settle();
    if (isFirst) {
      const failure = error instanceof Error ? error : new Error(String(error));
      this.#host.options.events.onFatal(failure);
    }
  }

  #settle(): void {
    for (const resolve of this.#idle.splice(0)) {
      resolve();
    }
  }
}

/**
 * A look at the event loop costs microseconds, a turn hundreds, whether it is for one message or for ten: under load there is always more to
 * come, and so many looks gather most of what a turn can have.
 */
const looksMax = 10;

/**
 * Where the event loop has other work, such as refusing hundreds of requests, a look takes as long as all of that: then what has come in has
 * waited enough.
 */
const lookMsMax = 10;

/** Of the replicas that wait to have their state written, one of so many has it written with a tick. */
const flushTicks = 10;

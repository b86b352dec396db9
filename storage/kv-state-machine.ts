import { assert, unreachable } from "../cluster/assert.ts";
import type {
  SnapshotReader,
  SnapshotWriter,
  StateMachine,
} from "../cluster/multiraft/state-machine.ts";
import type { TurnBatch } from "../cluster/multiraft/store.ts";
import type { Configuration, Entry, LogIndex, ShardId } from "../cluster/types.ts";
import { Revision } from "../cluster/types.ts";
import { ChangeHistory, type ChangeHistoryLimits } from "./change-history.ts";
import { decodeCommandEnvelope } from "./command-codec.ts";
import type {
  ChangeEvent,
  Command,
  CommandEnvelope,
  CommandResult,
  TtlCheckpointCommand,
} from "./commands.ts";
import type { Database } from "./database.ts";
import { type DeadlineOptions, Deadlines } from "./deadlines.ts";
import { decodeEntryPayload } from "./entry-payload.ts";
import { Idempotency } from "./idempotency.ts";
import { KeyCommands } from "./key-commands.ts";
import { KeyQueries } from "./key-queries.ts";
import { KeyTable } from "./key-table.ts";
import { restoreDeadlines } from "./deadline-restore.ts";
import { LockTable } from "./locks.ts";
import type { DatabaseLogStore } from "./log-store.ts";
import { asReplayed, encodeOutcome } from "./outcome-codec.ts";
import type { LiveRecord, Query, QueryResult } from "./queries.ts";
import type { RowCache } from "./row-cache.ts";
import { Sessions } from "./sessions.ts";
import { createSnapshotReader } from "./snapshot-reader.ts";
import { SnapshotReceiver } from "./snapshot-receiver.ts";
import type { StateLimits } from "./state-limits.ts";
import { StateStore } from "./state-store.ts";
import { storageBatch } from "./turn-batch.ts";

/** What the state machine of a data shard needs from outside. */
export interface KvStateMachineOptions {
  readonly database: Database;
  /** Hands out generations for received snapshots. */
  readonly store: DatabaseLogStore;
  /** Shared by all state machines of the node; null: every look-up asks the database. */
  readonly rowCache: RowCache | null;
  readonly shard: ShardId;
  readonly limits: StateLimits;
  readonly deadlines: DeadlineOptions;
  readonly history: ChangeHistoryLimits;
  /** Told of an entry's changes, if it made any, right after it was applied. Must not throw. */
  readonly onChanges: (index: LogIndex, events: readonly ChangeEvent[]) => void;
  /**
   * Told when a snapshot has taken the place of the state: the changes between `index`, the last entry that was applied, and the snapshot
   * are not told here. Must not throw.
   */
  readonly onReplaced?: (index: LogIndex) => void;
  /** Told when a key's time to live has ended it, as applied here. Must not throw. */
  readonly onExpired?: () => void;
}

/**
 * State machine of a data shard: keys, locks, retries, time to live. Decodes entries, keeps retries from being applied twice and
 * hands commands to the tables; what the commands mean is told in key-commands.ts and locks.ts.
 */
export class KvStateMachine implements StateMachine {
  readonly shard: ShardId;
  readonly history: ChangeHistory;
  readonly #options: KvStateMachineOptions;
  readonly #state: StateStore;
  readonly #deadlines: Deadlines;
  readonly #keys: KeyTable;
  readonly #locks: LockTable;
  readonly #keyCommands: KeyCommands;
  readonly #queries: KeyQueries;
  readonly #sessions: Sessions;
  readonly #idempotency: Idempotency;
  /** Lamport floor of the entry that is being applied. */
  #floor = Revision(0);
  #restores = 0;
  #restoring: Promise<void> = Promise.resolve();
  #restoreFailure: Error | null = null;

  /** Opens the state as the database has it: see `StateStore`. Deadlines are read in the background. */
  constructor(options: KvStateMachineOptions) {
    const { database, rowCache, shard, limits } = options;
    this.shard = shard;
    this.#options = options;
    const store = new StateStore(database, shard, rowCache);
    const deadlines = new Deadlines(options.deadlines);
    const nextRevision = (): Revision => store.nextRevision(this.#floor);
    const revision = (): Revision => store.revision;
    const keys = new KeyTable(store, deadlines);
    const locks = new LockTable({ store, deadlines, nextRevision });
    this.#state = store;
    this.#deadlines = deadlines;
    this.#keys = keys;
    this.#locks = locks;
    const { transactionAnswerBytesMax } = limits;
    this.#keyCommands = new KeyCommands({
      keys,
      locks,
      nextRevision,
      revision,
      transactionAnswerBytesMax,
    });
    this.#queries = new KeyQueries({ store, keys, locks });
    this.#sessions = new Sessions(store, limits);
    this.#idempotency = new Idempotency(store, limits);
    this.history = new ChangeHistory(options.history, store.appliedIndex);
    this.#restoreDeadlines();
  }

  get appliedIndex(): LogIndex {
    return this.#state.appliedIndex;
  }

  get revision(): Revision {
    return this.#state.revision;
  }

  get digest(): string {
    this.#flush();
    return this.#state.digest;
  }

  get isDirty(): boolean {
    return this.#state.isDirty;
  }

  /** Records with a time to live that this replica keeps time for. */
  get deadlineCount(): number {
    return this.#deadlines.size;
  }

  apply(entry: Entry, configuration: Configuration): readonly Uint8Array[] {
    this.#state.advance(entry, configuration);
    const results = entry.type === "command" ? this.#applyPayload(entry) : [];
    this.#idempotency.trim(entry.index);
    const events = this.#keys.takeEvents();
    if (events.length > 0) {
      this.history.add(entry.index, events);
      this.#options.onChanges(entry.index, events);
    }
    return results;
  }

  stage(batch: TurnBatch): void {
    this.#flush();
    this.#state.stage(storageBatch(batch));
  }

  staged(): void {
    const lastApplied = this.#state.appliedIndex;
    if (this.#state.staged()) {
      this.#sessions.reload();
      this.#idempotency.reload();
      this.#deadlines.clear();
      this.history.reset(this.#state.appliedIndex);
      this.#restoreDeadlines();
      this.#options.onReplaced?.(lastApplied);
    }
  }

  dueCommands(limit: number): readonly Uint8Array[] {
    if (this.#restoreFailure !== null) {
      throw this.#restoreFailure;
    }
    return this.#deadlines.due(limit);
  }

  snapshot(): SnapshotReader {
    return createSnapshotReader(this.#options.database, this.shard);
  }

  receiveSnapshot(): SnapshotWriter {
    const { database, store } = this.#options;
    return new SnapshotReceiver(database, store, this.shard);
  }

  install(batch: TurnBatch, received: SnapshotWriter): void {
    assert(received instanceof SnapshotReceiver, "a snapshot is installed where it was received");
    this.#state.install(storageBatch(batch), received);
  }

  collectGarbage(): Promise<void> {
    return this.#options.store.collectGarbage();
  }

  /** What the key holds as of `appliedIndex`: synchronous, microseconds. */
  get(key: Uint8Array): LiveRecord | null {
    return this.#queries.get(key);
  }

  /** Answers as of `appliedIndex` at the time of the call; a promise for scans only. */
  query(query: Query): QueryResult | Promise<QueryResult> {
    return this.#queries.query(query);
  }

  /** The digest from all of the state anew; equals `digest` at the time of the call. */
  recomputeDigest(): Promise<string> {
    this.#flush();
    return this.#state.recomputeDigest();
  }

  /** Resolves when the deadlines of the opened state are known. */
  deadlinesRestored(): Promise<void> {
    return this.#restoring;
  }

  #applyPayload(entry: Entry): readonly Uint8Array[] {
    const { floor, commands } = decodeEntryPayload(entry.payload);
    this.#floor = floor;
    return commands.map((bytes) => this.#run(decodeCommandEnvelope(bytes), entry.index));
  }

  /** Applies a command once, however often it is asked. */
  #run(envelope: CommandEnvelope, index: LogIndex): Uint8Array {
    const { request, idempotency } = envelope;
    if (request !== null) {
      const known = this.#sessions.begin(request, index);
      if (known.type === "answered") {
        return asReplayed(known.outcome);
      }
      if (known.type === "stale") {
        return this.#outcome({ type: "stale_request" });
      }
    }
    const outcome =
      idempotency === null ? this.#execute(envelope.command) : this.#once(envelope, index);
    if (request !== null) {
      this.#sessions.record(request, this.#keptAnswer(outcome));
    }
    return outcome;
  }

  #once({ idempotency, command }: CommandEnvelope, index: LogIndex): Uint8Array {
    assert(idempotency !== null, "only a command with an idempotency key is looked up by it");
    const known = this.#idempotency.find(idempotency);
    if (known.type === "answered") {
      return asReplayed(known.outcome);
    }
    if (known.type === "mismatch") {
      return this.#outcome({ type: "idempotency_mismatch" });
    }
    const outcome = this.#execute(command);
    this.#idempotency.record(idempotency, this.#keptAnswer(outcome), index);
    return outcome;
  }

  #keptAnswer(outcome: Uint8Array): Uint8Array {
    return outcome.length <= this.#options.limits.answerBytesMax
      ? outcome
      : this.#outcome({ type: "answer_not_kept" });
  }

  #execute(command: Command): Uint8Array {
    return this.#outcome(this.#result(command));
  }

  #outcome(result: CommandResult): Uint8Array {
    return encodeOutcome({ result, revision: this.#state.revision, replayed: false });
  }

  #result(command: Command): CommandResult {
    switch (command.type) {
      case "put":
        return this.#keyCommands.put(command);
      case "delete":
        return this.#keyCommands.delete(command);
      case "increment":
        return this.#keyCommands.increment(command);
      case "append":
        return this.#keyCommands.append(command);
      case "touch":
        return this.#keyCommands.touch(command);
      case "transaction":
        return this.#keyCommands.transaction(command);
      case "lock_acquire":
        return this.#locks.acquire(command);
      case "lock_keep_alive":
        return this.#locks.keepAlive(command);
      case "lock_release":
        return this.#locks.release(command);
      case "expire":
        this.#expire(command);
        return { type: "done" };
      case "ttl_checkpoint":
        command.remaining.forEach((remaining) => this.#checkpoint(remaining));
        return { type: "done" };
      default:
        return unreachable(command);
    }
  }

  #expire(command: Extract<Command, { type: "expire" }>): void {
    const { kind, key, owner, deadlineRevision } = command;
    if (kind !== "key") {
      this.#locks.expire(kind, key, owner, deadlineRevision);
    } else if (this.#keyCommands.expire(key, deadlineRevision)) {
      this.#options.onExpired?.();
    } else {
      this.#deadlines.removeStale({ kind, key, owner }, deadlineRevision);
    }
  }

  #checkpoint(checkpoint: TtlCheckpointCommand["remaining"][number]): void {
    const { kind, key, owner, deadlineRevision: revision, remainingMs } = checkpoint;
    if (kind === "key") {
      this.#keys.checkpoint(key, revision, remainingMs);
    } else {
      this.#locks.checkpoint({ kind, name: key, owner, revision, remainingMs });
    }
  }

  /** Puts what the tables hold in memory into the overlay. */
  #flush(): void {
    this.#sessions.flush();
    this.#idempotency.flush();
  }

  #restoreDeadlines(): void {
    this.#restores += 1;
    const own = this.#restores;
    this.#restoreFailure = null;
    const isCurrent = (): boolean => own === this.#restores;
    const restoring = restoreDeadlines(this.#state, this.#deadlines, isCurrent);
    this.#restoring = restoring.catch((error: unknown) => {
      this.#restoreFailure = new Error("reading the deadlines of the state failed", {
        cause: error,
      });
    });
  }
}

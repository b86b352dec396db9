import assert from "node:assert/strict";
import type { Configuration, Entry, EntryType, LogIndex as Index } from "../../cluster/types.ts";
import { LogIndex, NodeId, Revision, ShardId, Term } from "../../cluster/types.ts";
import { decodeCommandEnvelope, encodeCommandEnvelope } from "../../storage/command-codec.ts";
import type {
  ChangeEvent,
  Command,
  CommandEnvelope,
  CommandOutcome,
  CommandResult,
} from "../../storage/commands.ts";
import type { Database } from "../../storage/database.ts";
import type { DeadlineOptions } from "../../storage/deadlines.ts";
import { encodeEntryPayload } from "../../storage/entry-payload.ts";
import { KvStateMachine } from "../../storage/kv-state-machine.ts";
import { appliedKey, prefixRange, stateKeyTail, statePrefix } from "../../storage/keys.ts";
import { decodeAppliedRecord } from "../../storage/applied-record.ts";
import { DatabaseLogStore } from "../../storage/log-store.ts";
import { MemoryDatabase } from "../../storage/memory-database.ts";
import { decodeOutcome } from "../../storage/outcome-codec.ts";
import { RowCache } from "../../storage/row-cache.ts";
import { stateLimits, type StateLimits } from "../../storage/state-limits.ts";

export const shard = ShardId(3);
const term = Term(1);

export const configuration: Configuration = {
  voters: [NodeId("n1")],
  votersOutgoing: [],
  learners: [],
  learnersNext: [],
  autoLeave: false,
};

export interface HarnessOptions {
  readonly limits?: Partial<StateLimits>;
  readonly deadlines?: Partial<DeadlineOptions>;
}

/** A data shard without Raft: entries are applied as soon as they are made. The clock stands still unless it is moved. */
export class ShardHarness {
  readonly database: Database;
  readonly #options: HarnessOptions;
  #store: DatabaseLogStore;
  #machine: KvStateMachine;
  #index: number;
  #unlogged: Entry[] = [];
  nowMs = 0;
  readonly changes: { readonly index: Index; readonly events: readonly ChangeEvent[] }[] = [];

  private constructor(database: Database, store: DatabaseLogStore, options: HarnessOptions) {
    this.database = database;
    this.#options = options;
    this.#store = store;
    this.#machine = this.#newMachine();
    this.#index = this.#machine.appliedIndex;
  }

  static async create(
    options: HarnessOptions = {},
    database: Database = new MemoryDatabase(),
  ): Promise<ShardHarness> {
    const store = new DatabaseLogStore(database, null);
    await store.recover();
    const batch = store.batch();
    batch.createShard(shard, configuration, false);
    batch.setHardState(shard, { term, vote: null, commit: LogIndex(0) });
    await batch.write();
    return new ShardHarness(database, store, options);
  }

  get machine(): KvStateMachine {
    return this.#machine;
  }

  get store(): DatabaseLogStore {
    return this.#store;
  }

  /** Keys whose time to live has ended them. */
  expiredCount = 0;

  #newMachine(): KvStateMachine {
    return new KvStateMachine({
      database: this.database,
      store: this.#store,
      rowCache: new RowCache(4096),
      shard,
      limits: { ...stateLimits, ...this.#options.limits },
      deadlines: {
        clock: () => this.nowMs,
        checkpointIntervalMs: 60_000,
        checkpointRecordsMax: 1000,
        reofferMs: 3000,
        graceMs: 500,
        ...this.#options.deadlines,
      },
      history: { eventsMax: 1000, bytesMax: () => 1_000_000 },
      onChanges: (index, events) => this.changes.push({ index, events }),
      onExpired: () => void (this.expiredCount += 1),
    });
  }

  /** Applies one entry. */
  applyEntry(payload: Uint8Array, type: EntryType = "command"): readonly Uint8Array[] {
    this.#index += 1;
    const entry: Entry = { index: LogIndex(this.#index), term, type, payload };
    this.#unlogged.push(entry);
    return this.#machine.apply(entry, configuration);
  }

  /** Applies envelopes as one entry. */
  apply(envelopes: readonly CommandEnvelope[], floor = 0): readonly CommandOutcome[] {
    const payload = encodeEntryPayload(Revision(floor), envelopes.map(encodeCommandEnvelope));
    return this.applyEntry(payload).map(decodeOutcome);
  }

  /** Applies commands, one entry each, and returns the last one's result. */
  run(...commands: readonly Command[]): CommandResult {
    let result: CommandResult | undefined;
    for (const command of commands) {
      result = this.apply([plain(command)])[0]?.result;
    }
    assert.ok(result !== undefined);
    return result;
  }

  /** Proposes and applies what is due; returns it. */
  runDue(limit = 1000): readonly Command[] {
    const due = this.#machine.dueCommands(limit);
    this.applyDue(due);
    return due.map((bytes) => decodeCommandEnvelope(bytes).command);
  }

  /** Applies what `dueCommands` gave, as one entry. */
  applyDue(due: readonly Uint8Array[]): void {
    if (due.length > 0) {
      this.applyEntry(encodeEntryPayload(Revision(0), due));
    }
  }

  /** Asks for due commands every 100 ms, as a leader does, until `untilMs`. */
  lead(untilMs: number): readonly Command[] {
    const commands = [...this.runDue()];
    while (this.nowMs < untilMs) {
      this.nowMs = Math.min(untilMs, this.nowMs + 100);
      commands.push(...this.runDue());
    }
    return commands;
  }

  /** Writes the log of what is applied and, unless asked otherwise, what it changed. */
  async persist(options: { readonly logOnly: boolean } = { logOnly: false }): Promise<void> {
    const batch = this.#store.batch();
    if (this.#unlogged.length > 0) {
      batch.append(shard, this.#unlogged);
      this.#unlogged = [];
    }
    if (this.#machine.isDirty && !options.logOnly) {
      this.#machine.stage(batch);
      await batch.write();
      this.#machine.staged();
    } else {
      await batch.write();
    }
  }

  /** Begins to write what is applied; until the promise resolves, it is on its way. */
  async stageOnly(): Promise<void> {
    const batch = this.#store.batch();
    batch.append(shard, this.#unlogged);
    this.#unlogged = [];
    this.#machine.stage(batch);
    await batch.write();
    this.#machine.staged();
  }

  /** The process ends and starts again: what is in the log and not in the state is applied once more. */
  async restart(): Promise<void> {
    this.#store = new DatabaseLogStore(this.database, null);
    const [recovered] = await this.#store.recover();
    assert.equal(recovered?.verdict.type, "ok");
    this.#machine = this.#newMachine();
    await this.#machine.deadlinesRestored();
    for (const entry of recovered.entries) {
      if (entry.index > this.#machine.appliedIndex) {
        this.#machine.apply(entry, configuration);
      }
    }
    this.#unlogged = [];
    this.#index = this.#machine.appliedIndex;
  }

  /** Sends all written state to another shard, through the snapshot format. */
  async sendSnapshot(to: ShardHarness): Promise<void> {
    const reader = this.#machine.snapshot();
    const writer = to.machine.receiveSnapshot();
    for await (const chunk of reader.chunks(777)) {
      await writer.write(chunk);
    }
    await reader.close();
    const metadata = await writer.finish();
    const batch = to.store.batch();
    to.machine.install(batch, writer);
    batch.resetLog(shard, metadata);
    await batch.write();
    to.machine.staged();
    to.#index = to.machine.appliedIndex;
    to.#unlogged = [];
    await to.machine.deadlinesRestored();
  }

  /** Every row of the state as hex: table and key, then the sealed record. */
  async rows(): Promise<readonly string[]> {
    const record = this.database.getSync(appliedKey(shard));
    assert.ok(record !== undefined);
    const { generation } = decodeAppliedRecord(shard, record);
    const rows: string[] = [];
    const iterator = this.database.iterate(prefixRange(statePrefix(shard, generation)));
    for (
      let pairs = await iterator.next(1000);
      pairs.length > 0;
      pairs = await iterator.next(1000)
    ) {
      for (const [key, value] of pairs) {
        rows.push(`${hex(stateKeyTail(key))} ${hex(value)}`);
      }
    }
    await iterator.close();
    return rows;
  }
}

export function hex(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString("hex");
}

/** A command that nobody retries. */
export function plain(command: Command): CommandEnvelope {
  return { request: null, idempotency: null, command };
}

export function bytes(text: string): Uint8Array {
  return Buffer.from(text);
}

/** Commands with everything optional left out. */
export const make = {
  put(key: string, value: string, more: Partial<Extract<Command, { type: "put" }>> = {}) {
    return {
      type: "put",
      key: bytes(key),
      value: bytes(value),
      contentType: "text/plain",
      ttlMs: null,
      condition: null,
      fence: null,
      wantPrevious: false,
      ...more,
    } satisfies Command;
  },
  delete(key: string, more: Partial<Extract<Command, { type: "delete" }>> = {}) {
    return {
      type: "delete",
      key: bytes(key),
      condition: null,
      fence: null,
      wantPrevious: false,
      ...more,
    } satisfies Command;
  },
  increment(key: string, by: bigint, more: Partial<Extract<Command, { type: "increment" }>> = {}) {
    return {
      type: "increment",
      key: bytes(key),
      by,
      ttlMs: "keep",
      condition: null,
      fence: null,
      ...more,
    } satisfies Command;
  },
  append(key: string, value: string, more: Partial<Extract<Command, { type: "append" }>> = {}) {
    return {
      type: "append",
      key: bytes(key),
      value: bytes(value),
      valueBytesMax: 1000,
      contentType: "text/x-log",
      ttlMs: "keep",
      condition: null,
      fence: null,
      ...more,
    } satisfies Command;
  },
  touch(
    key: string,
    ttlMs: number | null,
    more: Partial<Extract<Command, { type: "touch" }>> = {},
  ) {
    return {
      type: "touch",
      key: bytes(key),
      ttlMs,
      condition: null,
      fence: null,
      ...more,
    } satisfies Command;
  },
  acquire(
    lock: string,
    owner: string,
    more: Partial<Extract<Command, { type: "lock_acquire" }>> = {},
  ) {
    return {
      type: "lock_acquire",
      lock: bytes(lock),
      owner,
      value: bytes(""),
      ttlMs: 10_000,
      wait: true,
      ...more,
    } satisfies Command;
  },
};

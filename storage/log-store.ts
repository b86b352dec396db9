import { assert } from "../cluster/assert.ts";
import type { LogPart, LogStore, RecoveredShard } from "../cluster/multiraft/store.ts";
import type { ShardId } from "../cluster/types.ts";
import type { Database, DatabaseBatch, KeyRange } from "./database.ts";
import { Janitor } from "./janitor.ts";
import { encodeJournalRecord, type TurnChanges } from "./journal.ts";
import { JournalIndex } from "./journal-index.ts";
import { Generation, journalKey, rungKey } from "./keys.ts";
import { recoverStore } from "./recovery.ts";
import type { ShardHead } from "./shard-head.ts";
import type { TurnHost } from "./turn-batch.ts";
import { StorageBatch } from "./turn-batch.ts";

/**
 * Remembers, outside of the database, how far it is: tells a database whose end was cut off from one that never was longer.
 * storage/witness.ts keeps it in a file; a database in memory goes without.
 */
export interface Witness {
  /** A turn that was durable when it was noted; 0 when nothing is known. */
  readonly sequence: number;
  /** Turn `sequence` is durable. Cheap, never fails, may be forgotten by a power loss. */
  note(sequence: number): void;
}

/** Old turns that go with each new one: more than one, so that the journal shrinks when much of it is not needed any more. */
const deletedTurnsMax = 4;

const journalBytesDefault = 64 * 1024 * 1024;

/** LogStore over a Database. What it detects when it is opened, and how, is told in storage/README.md. */
export class DatabaseLogStore implements LogStore {
  readonly #database: Database;
  readonly #witness: Witness | null;
  readonly #janitor: Janitor;
  readonly #host: TurnHost;
  readonly #journalBytesMax: number;
  #journal: JournalIndex;
  #hasLostTurns = false;
  readonly #retained = new Map<ShardId, readonly KeyRange[]>();
  /** Number of the newest turn that was begun; null before `recover`. */
  #sequence: number | null = null;
  #generation = 0;
  #isWriting = false;

  /** @param journalBytesMax how much of the past is kept before logs that nobody writes to are written again; see JournalIndex */
  constructor(
    database: Database,
    witness: Witness | null,
    journalBytesMax: number = journalBytesDefault,
  ) {
    this.#database = database;
    this.#witness = witness;
    this.#journalBytesMax = journalBytesMax;
    this.#journal = new JournalIndex(journalBytesMax);
    this.#janitor = new Janitor(database);
    this.#host = {
      hasLostTurns: () => this.#hasLostTurns,
      heads: new Map<ShardId, ShardHead>(),
      stateGenerations: new Map<ShardId, Generation>(),
      nextGeneration: () => this.nextGeneration(),
      releaseRetained: (shard) => this.#releaseRetained(shard),
      write: (batch, changes, garbage) => this.#write(batch, changes, garbage),
    };
  }

  get failure(): Error | null {
    return this.#database.failure;
  }

  async recover(): Promise<readonly RecoveredShard[]> {
    assert(this.#sequence === null, "a store recovers once");
    const witnessed = this.#witness?.sequence ?? 0;
    const recovery = await recoverStore(this.#database, witnessed, this.#journalBytesMax);
    this.#sequence = recovery.sequence;
    this.#journal = recovery.journal;
    this.#generation = recovery.generation;
    this.#hasLostTurns = recovery.hasLostTurns;
    for (const [shard, head] of recovery.heads) {
      this.#host.heads.set(shard, head);
    }
    for (const [shard, generation] of recovery.stateGenerations) {
      this.#host.stateGenerations.set(shard, generation);
    }
    for (const [shard, ranges] of recovery.retained) {
      this.#retained.set(shard, ranges);
    }
    this.#witness?.note(recovery.sequence);
    recovery.garbage.forEach((range) => this.#janitor.schedule(range));
    return recovery.shards;
  }

  /**
   * Whether turns are known to be missing, now or at an earlier opening. Replicas that are not here may have been lost with them, so new
   * ones are refused unless they are quarantined.
   */
  get hasLostTurns(): boolean {
    return this.#hasLostTurns;
  }

  batch(): StorageBatch {
    return new StorageBatch(this.#host, this.#database.batch());
  }

  outdated(): LogPart | null {
    return this.#journal.outdated();
  }

  /** A number that no state on this node uses, not even one that is about to be deleted. */
  nextGeneration(): Generation {
    assert(this.#sequence !== null, "a store recovers before it is used");
    this.#generation++;
    return Generation(this.#generation);
  }

  /** Deletes in the background what nothing refers to: a staged snapshot that was given up. */
  discard(range: KeyRange): void {
    this.#janitor.schedule(range);
  }

  /** Resolves when everything that may be deleted has been. Turns go on meanwhile. */
  async collectGarbage(): Promise<void> {
    await this.#janitor.idle();
  }

  /**
   * Each turn puts its own rung and removes the one before: a turn that got lost in the middle leaves two rungs behind.
   *
   * Every turn is synced, also one that nothing waits for. LevelDB does not sync a log file when it goes on to the next one, so an
   * unsynced turn at the end of one file can be lost by a power failure although synced turns in the next file survive.
   */
  async #write(
    batch: DatabaseBatch,
    changes: TurnChanges,
    garbage: readonly KeyRange[],
  ): Promise<void> {
    assert(this.#sequence !== null, "a store recovers before it is used");
    assert(!this.#isWriting, "two turns are never in flight together");
    const previous = this.#sequence;
    const turn = previous + 1;
    batch.put(rungKey(turn), noBytes);
    batch.del(rungKey(previous));
    const key = journalKey(turn);
    const record = encodeJournalRecord(key, changes);
    batch.put(key, record);
    this.#journal.add(turn, record.length, changes);
    for (const old of this.#journal.takeDeletable(deletedTurnsMax)) {
      batch.del(journalKey(old));
    }
    this.#sequence = turn;
    this.#isWriting = true;
    try {
      await batch.write(true);
    } finally {
      this.#isWriting = false;
    }
    this.#witness?.note(turn);
    garbage.forEach((range) => this.#janitor.schedule(range));
  }

  #releaseRetained(shard: ShardId): readonly KeyRange[] {
    const ranges = this.#retained.get(shard) ?? [];
    this.#retained.delete(shard);
    return ranges;
  }
}

const noBytes = new Uint8Array(0);

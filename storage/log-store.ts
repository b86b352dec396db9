import { assert } from "../cluster/assert.ts";
import type { LogStore, RecoveredShard } from "../cluster/multiraft/store.ts";
import type { ShardId } from "../cluster/types.ts";
import type { Database, DatabaseBatch, KeyRange } from "./database.ts";
import { Janitor } from "./janitor.ts";
import { Generation, rungKey } from "./keys.ts";
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

/** LogStore over a Database. What it detects when it is opened, and how, is told in storage/README.md. */
export class DatabaseLogStore implements LogStore {
  readonly #database: Database;
  readonly #witness: Witness | null;
  readonly #janitor: Janitor;
  readonly #host: TurnHost;
  #hasLostTurns = false;
  readonly #retained = new Map<ShardId, readonly KeyRange[]>();
  /** Number of the newest turn that was begun; null before `recover`. */
  #sequence: number | null = null;
  #generation = 0;
  #isWriting = false;

  constructor(database: Database, witness: Witness | null) {
    this.#database = database;
    this.#witness = witness;
    this.#janitor = new Janitor(database);
    this.#host = {
      hasLostTurns: () => this.#hasLostTurns,
      heads: new Map<ShardId, ShardHead>(),
      stateGenerations: new Map<ShardId, Generation>(),
      nextGeneration: () => this.nextGeneration(),
      releaseRetained: (shard) => this.#releaseRetained(shard),
      write: (batch, garbage) => this.#write(batch, garbage),
    };
  }

  get failure(): Error | null {
    return this.#database.failure;
  }

  async recover(): Promise<readonly RecoveredShard[]> {
    assert(this.#sequence === null, "a store recovers once");
    const recovery = await recoverStore(this.#database, this.#witness?.sequence ?? 0);
    this.#sequence = recovery.sequence;
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

  /** A number that no log and no state on this node uses, not even one that is about to be deleted. */
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
  async #write(batch: DatabaseBatch, garbage: readonly KeyRange[]): Promise<void> {
    assert(this.#sequence !== null, "a store recovers before it is used");
    assert(!this.#isWriting, "two turns are never in flight together");
    const previous = this.#sequence;
    const sequence = previous + 1;
    batch.put(rungKey(sequence), noBytes);
    batch.del(rungKey(previous));
    this.#sequence = sequence;
    this.#isWriting = true;
    try {
      await batch.write(true);
    } finally {
      this.#isWriting = false;
    }
    this.#witness?.note(sequence);
    garbage.forEach((range) => this.#janitor.schedule(range));
  }

  #releaseRetained(shard: ShardId): readonly KeyRange[] {
    const ranges = this.#retained.get(shard) ?? [];
    this.#retained.delete(shard);
    return ranges;
  }
}

const noBytes = new Uint8Array(0);

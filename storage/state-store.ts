import { assert } from "../cluster/assert.ts";
import type {
  Configuration,
  Entry,
  LogIndex,
  ShardId,
  SnapshotMetadata,
  Term,
} from "../cluster/types.ts";
import { Revision } from "../cluster/types.ts";
import type { AppliedRecord } from "./applied-record.ts";
import { decodeAppliedRecord } from "./applied-record.ts";
import { openRecord, sealBytes, sealInPlace, verifyRecord } from "./checksum.ts";
import type { Database } from "./database.ts";
import { StateDigest } from "./digest.ts";
import { StoreFailure } from "./failure.ts";
import {
  appliedKey,
  prefixRange,
  stateKey,
  statePrefix,
  statePrefixBytes,
  stateRange,
} from "./keys.ts";
import { Overlay } from "./overlay.ts";
import type { RowCache } from "./row-cache.ts";
import type { SnapshotReceiver } from "./snapshot-receiver.ts";
import { StateScan, stateRowId } from "./state-scan.ts";
import type { StorageBatch } from "./turn-batch.ts";
import type { ByteWriter } from "./wire-codec.ts";
import { encodeRecordWith } from "./wire-codec.ts";

/** A row as `find` saw it. Good for one `put` or `delete`, before anything else changes the row. */
export interface FoundRow {
  readonly id: string;
  readonly key: Uint8Array;
  /** The sealed record; null when there is none. */
  readonly record: Uint8Array | null;
}

/**
 * The mechanics that all state machines share: rows in tables over a Database, changed through an overlay, together with how far
 * the state is and its digest. Knows nothing of what the rows mean.
 */
export class StateStore {
  readonly shard: ShardId;
  readonly #database: Database;
  readonly #cache: RowCache | null;
  readonly #overlay = new Overlay();
  #applied: AppliedRecord;
  #prefix: Uint8Array;
  #digest: StateDigest;
  #stagedIndex: LogIndex;
  #installing: AppliedRecord | null = null;

  /**
   * Reads how far the shard's state is: throws a StoreFailure when that is not in the database or damaged.
   *
   * @param cache rows of all states of the node; null: every look-up asks the database
   */
  constructor(database: Database, shard: ShardId, cache: RowCache | null) {
    this.shard = shard;
    this.#database = database;
    this.#cache = cache;
    const record = database.getSync(appliedKey(shard));
    if (record === undefined) {
      throw new StoreFailure("corrupt", `the applied record of shard ${shard} is missing`);
    }
    this.#applied = decodeAppliedRecord(shard, record);
    this.#prefix = statePrefix(shard, this.#applied.generation);
    this.#digest = new StateDigest(this.#applied.extra);
    this.#stagedIndex = this.#applied.index;
  }

  get appliedIndex(): LogIndex {
    return this.#applied.index;
  }

  get revision(): Revision {
    return this.#applied.revision;
  }

  /** What a snapshot of the present state stands for. */
  get metadata(): SnapshotMetadata {
    const { index, term, configuration } = this.#applied;
    return { index, term, configuration };
  }

  get digest(): string {
    return this.#digest.toString();
  }

  /** Whether something is applied that no batch holds yet. */
  get isDirty(): boolean {
    return this.#applied.index !== this.#stagedIndex;
  }

  /** The next entry's changes follow. */
  advance(entry: Entry, configuration: Configuration): void {
    const { index, term } = entry;
    assert(
      index === this.#applied.index + 1,
      `shard ${this.shard} applies entry ${index} after ${this.#applied.index}`,
    );
    assert(this.#installing === null, `shard ${this.shard} applies while a snapshot is installed`);
    this.#applied = {
      ...this.#applied,
      index,
      term: laterTerm(this.#applied, term),
      configuration,
    };
  }

  /** The revision of the next change: above the shard's own and above what the proposing leader had seen. */
  nextRevision(floor: Revision): Revision {
    const revision = Revision(Math.max(this.#applied.revision, floor) + 1);
    this.#applied = { ...this.#applied, revision };
    return revision;
  }

  /** The row as of now: overlay first, then cache, then database. */
  find(table: number, key: Uint8Array): FoundRow {
    const rowKey = stateKey(this.#prefix, table, key);
    const id = stateRowId(rowKey);
    const changed = this.#overlay.get(id);
    const record = changed === undefined ? this.#stored(rowKey) : changed.record;
    return { id, key: rowKey, record };
  }

  #stored(key: Uint8Array): Uint8Array | null {
    const known = this.#cache?.get(key);
    if (known !== undefined) {
      return known;
    }
    const record = this.#database.getSync(key) ?? null;
    this.#cache?.set(key, record);
    return record;
  }

  /** The content of a row that was found, its seal checked; null when there is none. Throws a StoreFailure when it is damaged. */
  body(row: FoundRow): Uint8Array | null {
    return row.record === null ? null : openRecord(row.key, row.record, statePrefixBytes);
  }

  /** Content of one row, or null. */
  get(table: number, key: Uint8Array): Uint8Array | null {
    return this.body(this.find(table, key));
  }

  /** Writes the row with the content that `write` makes of `value`. */
  put<T>(row: FoundRow, write: (writer: ByteWriter, value: T) => void, value: T): void {
    const record = encodeRecordWith(write, value, sealSpace);
    sealInPlace(row.key, record, statePrefixBytes);
    if (row.record !== null) {
      this.#digest.remove(row.record);
    }
    this.#digest.add(record);
    this.#overlay.set({ id: row.id, key: row.key, record });
  }

  /** Deletes the row; nothing happens when there is none. */
  delete(row: FoundRow): void {
    if (row.record !== null) {
      this.#digest.remove(row.record);
      this.#overlay.set({ id: row.id, key: row.key, record: null });
    }
  }

  /** Adds what was applied since the last call to the batch. */
  stage(batch: StorageBatch): void {
    this.#overlay.stage(batch);
    batch.setApplied(this.shard, { ...this.#applied, extra: this.#digest.encode() });
    this.#stagedIndex = this.#applied.index;
  }

  /** Switches to a received state with this batch. What was applied to the present one and not staged is dropped. */
  install(batch: StorageBatch, received: SnapshotReceiver): void {
    this.#installing = received.install(batch);
  }

  /** The batch of the last `stage` or `install` is written. True when it was an `install`: the rows are others now. */
  staged(): boolean {
    const installed = this.#installing;
    if (installed === null) {
      for (const { key, record } of this.#overlay.staged()) {
        this.#cache?.set(key, record);
      }
      return false;
    }
    this.#installing = null;
    this.#overlay.clear();
    this.#applied = installed;
    this.#prefix = statePrefix(this.shard, installed.generation);
    this.#digest = new StateDigest(installed.extra);
    this.#stagedIndex = installed.index;
    return true;
  }

  /** Rows of a table with `start <= key < end` as of now; `end` null: to the last. Later changes do not show. Close it. */
  scan(table: number, start: Uint8Array, end: Uint8Array | null): StateScan {
    const range = stateRange(this.#prefix, table, start, end);
    return new StateScan(
      this.#database.iterate(range),
      this.#overlay.range(stateRowId(range.gte), stateRowId(range.lt)),
    );
  }

  /** The digest, from every row anew; equals `digest` as it is at the time of the call. For tests and repair: reads all of the state. */
  async recomputeDigest(): Promise<string> {
    const range = prefixRange(this.#prefix);
    const overlay = new Map(
      this.#overlay.range("", "\uffff").map((row) => [row.id, row.record] as const),
    );
    const iterator = this.#database.iterate(range);
    const digest = new StateDigest();
    try {
      for (;;) {
        const pairs = await iterator.next(1000);
        for (const [key, record] of pairs) {
          verifyRecord(key, record, statePrefixBytes);
          if (!overlay.has(stateRowId(key))) {
            digest.add(record);
          }
        }
        if (pairs.length === 0) {
          break;
        }
      }
    } finally {
      await iterator.close();
    }
    for (const record of overlay.values()) {
      if (record !== null) {
        digest.add(record);
      }
    }
    return digest.toString();
  }
}

const sealSpace = new Uint8Array(sealBytes);

/** Terms of a log never go back. */
function laterTerm(applied: AppliedRecord, term: Term): Term {
  assert(term >= applied.term, `an entry of term ${term} follows one of term ${applied.term}`);
  return term;
}

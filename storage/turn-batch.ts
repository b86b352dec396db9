import { assert } from "../cluster/assert.ts";
import type { TurnBatch } from "../cluster/multiraft/store.ts";
import type {
  Configuration,
  Entry,
  HardState,
  ShardId,
  SnapshotMetadata,
  Term,
} from "../cluster/types.ts";
import { LogIndex, Revision, Term as makeTerm } from "../cluster/types.ts";
import type { AppliedRecord } from "./applied-record.ts";
import { encodeAppliedRecord } from "./applied-record.ts";
import type { DatabaseBatch, KeyRange } from "./database.ts";
import { StoreFailure } from "./failure.ts";
import type { LogChange, TurnChanges } from "./journal.ts";
import type { Generation } from "./keys.ts";
import { appliedKey, generationPrefix, prefixRange, recordKind } from "./keys.ts";
import type { ShardHead } from "./shard-head.ts";
import { newShardHead } from "./shard-head.ts";

/** What the batches of one store share: the store's memory of every replica, and its pen. */
export interface TurnHost {
  /** As of the newest batch, written or not. */
  readonly heads: Map<ShardId, ShardHead>;
  /** Under which each shard's state lies, as of the newest batch. */
  readonly stateGenerations: Map<ShardId, Generation>;
  /** See DatabaseLogStore. */
  hasLostTurns(): boolean;
  nextGeneration(): Generation;
  /** What was kept of a quarantined replica for inspection; it may go once the replica has a new log. */
  releaseRetained(shard: ShardId): readonly KeyRange[];
  /** Makes the batch durable, together with what it does to logs; deletes `garbage` afterwards. */
  write(batch: DatabaseBatch, changes: TurnChanges, garbage: readonly KeyRange[]): Promise<void>;
}

/** A change that more may be added to. */
type OpenChange = { -readonly [Field in keyof LogChange]: LogChange[Field] };

/**
 * All that one turn changes on disk. Filling it changes the store's memory at once: a batch that was begun is written before the
 * next one is asked for, or the store is given up.
 */
export class StorageBatch implements TurnBatch {
  readonly #host: TurnHost;
  readonly #batch: DatabaseBatch;
  readonly #changes = new Map<ShardId, OpenChange | null>();
  readonly #garbage: KeyRange[] = [];
  #entryCount = 0;

  constructor(host: TurnHost, batch: DatabaseBatch) {
    this.#host = host;
    this.#batch = batch;
  }

  get isEmpty(): boolean {
    return this.#batch.size === 0 && this.#changes.size === 0;
  }

  get entryCount(): number {
    return this.#entryCount;
  }

  /** For state machines: one record of the state. Copies both. */
  put(key: Uint8Array, value: Uint8Array): void {
    this.#batch.put(key, value);
  }

  del(key: Uint8Array): void {
    this.#batch.del(key);
  }

  /**
   * For state machines: how far the state is with this batch. Another generation than before switches the shard to it; the old one
   * is deleted once the batch is durable.
   */
  setApplied(shard: ShardId, record: AppliedRecord): void {
    const before = this.#host.stateGenerations.get(shard);
    if (before !== undefined && before !== record.generation) {
      this.#garbage.push(...stateRanges(shard, before));
    }
    this.#host.stateGenerations.set(shard, record.generation);
    this.#batch.put(appliedKey(shard), encodeAppliedRecord(shard, record));
  }

  createShard(shard: ShardId, configuration: Configuration, isQuarantined: boolean): void {
    assert(!this.#host.heads.has(shard), `shard ${shard} has a replica here already`);
    if (this.#host.hasLostTurns() && !isQuarantined) {
      throw new StoreFailure(
        "corrupt",
        `this store has lost turns, perhaps a replica of shard ${shard}, which must not begin anew as if it had promised nothing: ` +
          "empty the data directory and let the node rejoin",
      );
    }
    this.#begin(shard, newShardHead(isQuarantined));
    this.setApplied(shard, {
      generation: this.#host.nextGeneration(),
      index: LogIndex(0),
      term: makeTerm(0),
      revision: Revision(0),
      configuration,
      extra: new Uint8Array(0),
    });
  }

  setHardState(shard: ShardId, hardState: HardState): void {
    const change = this.#change(shard);
    const { head } = change;
    assert(hardState.term >= head.hardState.term, `the term of shard ${shard} goes back`);
    this.#setHead(shard, change, { ...head, hardState });
  }

  append(shard: ShardId, entries: readonly Entry[]): void {
    const change = this.#change(shard);
    const { head } = change;
    const first = entries[0];
    assert(first !== undefined, "an append holds at least one entry");
    assert(first.index > head.compactedIndex, `shard ${shard} appends below its snapshot`);
    assert(first.index <= head.lastIndex + 1, `shard ${shard} appends beyond its log's end`);
    assert(change.appended.length === 0, `shard ${shard} appends once in a turn`);
    let index = first.index - 1;
    for (const entry of entries) {
      index++;
      assert(entry.index === index, `shard ${shard} appends entries with a gap at ${index}`);
    }
    change.appended = entries;
    this.#entryCount += entries.length;
    this.#setHead(shard, change, { ...head, lastIndex: LogIndex(index) });
  }

  repeat(shard: ShardId, entries: readonly Entry[]): void {
    const change = this.#change(shard);
    const { compactedIndex, lastIndex } = change.head;
    const end = change.appended[0]?.index ?? lastIndex + 1;
    const isOfLog = entries.every(({ index }) => index > compactedIndex && index < end);
    assert(isOfLog, `shard ${shard} repeats entries that are not in its log`);
    change.repeated = entries;
  }

  compact(shard: ShardId, index: LogIndex, term: Term): void {
    const head = this.#head(shard);
    assert(index <= head.lastIndex, `shard ${shard} compacts beyond its log's end`);
    if (index > head.compactedIndex) {
      const compacted = { ...head, compactedIndex: index, compactedTerm: term };
      this.#setHead(shard, this.#change(shard), compacted);
    }
  }

  resetLog(shard: ShardId, snapshot: SnapshotMetadata): void {
    const head = this.#head(shard);
    this.#garbage.push(...this.#host.releaseRetained(shard));
    this.#begin(shard, {
      hardState: head.hardState,
      compactedIndex: snapshot.index,
      compactedTerm: snapshot.term,
      lastIndex: snapshot.index,
      isQuarantined: false,
    });
  }

  removeShard(shard: ShardId): void {
    assert(this.#host.heads.has(shard), `shard ${shard} has no replica here`);
    this.#garbage.push(...this.#host.releaseRetained(shard));
    const state = this.#host.stateGenerations.get(shard);
    if (state !== undefined) {
      this.#garbage.push(...stateRanges(shard, state));
    }
    this.#host.heads.delete(shard);
    this.#host.stateGenerations.delete(shard);
    this.#changes.set(shard, null);
    this.#batch.del(appliedKey(shard));
  }

  async write(): Promise<void> {
    if (!this.isEmpty) {
      await this.#host.write(this.#batch, this.#changes, this.#garbage);
    }
  }

  #head(shard: ShardId): ShardHead {
    const head = this.#host.heads.get(shard);
    assert(head !== undefined, `shard ${shard} has no replica here`);
    return head;
  }

  /** What this turn does to the shard's log so far. */
  #change(shard: ShardId): OpenChange {
    const known = this.#changes.get(shard);
    if (known !== undefined && known !== null) {
      return known;
    }
    const change = { head: this.#head(shard), isReset: false, appended: [], repeated: [] };
    this.#changes.set(shard, change);
    return change;
  }

  /** The log begins anew under this head. */
  #begin(shard: ShardId, head: ShardHead): void {
    this.#host.heads.set(shard, head);
    this.#changes.set(shard, { head, isReset: true, appended: [], repeated: [] });
  }

  #setHead(shard: ShardId, change: OpenChange, head: ShardHead): void {
    change.head = head;
    this.#host.heads.set(shard, head);
  }
}

/** The batch as storage/ knows it, for state machines: they add their records to it. */
export function storageBatch(batch: TurnBatch): StorageBatch {
  assert(batch instanceof StorageBatch, "a turn's batch belongs to the store that is written to");
  return batch;
}

function stateRanges(shard: ShardId, generation: Generation): readonly KeyRange[] {
  return [recordKind.state, recordKind.stagingRung].map((kind) =>
    prefixRange(generationPrefix(kind, shard, generation)),
  );
}

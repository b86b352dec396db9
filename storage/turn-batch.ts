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
import { entryHeaderBytes, writeEntryValue } from "./entry-codec.ts";
import { StoreFailure } from "./failure.ts";
import type { Generation } from "./keys.ts";
import {
  appliedKey,
  entryKey,
  entryKeyBytes,
  entryRange,
  generationPrefix,
  headKey,
  prefixRange,
  recordKind,
  writeEntryKey,
} from "./keys.ts";
import type { ShardHead } from "./shard-head.ts";
import { encodeShardHead, newShardHead } from "./shard-head.ts";

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
  /** Makes the batch durable; deletes `garbage` afterwards. */
  write(batch: DatabaseBatch, garbage: readonly KeyRange[]): Promise<void>;
}

/**
 * All that one turn changes on disk. Filling it changes the store's memory at once: a batch that was begun is written before the
 * next one is asked for, or the store is given up.
 */
export class StorageBatch implements TurnBatch {
  readonly #host: TurnHost;
  readonly #batch: DatabaseBatch;
  readonly #touched = new Set<ShardId>();
  readonly #garbage: KeyRange[] = [];
  #entryCount = 0;

  constructor(host: TurnHost, batch: DatabaseBatch) {
    this.#host = host;
    this.#batch = batch;
  }

  get isEmpty(): boolean {
    return this.#batch.size === 0 && this.#touched.size === 0;
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
    this.#setHead(shard, newShardHead(this.#host.nextGeneration(), isQuarantined));
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
    const head = this.#head(shard);
    assert(hardState.term >= head.hardState.term, `the term of shard ${shard} goes back`);
    this.#setHead(shard, { ...head, hardState });
  }

  append(shard: ShardId, entries: readonly Entry[]): void {
    const head = this.#head(shard);
    const first = entries[0];
    assert(first !== undefined, "an append holds at least one entry");
    assert(first.index > head.compactedIndex, `shard ${shard} appends below its snapshot`);
    assert(first.index <= head.lastIndex + 1, `shard ${shard} appends beyond its log's end`);
    let index = first.index - 1;
    for (const entry of entries) {
      index++;
      assert(entry.index === index, `shard ${shard} appends entries with a gap at ${index}`);
      writeEntryKey(keyScratch, shard, head.generation, index);
      this.#batch.put(keyScratch, writeEntryValue(valueScratch(entry), keyScratch, entry));
    }
    for (let stale = index + 1; stale <= head.lastIndex; stale++) {
      this.#batch.del(entryKey(shard, head.generation, stale));
    }
    this.#entryCount += entries.length;
    this.#setHead(shard, { ...head, lastIndex: LogIndex(index) });
  }

  compact(shard: ShardId, index: LogIndex, term: Term): void {
    const head = this.#head(shard);
    assert(index <= head.lastIndex, `shard ${shard} compacts beyond its log's end`);
    if (index <= head.compactedIndex) {
      return;
    }
    this.#garbage.push(entryRange(shard, head.generation, head.compactedIndex + 1, index));
    this.#setHead(shard, { ...head, compactedIndex: index, compactedTerm: term });
  }

  resetLog(shard: ShardId, snapshot: SnapshotMetadata): void {
    const head = this.#head(shard);
    this.#garbage.push(logRange(shard, head.generation), ...this.#host.releaseRetained(shard));
    this.#setHead(shard, {
      hardState: head.hardState,
      generation: this.#host.nextGeneration(),
      compactedIndex: snapshot.index,
      compactedTerm: snapshot.term,
      lastIndex: snapshot.index,
      isQuarantined: false,
    });
  }

  removeShard(shard: ShardId): void {
    const head = this.#head(shard);
    this.#garbage.push(logRange(shard, head.generation), ...this.#host.releaseRetained(shard));
    const state = this.#host.stateGenerations.get(shard);
    if (state !== undefined) {
      this.#garbage.push(...stateRanges(shard, state));
    }
    this.#host.heads.delete(shard);
    this.#host.stateGenerations.delete(shard);
    this.#touched.delete(shard);
    this.#batch.del(headKey(shard));
    this.#batch.del(appliedKey(shard));
  }

  async write(): Promise<void> {
    if (this.isEmpty) {
      return;
    }
    for (const shard of this.#touched) {
      this.#batch.put(headKey(shard), encodeShardHead(shard, this.#head(shard)));
    }
    this.#touched.clear();
    await this.#host.write(this.#batch, this.#garbage);
  }

  #head(shard: ShardId): ShardHead {
    const head = this.#host.heads.get(shard);
    assert(head !== undefined, `shard ${shard} has no replica here`);
    return head;
  }

  #setHead(shard: ShardId, head: ShardHead): void {
    this.#host.heads.set(shard, head);
    this.#touched.add(shard);
  }
}

/** The batch as storage/ knows it, for state machines: they add their records to it. */
export function storageBatch(batch: TurnBatch): StorageBatch {
  assert(batch instanceof StorageBatch, "a turn's batch belongs to the store that is written to");
  return batch;
}

/** A database copies what it is given, so one buffer serves all keys, and one all values. */
const keyScratch = Buffer.allocUnsafeSlow(entryKeyBytes);
let valueBuffer = Buffer.allocUnsafeSlow(64 * 1024);

function valueScratch(entry: Entry): Buffer {
  const size = entryHeaderBytes + entry.payload.length;
  if (size > valueBuffer.length) {
    valueBuffer = Buffer.allocUnsafeSlow(size * 2);
  }
  return valueBuffer;
}

function logRange(shard: ShardId, generation: Generation): KeyRange {
  return prefixRange(generationPrefix(recordKind.entry, shard, generation));
}

function stateRanges(shard: ShardId, generation: Generation): readonly KeyRange[] {
  return [recordKind.state, recordKind.stagingRung].map((kind) =>
    prefixRange(generationPrefix(kind, shard, generation)),
  );
}

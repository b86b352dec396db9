import { assert } from "../cluster/assert.ts";
import type { SnapshotWriter } from "../cluster/multiraft/state-machine.ts";
import type { ShardId, SnapshotMetadata } from "../cluster/types.ts";
import type { AppliedRecord } from "./applied-record.ts";
import { verifyRecord } from "./checksum.ts";
import type { Database, DatabaseBatch } from "./database.ts";
import { StoreFailure } from "./failure.ts";
import type { Frame } from "./frame-parser.ts";
import { FrameParser } from "./frame-parser.ts";
import type { Generation } from "./keys.ts";
import {
  generationPrefix,
  prefixRange,
  recordKind,
  stagingRungKey,
  statePrefix,
  statePrefixBytes,
} from "./keys.ts";
import type { DatabaseLogStore } from "./log-store.ts";
import type { SnapshotHead } from "./snapshot-format.ts";
import { decodeHead, decodeTrailer, frameType, metadataOf, recordsOf } from "./snapshot-format.ts";
import { stagingMarker } from "./staging-ladder.ts";
import type { StorageBatch } from "./turn-batch.ts";

/**
 * Receives a snapshot into a generation of its own, which nothing refers to until `install`. A crash before that leaves garbage that
 * opening the store removes; a crash after it leaves the new state.
 *
 * Every block is synced, because LevelDB closes a full log file without syncing it: one sync at the end would not reach back.
 */
export class SnapshotReceiver implements SnapshotWriter {
  readonly #database: Database;
  readonly #store: DatabaseLogStore;
  readonly #shard: ShardId;
  readonly #generation: Generation;
  readonly #parser = new FrameParser();
  #head: SnapshotHead | null = null;
  #records = 0;
  #rung = 0;
  #writing: Promise<void> = Promise.resolve();
  #phase: "receiving" | "trailed" | "finished" | "installed" | "aborted" = "receiving";

  constructor(database: Database, store: DatabaseLogStore, shard: ShardId) {
    this.#database = database;
    this.#store = store;
    this.#shard = shard;
    this.#generation = store.nextGeneration();
  }

  async write(chunk: Uint8Array): Promise<void> {
    assert(this.#phase !== "finished", "a finished snapshot takes no more chunks");
    try {
      for (const frame of this.#parser.push(chunk)) {
        if (this.#phase === "aborted") {
          throw new StoreFailure("closed", "receiving the snapshot was given up");
        }
        this.#writing = this.#take(frame);
        await this.#writing;
      }
    } catch (error) {
      throw this.#database.failure ?? refusal(error);
    }
  }

  async finish(): Promise<SnapshotMetadata> {
    if (this.#phase !== "trailed" || !this.#parser.isAtBoundary || this.#head === null) {
      throw new StoreFailure(
        "bad_snapshot",
        "the snapshot ended before its trailer; send it again",
      );
    }
    this.#phase = "finished";
    return metadataOf(this.#head.state);
  }

  async abort(): Promise<void> {
    if (this.#phase === "installed" || this.#phase === "aborted") {
      return;
    }
    this.#phase = "aborted";
    await this.#writing.catch(() => undefined);
    for (const kind of [recordKind.state, recordKind.stagingRung]) {
      this.#store.discard(prefixRange(generationPrefix(kind, this.#shard, this.#generation)));
    }
  }

  /** Makes the received state the shard's own, in this turn; returns the applied record that it now has. */
  install(batch: StorageBatch): AppliedRecord {
    assert(this.#phase === "finished", "a snapshot is installed once, after it is finished");
    assert(this.#head !== null, "a finished snapshot has a header");
    this.#phase = "installed";
    const applied = { ...this.#head.state, generation: this.#generation };
    batch.put(...stagingMarker(this.#shard, this.#generation, this.#rung));
    batch.setApplied(this.#shard, applied);
    return applied;
  }

  async #take({ type, body }: Frame): Promise<void> {
    if (this.#phase !== "receiving" || (type === frameType.header) !== (this.#head === null)) {
      throw new StoreFailure("bad_snapshot", "the parts of the snapshot are out of order");
    }
    switch (type) {
      case frameType.header:
        return this.#takeHead(body);
      case frameType.block:
        return this.#takeBlock(body);
      case frameType.trailer:
        return this.#takeTrailer(body);
    }
  }

  async #takeHead(body: Uint8Array): Promise<void> {
    const head = decodeHead(body);
    if (head.shard !== this.#shard) {
      throw new StoreFailure(
        "bad_snapshot",
        `this is a snapshot of shard ${head.shard}, not of ${this.#shard}`,
      );
    }
    this.#head = head;
    await this.#writeRung(this.#database.batch());
  }

  async #takeBlock(body: Uint8Array): Promise<void> {
    const batch = this.#database.batch();
    const prefix = statePrefix(this.#shard, this.#generation);
    for (const [tail, value] of recordsOf(body)) {
      verifyRecord(tail, value);
      const key = Buffer.allocUnsafe(statePrefixBytes + tail.length);
      key.set(prefix, 0);
      key.set(tail, statePrefixBytes);
      batch.put(key, value);
      this.#records++;
    }
    await this.#writeRung(batch);
  }

  async #takeTrailer(body: Uint8Array): Promise<void> {
    const { records } = decodeTrailer(body);
    if (records !== this.#records) {
      throw new StoreFailure(
        "bad_snapshot",
        `the snapshot holds ${this.#records} records, its trailer says ${records}`,
      );
    }
    this.#phase = "trailed";
  }

  async #writeRung(batch: DatabaseBatch): Promise<void> {
    const previous = this.#rung;
    this.#rung++;
    batch.put(stagingRungKey(this.#shard, this.#generation, this.#rung), new Uint8Array(0));
    batch.del(stagingRungKey(this.#shard, this.#generation, previous));
    await batch.write(true);
  }
}

/** Damage in what was received is not damage of this store. */
function refusal(error: unknown): unknown {
  return error instanceof StoreFailure && error.code === "corrupt"
    ? new StoreFailure("bad_snapshot", `the snapshot cannot be used: ${error.message}`, error)
    : error;
}

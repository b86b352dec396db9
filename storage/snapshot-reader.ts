import type { SnapshotReader } from "../cluster/multiraft/state-machine.ts";
import type { ShardId, SnapshotMetadata } from "../cluster/types.ts";
import type { AppliedRecord } from "./applied-record.ts";
import { decodeAppliedRecord } from "./applied-record.ts";
import { verifyRecord } from "./checksum.ts";
import type { Database, DatabasePair, DatabaseSnapshot } from "./database.ts";
import { StoreFailure } from "./failure.ts";
import { appliedKey, prefixRange, statePrefix, statePrefixBytes } from "./keys.ts";
import {
  BlockBuilder,
  encodeFrame,
  encodeHead,
  encodePreamble,
  encodeTrailer,
  frameType,
  metadataOf,
} from "./snapshot-format.ts";

/**
 * A shard's durable state at one applied index, from a LevelDB snapshot: writes go on meanwhile. Records are verified as they are read;
 * a damaged one ends the stream with StoreFailure `corrupt`, so damage never travels to other replicas.
 */
export function createSnapshotReader(database: Database, shard: ShardId): SnapshotReader {
  // A turn may reach the database between any two calls: the applied record is read as the snapshot has it, never beside it.
  const snapshot = database.snapshot();
  try {
    const bytes = database.getSync(appliedKey(shard), snapshot);
    if (bytes === undefined) {
      throw new StoreFailure("corrupt", `shard ${shard} has no applied record`);
    }
    return new StateSnapshot(database, snapshot, shard, decodeAppliedRecord(shard, bytes));
  } catch (error) {
    snapshot.close().catch(() => undefined);
    throw error;
  }
}

class StateSnapshot implements SnapshotReader {
  readonly metadata: SnapshotMetadata;
  readonly #database: Database;
  readonly #snapshot: DatabaseSnapshot;
  readonly #shard: ShardId;
  readonly #applied: AppliedRecord;

  constructor(
    database: Database,
    snapshot: DatabaseSnapshot,
    shard: ShardId,
    applied: AppliedRecord,
  ) {
    this.metadata = metadataOf(applied);
    this.#database = database;
    this.#snapshot = snapshot;
    this.#shard = shard;
    this.#applied = applied;
  }

  async *chunks(chunkBytesMax: number): AsyncGenerator<Uint8Array> {
    for await (const frame of this.#frames()) {
      for (let start = 0; start < frame.length; start += chunkBytesMax) {
        yield frame.subarray(start, Math.min(start + chunkBytesMax, frame.length));
      }
    }
  }

  async close(): Promise<void> {
    await this.#snapshot.close();
  }

  async *#frames(): AsyncGenerator<Uint8Array> {
    yield encodePreamble();
    const head = encodeHead({ shard: this.#shard, state: this.#applied });
    let { frame, crc } = encodeFrame(frameType.header, head, 0);
    yield frame;

    const block = new BlockBuilder();
    let records = 0;
    for await (const pairs of this.#steps()) {
      for (const [key, value] of pairs) {
        verifyRecord(key, value, statePrefixBytes);
        block.add(key, value);
        records++;
        if (block.isFull) {
          ({ frame, crc } = block.finish(crc));
          yield frame;
        }
      }
    }
    if (!block.isEmpty) {
      ({ frame, crc } = block.finish(crc));
      yield frame;
    }
    yield encodeFrame(frameType.trailer, encodeTrailer({ records }), crc).frame;
  }

  /** All records of the state; the next step is read by another thread while this one is packed. */
  async *#steps(): AsyncGenerator<readonly DatabasePair[]> {
    const range = prefixRange(statePrefix(this.#shard, this.#applied.generation));
    const iterator = this.#database.iterate(range, { snapshot: this.#snapshot });
    const step = (): Promise<readonly DatabasePair[]> => {
      const pairs = iterator.next(pairsPerStep);
      // Whoever awaits it sees the error; until somebody does, it is not an unhandled one.
      pairs.catch(() => undefined);
      return pairs;
    };
    let next = step();
    try {
      for (let pairs = await next; pairs.length > 0; pairs = await next) {
        next = step();
        yield pairs;
      }
    } finally {
      await next.catch(() => undefined);
      await iterator.close();
    }
  }
}

/** About a millisecond of the event loop. */
const pairsPerStep = 1_000;

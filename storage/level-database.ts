import type { ChainedBatch, Iterator as LevelIterator, Snapshot } from "classic-level";
import { ClassicLevel } from "classic-level";
import { assert } from "../cluster/assert.ts";
import type {
  Database,
  DatabaseBatch,
  DatabaseIterator,
  DatabasePair,
  DatabaseSnapshot,
  IterateOptions,
  KeyRange,
} from "./database.ts";
import type { StoreFailure } from "./failure.ts";
import { storeFailure } from "./failure.ts";

type Level = ClassicLevel<Uint8Array, Uint8Array>;

/** How LevelDB is opened. */
export interface LevelDatabaseOptions {
  /** A new directory: make the database. Otherwise a database that is not there means that it was lost. */
  readonly createIfMissing: boolean;
  /** Memory for recent writes before they become a table; up to two of them exist. Measured: 8 to 16 MB write 25 % faster than 4. */
  readonly writeBufferBytes?: number;
  /** Memory for uncompressed blocks of tables: rows that are asked for again are in the row cache. */
  readonly cacheBytes?: number;
}

/**
 * Database on LevelDB (version 1.20, by classic-level; `level` is the same class with fewer types). One per node: memory is paid
 * per database, and one synced batch serves all shards.
 */
export class LevelDatabase implements Database {
  readonly #level: Level;
  #failure: StoreFailure | null = null;

  private constructor(level: Level) {
    this.#level = level;
  }

  /** Opens and recovers; rejects with a StoreFailure that tells a locked directory from a damaged one from a full disk. */
  static async open(path: string, options: LevelDatabaseOptions): Promise<LevelDatabase> {
    const level: Level = new ClassicLevel<Uint8Array, Uint8Array>(path, {
      keyEncoding: "view",
      valueEncoding: "view",
      createIfMissing: options.createIfMissing,
      writeBufferSize: options.writeBufferBytes ?? 16 * 1024 * 1024,
      cacheSize: options.cacheBytes ?? 4 * 1024 * 1024,
      compression: true,
    });
    try {
      await level.open();
    } catch (error) {
      throw storeFailure(`opening the store in ${path}`, error);
    }
    return new LevelDatabase(level);
  }

  get failure(): Error | null {
    return this.#failure;
  }

  getSync(key: Uint8Array, snapshot?: DatabaseSnapshot): Uint8Array | undefined {
    try {
      return snapshot === undefined
        ? this.#level.getSync(key)
        : this.#level.getSync(key, { snapshot: levelSnapshot(snapshot) });
    } catch (error) {
      throw this.#poison("reading from", error);
    }
  }

  iterate(range: KeyRange, options: IterateOptions = {}): DatabaseIterator {
    const { snapshot, reverse, keysOnly } = options;
    try {
      const iterator = this.#level.iterator({
        gte: range.gte,
        lt: range.lt,
        reverse: reverse ?? false,
        values: keysOnly !== true,
        highWaterMarkBytes: iteratorBytes,
        ...(snapshot === undefined ? {} : { snapshot: levelSnapshot(snapshot) }),
      });
      return new LevelDatabaseIterator(iterator, keysOnly === true, (error) =>
        this.#poison("reading from", error),
      );
    } catch (error) {
      throw this.#poison("reading from", error);
    }
  }

  batch(): DatabaseBatch {
    this.#checkUsable();
    try {
      return new LevelDatabaseBatch(this.#level.batch(), this.#writer);
    } catch (error) {
      throw this.#poison("writing to", error);
    }
  }

  async clear(range: KeyRange): Promise<void> {
    await this.#writer(() => this.#level.clear({ gte: range.gte, lt: range.lt }));
  }

  snapshot(): DatabaseSnapshot {
    try {
      return new LevelDatabaseSnapshot(this.#level.snapshot());
    } catch (error) {
      throw this.#poison("reading from", error);
    }
  }

  async close(): Promise<void> {
    try {
      await this.#level.close();
    } catch (error) {
      throw this.#poison("closing", error);
    }
  }

  /** Runs a write under the poison rule: nothing is written after a failure, and no write counts that ended after one. */
  readonly #writer = async (write: () => Promise<void>): Promise<void> => {
    this.#checkUsable();
    try {
      await write();
    } catch (error) {
      throw this.#poison("writing to", error);
    }
    this.#checkUsable();
  };

  #checkUsable(): void {
    if (this.#failure !== null) {
      throw this.#failure;
    }
  }

  #poison(doing: string, error: unknown): StoreFailure {
    const failure = storeFailure(`${doing} the store in ${this.#level.location}`, error);
    this.#failure ??= failure;
    return this.#failure;
  }
}

/** Bytes that one step of an iterator may fetch: larger steps mean fewer trips to the thread pool. */
const iteratorBytes = 1024 * 1024;

const noBytes = new Uint8Array(0);

type Writer = (write: () => Promise<void>) => Promise<void>;

class LevelDatabaseBatch implements DatabaseBatch {
  readonly #chained: ChainedBatch<Level, Uint8Array, Uint8Array>;
  readonly #writer: Writer;

  constructor(chained: ChainedBatch<Level, Uint8Array, Uint8Array>, writer: Writer) {
    this.#chained = chained;
    this.#writer = writer;
  }

  get size(): number {
    return this.#chained.length;
  }

  put(key: Uint8Array, value: Uint8Array): void {
    this.#chained.put(key, value);
  }

  del(key: Uint8Array): void {
    this.#chained.del(key);
  }

  async write(sync: boolean): Promise<void> {
    await this.#writer(() => this.#chained.write({ sync }));
  }
}

class LevelDatabaseIterator implements DatabaseIterator {
  readonly #iterator: LevelIterator<Level, Uint8Array, Uint8Array>;
  readonly #keysOnly: boolean;
  readonly #poison: (error: unknown) => StoreFailure;

  constructor(
    iterator: LevelIterator<Level, Uint8Array, Uint8Array>,
    keysOnly: boolean,
    poison: (error: unknown) => StoreFailure,
  ) {
    this.#iterator = iterator;
    this.#keysOnly = keysOnly;
    this.#poison = poison;
  }

  async next(count: number): Promise<readonly DatabasePair[]> {
    try {
      const pairs = await this.#iterator.nextv(count);
      // LevelDB's binding leaves values that were not asked for undefined.
      return this.#keysOnly ? pairs.map(([key]) => [key, noBytes]) : pairs;
    } catch (error) {
      throw this.#poison(error);
    }
  }

  async close(): Promise<void> {
    await this.#iterator.close();
  }
}

class LevelDatabaseSnapshot implements DatabaseSnapshot {
  readonly snapshot: Snapshot;

  constructor(snapshot: Snapshot) {
    this.snapshot = snapshot;
  }

  async close(): Promise<void> {
    await this.snapshot.close();
  }
}

function levelSnapshot(snapshot: DatabaseSnapshot): Snapshot {
  assert(
    snapshot instanceof LevelDatabaseSnapshot,
    "a snapshot belongs to the database that made it",
  );
  return snapshot.snapshot;
}

/**
 * An ordered map of bytes to bytes that survives power loss: the only thing that storage/ asks of the technology below it.
 * Two implementations pass one contract suite: LevelDB, and memory for tests and simulation.
 *
 * The first write that fails poisons the database: it and every later write reject with a StoreFailure (LevelDB 1.20 otherwise
 * acknowledges synced writes after a disk-full error and loses them). So does a read that finds damage.
 */
export interface Database {
  /** The value, or undefined. Blocks the event loop for microseconds; the bytes belong to the caller. */
  getSync(key: Uint8Array, snapshot?: DatabaseSnapshot): Uint8Array | undefined;
  /** Pairs with `gte <= key < lt`, ascending, as of now. Both bounds are required: an unbounded seek walks over tombstones. */
  iterate(range: KeyRange, options?: IterateOptions): DatabaseIterator;
  batch(): DatabaseBatch;
  /** Deletes a range in the background thread, unsynced; the event loop goes on. */
  clear(range: KeyRange): Promise<void>;
  /** A view that later writes do not change. Close it. */
  snapshot(): DatabaseSnapshot;
  /** Set once a write has failed; the reason. */
  readonly failure: Error | null;
  close(): Promise<void>;
}

/** Keys with `gte <= key < lt`, in byte order. */
export interface KeyRange {
  readonly gte: Uint8Array;
  readonly lt: Uint8Array;
}

/** How to walk over a range; without options: now, ascending, with values. */
export interface IterateOptions {
  readonly snapshot?: DatabaseSnapshot;
  readonly reverse?: boolean;
  /** Leaves values empty. */
  readonly keysOnly?: boolean;
}

/** One record; both parts belong to whoever asked for it. */
export type DatabasePair = readonly [key: Uint8Array, value: Uint8Array];

/** Must be closed. */
export interface DatabaseIterator {
  /** Up to `count` next pairs; fewer when they are large (but one at least); empty at the end. */
  next(count: number): Promise<readonly DatabasePair[]>;
  close(): Promise<void>;
}

/** Writes that happen together or not at all, in the order given. Use once. */
export interface DatabaseBatch {
  /** Copies both: the caller may reuse its buffers at once. */
  put(key: Uint8Array, value: Uint8Array): void;
  del(key: Uint8Array): void;
  readonly size: number;
  /** With `sync`, resolves when the batch is on the disk itself, not in the operating system's cache. */
  write(sync: boolean): Promise<void>;
}

/** A moment of the database, for reads of the database that made it. Holds disk space until closed. */
export interface DatabaseSnapshot {
  close(): Promise<void>;
}

/** All pairs of a range, a thousand at a time. */
export async function* pairsOf(database: Database, range: KeyRange): AsyncGenerator<DatabasePair> {
  const iterator = database.iterate(range);
  try {
    for (;;) {
      const pairs = await iterator.next(1_000);
      if (pairs.length === 0) {
        return;
      }
      yield* pairs;
    }
  } finally {
    await iterator.close();
  }
}

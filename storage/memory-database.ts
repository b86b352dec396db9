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
import { StoreFailure } from "./failure.ts";
import type { FrozenMap } from "./ordered-map.ts";
import { OrderedMap } from "./ordered-map.ts";

/**
 * Database in memory, for tests and simulation: deterministic, no timers, nothing survives the object. A batch is applied when
 * `write` is called and its promise resolves in a later microtask, so no other code sees half a batch.
 */
export class MemoryDatabase implements Database {
  readonly #map = new OrderedMap();
  #failure: StoreFailure | null = null;
  #isClosed = false;

  get failure(): Error | null {
    return this.#failure;
  }

  getSync(key: Uint8Array, snapshot?: DatabaseSnapshot): Uint8Array | undefined {
    this.#checkOpen();
    const view = snapshot === undefined ? this.#map : frozenView(snapshot);
    const value = view.get(key);
    return value === undefined ? undefined : Buffer.from(value);
  }

  iterate(range: KeyRange, options: IterateOptions = {}): DatabaseIterator {
    this.#checkOpen();
    const view = options.snapshot === undefined ? this.#map.freeze() : frozenView(options.snapshot);
    return new MemoryIterator(
      view.range(range.gte, range.lt, options.reverse ?? false),
      options.keysOnly ?? false,
    );
  }

  batch(): DatabaseBatch {
    this.#checkOpen();
    return new MemoryBatch((operations) => this.#apply(operations));
  }

  async clear(range: KeyRange): Promise<void> {
    this.#checkOpen();
    for (const [key] of this.#map.freeze().range(range.gte, range.lt, false)) {
      this.#map.delete(key);
    }
  }

  snapshot(): DatabaseSnapshot {
    this.#checkOpen();
    return new MemorySnapshot(this.#map.freeze());
  }

  async close(): Promise<void> {
    this.#isClosed = true;
  }

  #apply(operations: readonly Operation[]): void {
    this.#checkOpen();
    for (const { key, value } of operations) {
      if (value === null) {
        this.#map.delete(key);
      } else {
        this.#map.set(key, value);
      }
    }
  }

  #checkOpen(): void {
    if (this.#isClosed) {
      this.#failure ??= new StoreFailure("closed", "the store is closed");
      throw this.#failure;
    }
  }
}

/** A put, or with null a delete. */
interface Operation {
  readonly key: Uint8Array;
  readonly value: Uint8Array | null;
}

class MemoryBatch implements DatabaseBatch {
  readonly #apply: (operations: readonly Operation[]) => void;
  readonly #operations: Operation[] = [];
  #isWritten = false;

  constructor(apply: (operations: readonly Operation[]) => void) {
    this.#apply = apply;
  }

  get size(): number {
    return this.#operations.length;
  }

  put(key: Uint8Array, value: Uint8Array): void {
    assert(!this.#isWritten, "a database batch is used once");
    this.#operations.push({ key: Buffer.from(key), value: Buffer.from(value) });
  }

  del(key: Uint8Array): void {
    assert(!this.#isWritten, "a database batch is used once");
    this.#operations.push({ key: Buffer.from(key), value: null });
  }

  async write(_sync: boolean): Promise<void> {
    assert(!this.#isWritten, "a database batch is used once");
    this.#isWritten = true;
    this.#apply(this.#operations);
  }
}

class MemoryIterator implements DatabaseIterator {
  readonly #pairs: Generator<DatabasePair>;
  readonly #keysOnly: boolean;

  constructor(pairs: Generator<DatabasePair>, keysOnly: boolean) {
    this.#pairs = pairs;
    this.#keysOnly = keysOnly;
  }

  async next(count: number): Promise<readonly DatabasePair[]> {
    const result: DatabasePair[] = [];
    while (result.length < count) {
      const step = this.#pairs.next();
      if (step.done === true) {
        break;
      }
      const [key, value] = step.value;
      result.push([Buffer.from(key), this.#keysOnly ? new Uint8Array(0) : Buffer.from(value)]);
    }
    return result;
  }

  async close(): Promise<void> {
    this.#pairs.return(undefined);
  }
}

class MemorySnapshot implements DatabaseSnapshot {
  readonly view: FrozenMap;

  constructor(view: FrozenMap) {
    this.view = view;
  }

  async close(): Promise<void> {
    // The garbage collector takes the view.
  }
}

function frozenView(snapshot: DatabaseSnapshot): FrozenMap {
  assert(snapshot instanceof MemorySnapshot, "a snapshot belongs to the database that made it");
  return snapshot.view;
}

import type {
  Database,
  DatabaseBatch,
  DatabaseIterator,
  DatabaseSnapshot,
  IterateOptions,
  KeyRange,
} from "../../storage/database.ts";
import { StoreFailure } from "../../storage/failure.ts";
import { MemoryDatabase } from "../../storage/memory-database.ts";
import type { Random } from "./random.ts";

interface Operation {
  readonly key: Uint8Array;
  /** Null deletes. */
  readonly value: Uint8Array | null;
}

/**
 * A disk that forgets: what was not synced when the power fails survives in part or not at all, and not necessarily in order. `open`
 * gives a Database on it; `powerLoss` ends that one, and the next `open` sees what is left.
 */
export class SimulatedDisk {
  /** What the platter holds. */
  #image: Operation[] = [];
  #unsynced: (readonly Operation[])[] = [];
  #live: LiveDatabase | null = null;

  async open(): Promise<Database> {
    const memory = new MemoryDatabase();
    const batch = memory.batch();
    for (const { key, value } of this.#image) {
      put(batch, key, value);
    }
    await batch.write(true);
    const live: LiveDatabase = new LiveDatabase(memory, (operations, sync) =>
      this.#write(live, operations, sync),
    );
    this.#live = live;
    return live;
  }

  /** Pulls the plug. Each unsynced batch survives by chance, whatever happened to those before it: blocks are written in any order. */
  powerLoss(random: Random): void {
    this.#live?.kill();
    for (const operations of this.#unsynced) {
      if (random.chance(0.5)) {
        this.#image.push(...operations);
      }
    }
    this.#unsynced = [];
  }

  async #write(live: LiveDatabase, operations: readonly Operation[], sync: boolean): Promise<void> {
    checkAlive(live);
    this.#unsynced.push(operations);
    for (let step = 0; step < writeSteps; step++) {
      await Promise.resolve();
    }
    checkAlive(live);
    if (sync) {
      this.#unsynced.forEach((each) => this.#image.push(...each));
      this.#unsynced = [];
    }
  }
}

/** Turns of the microtask queue that a write takes: a power failure can come in between. */
const writeSteps = 5;

function checkAlive(live: LiveDatabase): void {
  if (live.isDead) {
    throw new StoreFailure("closed", "the power failed");
  }
}

class LiveDatabase implements Database {
  readonly #memory: MemoryDatabase;
  readonly #write: (operations: readonly Operation[], sync: boolean) => Promise<void>;
  isDead = false;

  constructor(
    memory: MemoryDatabase,
    write: (operations: readonly Operation[], sync: boolean) => Promise<void>,
  ) {
    this.#memory = memory;
    this.#write = write;
  }

  get failure(): Error | null {
    return this.#memory.failure;
  }

  kill(): void {
    this.isDead = true;
    void this.#memory.close();
  }

  getSync(key: Uint8Array, snapshot?: DatabaseSnapshot): Uint8Array | undefined {
    return this.#memory.getSync(key, snapshot);
  }

  iterate(range: KeyRange, options?: IterateOptions): DatabaseIterator {
    return this.#memory.iterate(range, options);
  }

  batch(): DatabaseBatch {
    const memory = this.#memory.batch();
    const operations: Operation[] = [];
    const add = (key: Uint8Array, value: Uint8Array | null): void => {
      operations.push({ key: Buffer.from(key), value: value === null ? null : Buffer.from(value) });
      put(memory, key, value);
    };
    return {
      put: add,
      del: (key) => add(key, null),
      get size(): number {
        return memory.size;
      },
      write: async (sync) => {
        await memory.write(sync);
        await this.#write(operations, sync);
      },
    };
  }

  async clear(range: KeyRange): Promise<void> {
    const batch = this.batch();
    const iterator = this.iterate(range, { keysOnly: true });
    for (const [key] of await iterator.next(Number.MAX_SAFE_INTEGER)) {
      batch.del(key);
    }
    await batch.write(false);
  }

  snapshot(): DatabaseSnapshot {
    return this.#memory.snapshot();
  }

  async close(): Promise<void> {
    await this.#memory.close();
  }
}

function put(batch: DatabaseBatch, key: Uint8Array, value: Uint8Array | null): void {
  if (value === null) {
    batch.del(key);
  } else {
    batch.put(key, value);
  }
}

import type { Database, KeyRange } from "./database.ts";

/**
 * Deletes what nothing refers to any more, one slice after the other, so that neither the event loop nor a turn's write waits for
 * long. Its deletions are not synced, and what is left when the process ends is found again when the store is opened.
 */
export class Janitor {
  readonly #database: Database;
  readonly #waiting: KeyRange[] = [];
  #running: Promise<void> | null = null;

  constructor(database: Database) {
    this.#database = database;
  }

  /** Nothing durable refers to these keys, and nothing will be written to them again. */
  schedule(range: KeyRange): void {
    this.#waiting.push(range);
    this.#running ??= this.#run();
  }

  /** Resolves when nothing is left to delete. */
  async idle(): Promise<void> {
    await this.#running;
  }

  async #run(): Promise<void> {
    try {
      for (let next = this.#waiting[0]; next !== undefined; next = this.#waiting[0]) {
        await clearInSlices(this.#database, next);
        this.#waiting.shift();
      }
    } catch {
      // The database is closed or has failed. Every write says so to the host, and opening it again finds what is left.
      this.#waiting.length = 0;
    } finally {
      this.#running = null;
    }
  }
}

/** Keys deleted at a time: some milliseconds of LevelDB's writer. */
const sliceKeys = 2_000;

/** Each slice begins past the tombstones of the one before. */
async function clearInSlices(database: Database, range: KeyRange): Promise<void> {
  let gte = range.gte;
  for (;;) {
    const iterator = database.iterate({ gte, lt: range.lt }, { keysOnly: true });
    const keys = await iterator.next(sliceKeys).finally(() => iterator.close());
    const last = keys.at(-1);
    if (last === undefined) {
      return;
    }
    const end = Buffer.concat([last[0], Buffer.of(0)]);
    await database.clear({ gte, lt: end });
    gte = end;
  }
}

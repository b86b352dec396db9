import type { Database, KeyRange } from "./database.ts";

/**
 * Deletes what nothing refers to any more, one slice after the other, so that neither the event loop nor a turn's write waits for
 * long. What it has not deleted when the process ends is found again when the store is opened.
 */
export class Janitor {
  readonly #database: Database;
  readonly #waiting: { readonly after: number; readonly range: KeyRange }[] = [];
  #running: Promise<void> | null = null;
  #durable = 0;

  constructor(database: Database) {
    this.#database = database;
  }

  /** Deletes the range once turn `after` is durable: deletions that outlive the reason for them would look like a hole. */
  schedule(range: KeyRange, after: number): void {
    this.#waiting.push({ after, range });
  }

  /** Turns up to `sequence` are durable. */
  advance(sequence: number): void {
    this.#durable = sequence;
    this.#running ??= this.#isDue() ? this.#run() : null;
  }

  /** Resolves when nothing is left that may be deleted now. */
  async idle(): Promise<void> {
    await this.#running;
  }

  #isDue(): boolean {
    return this.#waiting.some(({ after }) => after <= this.#durable);
  }

  async #run(): Promise<void> {
    try {
      while (this.#isDue()) {
        const due = this.#waiting.findIndex(({ after }) => after <= this.#durable);
        for (const { range } of this.#waiting.splice(due, 1)) {
          await clearInSlices(this.#database, range);
        }
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

import { assert } from "../cluster/assert.ts";
import type { StorageBatch } from "./turn-batch.ts";

/** One row that the database does not hold yet, as it will be. */
export interface OverlayRow {
  /** Table and key as a string of one UTF-16 unit per byte: sorts like the bytes. */
  readonly id: string;
  /** Key in the database. */
  readonly key: Uint8Array;
  /** The sealed record; null when the row is deleted. */
  readonly record: Uint8Array | null;
}

/**
 * What is applied but not in the database: one layer that changes, and one that is on its way to the disk. Reads look at the first,
 * then at the second, then at the database.
 */
export class Overlay {
  #current = new Map<string, OverlayRow>();
  #inFlight = new Map<string, OverlayRow>();

  get size(): number {
    return this.#current.size + this.#inFlight.size;
  }

  get(id: string): OverlayRow | undefined {
    return this.#current.get(id) ?? this.#inFlight.get(id);
  }

  set(row: OverlayRow): void {
    this.#current.set(row.id, row);
  }

  /** Puts the changing layer into the batch; it is in flight from now on. */
  stage(batch: StorageBatch): void {
    assert(this.#inFlight.size === 0, "one batch is in flight at a time");
    this.#inFlight = this.#current;
    this.#current = new Map();
    for (const { key, record } of this.#inFlight.values()) {
      if (record === null) {
        batch.del(key);
      } else {
        batch.put(key, record);
      }
    }
  }

  /** The batch is written: the database holds what was in flight, which is returned. */
  staged(): Iterable<OverlayRow> {
    const written = this.#inFlight;
    this.#inFlight = new Map();
    return written.values();
  }

  /** Forgets everything: another state has taken the place of the one that these rows belong to. */
  clear(): void {
    this.#current.clear();
    this.#inFlight.clear();
  }

  /** The rows with `from <= id < to`, deleted ones included, in order. A copy. */
  range(from: string, to: string): readonly OverlayRow[] {
    if (this.size === 0) {
      return [];
    }
    const found: OverlayRow[] = [];
    for (const row of this.#current.values()) {
      if (row.id >= from && row.id < to) {
        found.push(row);
      }
    }
    for (const row of this.#inFlight.values()) {
      if (row.id >= from && row.id < to && !this.#current.has(row.id)) {
        found.push(row);
      }
    }
    return found.sort((a, b) => (a.id < b.id ? -1 : 1));
  }
}

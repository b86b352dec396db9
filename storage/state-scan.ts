import { openRecord } from "./checksum.ts";
import type { DatabaseIterator, DatabasePair } from "./database.ts";
import { statePrefixBytes } from "./keys.ts";
import type { OverlayRow } from "./overlay.ts";

/** One row of a state table. */
export interface StateRow {
  readonly key: Uint8Array;
  /** The content, its seal checked and removed. */
  readonly body: Uint8Array;
}

/** Rows of one table in key order as of one moment: what the database held, with the overlay's rows in place of its own. Close it. */
export class StateScan {
  readonly #iterator: DatabaseIterator;
  readonly #overlay: readonly OverlayRow[];
  #at = 0;
  #isDone = false;

  /** Both must be taken in one synchronous step. */
  constructor(iterator: DatabaseIterator, overlay: readonly OverlayRow[]) {
    this.#iterator = iterator;
    this.#overlay = overlay;
  }

  /** The next rows, about `count` of them; empty at the end. */
  async next(count: number): Promise<readonly StateRow[]> {
    while (!this.#isDone) {
      const pairs = await this.#iterator.next(count);
      this.#isDone = pairs.length === 0;
      const rows = this.#merge(pairs);
      if (rows.length > 0) {
        return rows;
      }
    }
    return [];
  }

  async close(): Promise<void> {
    this.#isDone = true;
    await this.#iterator.close();
  }

  #merge(pairs: readonly DatabasePair[]): readonly StateRow[] {
    const rows: StateRow[] = [];
    for (const [key, record] of pairs) {
      if (this.#at < this.#overlay.length) {
        const id = stateRowId(key);
        this.#takeOverlay(rows, (row) => row.id < id);
        const same = this.#overlay[this.#at];
        if (same?.id === id) {
          this.#at += 1;
          pushRow(rows, same);
          continue;
        }
      }
      rows.push(openRow(key, record));
    }
    if (this.#isDone) {
      this.#takeOverlay(rows, () => true);
    }
    return rows;
  }

  #takeOverlay(rows: StateRow[], wanted: (row: OverlayRow) => boolean): void {
    for (;;) {
      const row = this.#overlay[this.#at];
      if (row === undefined || !wanted(row)) {
        return;
      }
      this.#at += 1;
      pushRow(rows, row);
    }
  }
}

function pushRow(rows: StateRow[], { key, record }: OverlayRow): void {
  if (record !== null) {
    rows.push(openRow(key, record));
  }
}

function openRow(key: Uint8Array, record: Uint8Array): StateRow {
  return {
    key: key.subarray(statePrefixBytes + 1),
    body: openRecord(key, record, statePrefixBytes),
  };
}

/** Table and key of a state key as a string of one UTF-16 unit per byte: compares like the bytes. */
export function stateRowId(key: Uint8Array): string {
  const buffer = Buffer.isBuffer(key)
    ? key
    : Buffer.from(key.buffer, key.byteOffset, key.byteLength);
  return buffer.toString("latin1", statePrefixBytes);
}

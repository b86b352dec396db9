import { LogIndex } from "../cluster/types.ts";
import type { IdempotencyKey } from "./commands.ts";
import { writeU64 } from "./keys.ts";
import type { StateLimits } from "./state-limits.ts";
import { soleRow, stateTable } from "./state-tables.ts";
import type { StateStore } from "./state-store.ts";
import { type ByteReader, type ByteWriter, decodeWith, expectVersion } from "./wire-codec.ts";

/** What is known of an Idempotency-Key. */
export type IdempotencyState =
  | { readonly type: "new" }
  | { readonly type: "answered"; readonly outcome: Uint8Array }
  | { readonly type: "mismatch" };

interface Remembered {
  readonly fingerprint: string;
  readonly outcome: Uint8Array;
}

interface Queued {
  readonly key: string;
  readonly index: LogIndex;
}

/**
 * The first outcome of each Idempotency-Key, for as long as the limits say. The queue that tells which key is the oldest lies in the
 * database as well, so neither memory nor the time to open grows with the number of keys.
 */
export class Idempotency {
  readonly #store: StateStore;
  readonly #limits: StateLimits;
  /** Positions of the oldest remembered key and of the next one. */
  #head = 0;
  #tail = 0;
  #areBoundsDirty = false;
  #oldest: Queued | null = null;

  constructor(store: StateStore, limits: StateLimits) {
    this.#store = store;
    this.#limits = limits;
    this.reload();
  }

  get count(): number {
    return this.#tail - this.#head;
  }

  /** Reads where the queue of the store's present state begins and ends. */
  reload(): void {
    const body = this.#store.get(stateTable.idempotencyBounds, soleRow);
    const bounds = body === null ? { head: 0, tail: 0 } : decodeWith(readBounds, body);
    this.#head = bounds.head;
    this.#tail = bounds.tail;
    this.#areBoundsDirty = false;
    this.#oldest = null;
  }

  find(idempotency: IdempotencyKey): IdempotencyState {
    const body = this.#store.get(stateTable.idempotency, Buffer.from(idempotency.key));
    if (body === null) {
      return { type: "new" };
    }
    const { fingerprint, outcome } = decodeWith(readRemembered, body);
    return fingerprint === idempotency.fingerprint
      ? { type: "answered", outcome }
      : { type: "mismatch" };
  }

  /** Keeps the outcome of a key that `find` found new. */
  record(idempotency: IdempotencyKey, outcome: Uint8Array, index: LogIndex): void {
    const { key, fingerprint } = idempotency;
    const row = this.#store.find(stateTable.idempotency, Buffer.from(key));
    this.#store.put(row, writeRemembered, { fingerprint, outcome });
    const place = this.#store.find(stateTable.idempotencyQueue, position(this.#tail));
    this.#store.put(place, writeQueued, { key, index });
    this.#tail += 1;
    this.#areBoundsDirty = true;
  }

  /** Forgets what is over the limits, now that the log has come to `index`. */
  trim(index: LogIndex): void {
    const { idempotencyKeysMax, idempotencyEntriesMax } = this.#limits;
    while (this.#head < this.#tail) {
      this.#oldest ??= this.#readOldest();
      const isOld = this.#oldest.index + idempotencyEntriesMax <= index;
      if (!isOld && this.count <= idempotencyKeysMax) {
        return;
      }
      const key = Buffer.from(this.#oldest.key);
      this.#store.delete(this.#store.find(stateTable.idempotency, key));
      this.#store.delete(this.#store.find(stateTable.idempotencyQueue, position(this.#head)));
      this.#oldest = null;
      this.#head += 1;
      this.#areBoundsDirty = true;
    }
  }

  /** Writes the row of the bounds if they have changed. */
  flush(): void {
    if (this.#areBoundsDirty) {
      this.#areBoundsDirty = false;
      const row = this.#store.find(stateTable.idempotencyBounds, soleRow);
      this.#store.put(row, writeBounds, { head: this.#head, tail: this.#tail });
    }
  }

  #readOldest(): Queued {
    const body = this.#store.get(stateTable.idempotencyQueue, position(this.#head));
    // An empty body is refused by its decoder: a queue with a hole is a damaged state.
    return decodeWith(readQueued, body ?? new Uint8Array(0));
  }
}

/** Big-endian, so that the queue lies in order. */
function position(value: number): Uint8Array {
  const bytes = Buffer.allocUnsafe(8);
  writeU64(bytes, 0, value);
  return bytes;
}

const version = 1;

function writeRemembered(writer: ByteWriter, remembered: Remembered): void {
  writer.u8(version);
  writer.string(remembered.fingerprint);
  writer.bytes(remembered.outcome);
}

function readRemembered(reader: ByteReader): Remembered {
  expectVersion(reader, version, "an idempotency key");
  return { fingerprint: reader.string(), outcome: reader.bytes() };
}

function writeQueued(writer: ByteWriter, queued: Queued): void {
  writer.u8(version);
  writer.string(queued.key);
  writer.varuint(queued.index);
}

function readQueued(reader: ByteReader): Queued {
  expectVersion(reader, version, "a place in the queue of idempotency keys");
  return { key: reader.string(), index: LogIndex(reader.varuint()) };
}

function writeBounds(writer: ByteWriter, bounds: { head: number; tail: number }): void {
  writer.u8(version);
  writer.varuint(bounds.head);
  writer.varuint(bounds.tail);
}

function readBounds(reader: ByteReader): { head: number; tail: number } {
  expectVersion(reader, version, "the bounds of the idempotency keys");
  return { head: reader.varuint(), tail: reader.varuint() };
}

import { crc32c } from "./checksum.ts";

/** Before each row: where the next older row of its bucket lies (f64), hash, bytes of the key, of the record, and of all of it (u32 each). */
const headerBytes = 24;
/** Rows begin at multiples of this, so that headers can be read as words. */
const alignment = 8;
/** Stands for the length of a record that is not there. */
const absent = 0xffff_ffff;
/** Keys can be chosen so that all fall into one bucket: whoever does that finds nothing, but holds nobody up. */
const chainMax = 16;
/** A row larger than this part of the cache is not worth what it pushes out. */
const rowPart = 8;
/** What a row with its header takes, roughly: decides how many buckets there are. */
const rowBytesExpected = 256;

/**
 * Rows of the database that were read or written lately, also such as are not there; the oldest make room for new ones. All bytes lie in one
 * piece of memory: a hundred thousand rows are one object to the garbage collector. Knows nothing of what rows mean, and does not
 * notice when the database changes: whoever writes a row there puts it here, too.
 *
 * The memory is a ring, and places in it are counted on and on: `place` modulo its size. Each bucket leads to its newest row, each row to the
 * next older one of its bucket. Whatever lies further back than the ring is long has been written over; so a chain ends at the
 * first place that is too old, and nothing ever has to be taken out. A row that changes and takes as much as before stays where it is.
 */
export class RowCache {
  readonly #size: number;
  readonly #bytes: Buffer;
  readonly #words: Uint32Array;
  readonly #places: Float64Array;
  readonly #buckets: Float64Array;
  readonly #bucketMask: number;
  /** Where the next row goes. Begins at the size of the ring, so that 0 is too old. */
  #next: number;

  /** @param bytesMax memory for rows and their headers; with less than a kilobyte nothing is kept */
  constructor(bytesMax: number) {
    this.#size = Math.floor(bytesMax / 1024) * 1024;
    const memory = new ArrayBuffer(this.#size);
    this.#bytes = Buffer.from(memory);
    this.#words = new Uint32Array(memory);
    this.#places = new Float64Array(memory);
    const buckets = 2 ** Math.ceil(Math.log2(Math.max(1, this.#size / rowBytesExpected)));
    this.#buckets = new Float64Array(buckets);
    this.#bucketMask = buckets - 1;
    this.#next = this.#size;
  }

  /** A copy of the record; null when the database has none, undefined when nothing is known here. */
  get(key: Uint8Array): Uint8Array | null | undefined {
    const at = this.#find(key, crc32c(key));
    return at === null ? undefined : this.#recordAt(at);
  }

  /** The database has this record now, or none. */
  set(key: Uint8Array, record: Uint8Array | null): void {
    const length = record?.length ?? 0;
    const total = aligned(headerBytes + key.length + length);
    const hash = crc32c(key);
    const bucket = hash & this.#bucketMask;
    if (total > this.#size / rowPart) {
      // What is known is not true any more, and what is true is too large.
      this.#buckets[bucket] = 0;
      return;
    }
    let at = this.#find(key, hash);
    if (at === null || this.#words[at / 4 + 5] !== total) {
      const place = this.#place(total);
      at = place % this.#size;
      this.#places[at / alignment] = this.#buckets[bucket] ?? 0;
      this.#buckets[bucket] = place;
      this.#words[at / 4 + 2] = hash;
      this.#words[at / 4 + 3] = key.length;
      this.#words[at / 4 + 5] = total;
      this.#bytes.set(key, at + headerBytes);
    }
    this.#words[at / 4 + 4] = record === null ? absent : length;
    if (record !== null) {
      this.#bytes.set(record, at + headerBytes + key.length);
    }
  }

  /** Where in the ring the newest row with this key lies. */
  #find(key: Uint8Array, hash: number): number | null {
    const oldest = this.#next - this.#size;
    let place = this.#buckets[hash & this.#bucketMask] ?? 0;
    for (let steps = 0; place >= oldest && place > 0 && steps < chainMax; steps++) {
      const at = place % this.#size;
      if (this.#words[at / 4 + 2] === hash && this.#isKeyAt(at, key)) {
        return at;
      }
      place = this.#places[at / alignment] ?? 0;
    }
    return null;
  }

  /** A row in one piece: not over the end of the ring. */
  #place(total: number): number {
    const at = this.#next % this.#size;
    const place = at + total > this.#size ? this.#next + this.#size - at : this.#next;
    this.#next = place + total;
    return place;
  }

  #isKeyAt(at: number, key: Uint8Array): boolean {
    const { length } = key;
    if (this.#words[at / 4 + 3] !== length) {
      return false;
    }
    const bytes = this.#bytes;
    const start = at + headerBytes;
    for (let i = 0; i < length; i++) {
      if (bytes[start + i] !== key[i]) {
        return false;
      }
    }
    return true;
  }

  #recordAt(at: number): Uint8Array | null {
    const length = this.#words[at / 4 + 4] ?? 0;
    if (length === absent) {
      return null;
    }
    const start = at + headerBytes + (this.#words[at / 4 + 3] ?? 0);
    const record = Buffer.allocUnsafe(length);
    this.#bytes.copy(record, 0, start, start + length);
    return record;
  }
}

function aligned(bytes: number): number {
  return Math.ceil(bytes / alignment) * alignment;
}

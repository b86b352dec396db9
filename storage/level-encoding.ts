import type { StoreFailure } from "./failure.ts";

/** Reads LevelDB's own encoding: varints and length-prefixed bytes. What does not fit throws what `malformed` makes. */
export class LittleEndianReader {
  readonly malformed: () => StoreFailure;
  readonly #bytes: Uint8Array;
  #offset = 0;

  constructor(bytes: Uint8Array, malformed: () => StoreFailure) {
    this.#bytes = bytes;
    this.malformed = malformed;
  }

  get remaining(): number {
    return this.#bytes.length - this.#offset;
  }

  /** Seven bits a byte, low ones first. */
  varint(): number {
    let value = 0;
    for (let scale = 1; scale < 2 ** 56; scale *= 128) {
      const byte = this.take(1)[0] ?? 0;
      value += (byte & 0x7f) * scale;
      if (byte < 0x80) {
        return value;
      }
    }
    throw this.malformed();
  }

  lengthPrefixed(): Uint8Array {
    return this.take(this.varint());
  }

  /** Where a block lies in its table. */
  handle(): { readonly offset: number; readonly size: number } {
    return { offset: this.varint(), size: this.varint() };
  }

  skip(count: number): void {
    this.take(count);
  }

  take(count: number): Uint8Array {
    if (count > this.remaining) {
      throw this.malformed();
    }
    this.#offset += count;
    return this.#bytes.subarray(this.#offset - count, this.#offset);
  }
}

/** Snappy's raw format (format_description.txt): a length, then literals and copies from what is already there. */
export function snappyUncompress(bytes: Uint8Array, malformed: () => StoreFailure): Uint8Array {
  const reader = new LittleEndianReader(bytes, malformed);
  const result = Buffer.alloc(Math.min(reader.varint(), uncompressedBytesMax));
  let length = 0;
  while (reader.remaining > 0) {
    const tag = reader.take(1)[0] ?? 0;
    if ((tag & 3) === 0) {
      const literal = reader.take(1 + literalLength(tag >>> 2, reader));
      if (length + literal.length > result.length) {
        throw malformed();
      }
      result.set(literal, length);
      length += literal.length;
      continue;
    }
    const { distance, count } = copyOf(tag, reader);
    if (distance === 0 || distance > length || length + count > result.length) {
      throw malformed();
    }
    for (let i = 0; i < count; i++, length++) {
      result[length] = result[length - distance] ?? 0;
    }
  }
  if (length !== result.length) {
    throw malformed();
  }
  return result;
}

/** Index blocks are some kilobytes; a damaged length must not ask for gigabytes. */
const uncompressedBytesMax = 256 * 1024 * 1024;

function literalLength(code: number, reader: LittleEndianReader): number {
  return code < 60 ? code : littleEndian(reader.take(code - 59));
}

function copyOf(
  tag: number,
  reader: LittleEndianReader,
): { readonly distance: number; readonly count: number } {
  if ((tag & 3) === 1) {
    const low = reader.take(1)[0] ?? 0;
    return { distance: ((tag >>> 5) << 8) | low, count: 4 + ((tag >>> 2) & 7) };
  }
  return { distance: littleEndian(reader.take((tag & 3) === 2 ? 2 : 4)), count: 1 + (tag >>> 2) };
}

function littleEndian(bytes: Uint8Array): number {
  return bytes.reduceRight((value, byte) => value * 256 + byte, 0);
}

import { assert } from "../cluster/assert.ts";

/**
 * Why bytes are not what they should be. `truncated`: they end too early; `trailing`: they go on after the end; `malformed`: a field has
 * an impossible value; `unsupported_version`: written by a newer program.
 */
export type CodecErrorCode = "truncated" | "trailing" | "malformed" | "unsupported_version";

/** Bytes from a peer or a disk that are not in the format. The only error that decoders of this folder throw. */
export class CodecError extends Error {
  override readonly name = "CodecError";
  readonly code: CodecErrorCode;

  constructor(code: CodecErrorCode, detail: string) {
    super(`${code}: ${detail}`);
    this.code = code;
  }
}

const initialBytes = 16 * 1024;
/** A scratch buffer that a huge value has made larger than this is not kept. */
const keptBytesMax = 4 * 1024 * 1024;

/**
 * Writes fields one after the other into a scratch buffer that grows; `take` copies them out: one pass and one allocation per message.
 * Integers are LEB128 (7 bits a byte, low bits first), bytes and strings are preceded by their length.
 */
export class ByteWriter {
  #buffer = Buffer.allocUnsafeSlow(initialBytes);
  #length = 0;

  get length(): number {
    return this.#length;
  }

  u8(value: number): void {
    this.#reserve(1);
    this.#buffer[this.#length++] = value;
  }

  /** A safe integer >= 0. */
  varuint(value: number): void {
    assert(Number.isSafeInteger(value) && value >= 0, "an unsigned integer is out of range");
    this.#reserve(8);
    const buffer = this.#buffer;
    let rest = value;
    while (rest >= 0x80) {
      if (rest < 0x80000000) {
        buffer[this.#length++] = (rest & 0x7f) | 0x80;
        rest >>>= 7;
      } else {
        buffer[this.#length++] = (rest % 0x80) | 0x80;
        rest = Math.floor(rest / 0x80);
      }
    }
    buffer[this.#length++] = rest;
  }

  /** Four bytes, big-endian: for what must have a fixed place. */
  u32(value: number): void {
    this.#reserve(4);
    this.#length = this.#buffer.writeUInt32BE(value, this.#length);
  }

  bool(value: boolean): void {
    this.u8(value ? 1 : 0);
  }

  bytes(value: Uint8Array): void {
    this.varuint(value.length);
    this.raw(value);
  }

  /** Bytes without their length. */
  raw(value: Uint8Array): void {
    this.#reserve(value.length);
    this.#buffer.set(value, this.#length);
    this.#length += value.length;
  }

  string(value: string): void {
    // Almost all strings are short: their length is written once the bytes are there, in the one byte kept free for it.
    if (value.length < 0x80 / 3) {
      this.#reserve(1 + 0x80);
      const written = this.#buffer.write(value, this.#length + 1, "utf8");
      this.#buffer[this.#length] = written;
      this.#length += 1 + written;
    } else {
      this.bytes(Buffer.from(value, "utf8"));
    }
  }

  /** What was written: a view that is good until more is written. */
  view(): Buffer {
    return this.#buffer.subarray(0, this.#length);
  }

  /** What was written, in memory of its own; the writer is empty again. */
  take(): Buffer {
    const result = Buffer.allocUnsafe(this.#length);
    this.#buffer.copy(result, 0, 0, this.#length);
    this.clear();
    return result;
  }

  /** Forgets what was written. */
  clear(): void {
    this.#length = 0;
    if (this.#buffer.length > keptBytesMax) {
      this.#buffer = Buffer.allocUnsafeSlow(initialBytes);
    }
  }

  #reserve(count: number): void {
    const needed = this.#length + count;
    if (needed <= this.#buffer.length) {
      return;
    }
    const grown = Buffer.allocUnsafeSlow(Math.max(needed, this.#buffer.length * 2));
    this.#buffer.copy(grown, 0, 0, this.#length);
    this.#buffer = grown;
  }
}

const shared = new ByteWriter();

/** Runs `write` over the shared scratch buffer and returns the bytes. `write` must not encode anything else meanwhile. */
export function encodeWith<T>(write: (writer: ByteWriter, value: T) => void, value: T): Uint8Array {
  return encodeRecordWith(write, value, noBytes);
}

/** The same, with `tail` at the end: room for a seal (checksum.ts). */
export function encodeRecordWith<T>(
  write: (writer: ByteWriter, value: T) => void,
  value: T,
  tail: Uint8Array,
): Buffer {
  // Not empty only after a write that threw: nothing else can be half-way, as writing is synchronous.
  shared.clear();
  write(shared, value);
  shared.raw(tail);
  return shared.take();
}

const noBytes = new Uint8Array(0);

/** Reads fields in the order in which they were written. Byte fields are views of the input, not copies. Throws CodecError only. */
export class ByteReader {
  readonly #bytes: Buffer;
  #offset = 0;

  constructor(bytes: Uint8Array) {
    this.#bytes = Buffer.isBuffer(bytes)
      ? bytes
      : Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  }

  get remaining(): number {
    return this.#bytes.length - this.#offset;
  }

  u8(): number {
    const value = this.#bytes[this.#offset];
    if (value === undefined) {
      throw new CodecError("truncated", "a byte is missing");
    }
    this.#offset += 1;
    return value;
  }

  varuint(): number {
    const first = this.u8();
    if (first < 0x80) {
      return first;
    }
    let value = first & 0x7f;
    let scale = 0x80;
    for (let count = 1; count < 8; count++) {
      const byte = this.u8();
      value += (byte & 0x7f) * scale;
      if (byte < 0x80) {
        if (byte === 0 || value > Number.MAX_SAFE_INTEGER) {
          throw new CodecError("malformed", "an integer is not in its shortest form or too large");
        }
        return value;
      }
      scale *= 0x80;
    }
    throw new CodecError("malformed", "an integer is too long");
  }

  /** The number of elements that follow, each of at least `elementBytesMin` bytes: bounded by what is there, so safe to allocate for. */
  count(elementBytesMin: number): number {
    const count = this.varuint();
    if (count * elementBytesMin > this.remaining) {
      throw new CodecError("truncated", `${count} elements do not fit in ${this.remaining} bytes`);
    }
    return count;
  }

  bool(): boolean {
    const value = this.u8();
    if (value > 1) {
      throw new CodecError("malformed", `not a boolean: ${value}`);
    }
    return value === 1;
  }

  bytes(): Uint8Array {
    return this.raw(this.varuint());
  }

  /** The next `length` bytes. */
  raw(length: number): Uint8Array {
    const start = this.#take(length);
    return this.#bytes.subarray(start, start + length);
  }

  string(): string {
    const length = this.varuint();
    const start = this.#take(length);
    return this.#bytes.toString("utf8", start, start + length);
  }

  /** Nothing may follow. */
  end(): void {
    if (this.remaining !== 0) {
      throw new CodecError("trailing", `${this.remaining} bytes follow the end`);
    }
  }

  #take(length: number): number {
    const start = this.#offset;
    if (length > this.#bytes.length - start) {
      throw new CodecError(
        "truncated",
        `${length} bytes are announced, ${this.remaining} are there`,
      );
    }
    this.#offset = start + length;
    return start;
  }
}

/** Decodes all of `bytes` with `read`. */
export function decodeWith<T>(read: (reader: ByteReader) => T, bytes: Uint8Array): T {
  const reader = new ByteReader(bytes);
  const value = read(reader);
  reader.end();
  return value;
}

/** Reads a list: its length, then each element of at least `elementBytesMin` bytes. */
export function readList<T>(
  reader: ByteReader,
  elementBytesMin: number,
  read: (reader: ByteReader) => T,
): readonly T[] {
  const count = reader.count(elementBytesMin);
  const list: T[] = [];
  for (let i = 0; i < count; i++) {
    list.push(read(reader));
  }
  return list;
}

/** Writes a list: its length, then each element. */
export function writeList<T>(
  writer: ByteWriter,
  list: readonly T[],
  write: (writer: ByteWriter, element: T) => void,
): void {
  writer.varuint(list.length);
  for (const element of list) {
    write(writer, element);
  }
}

/** Reads the format version that every message begins with. */
export function expectVersion(reader: ByteReader, version: number, what: string): void {
  const found = reader.u8();
  if (found !== version) {
    throw new CodecError(
      found > version ? "unsupported_version" : "malformed",
      `${what} has version ${found}, this program reads ${version}`,
    );
  }
}

import { StoreFailure } from "./failure.ts";
import { Generation, readU32, readU64 } from "./keys.ts";

/** Builds a record field by field, big-endian. */
export class ByteWriter {
  #buffer: Buffer;
  #length = 0;

  constructor(bytesExpected = 128) {
    this.#buffer = Buffer.allocUnsafe(bytesExpected);
  }

  u8(value: number): this {
    this.#reserve(1);
    this.#length = this.#buffer.writeUInt8(value, this.#length);
    return this;
  }

  u32(value: number): this {
    this.#reserve(4);
    this.#length = this.#buffer.writeUInt32BE(value, this.#length);
    return this;
  }

  /** A safe integer in 8 bytes. */
  u64(value: number): this {
    return this.u32(Math.floor(value / 0x1_0000_0000)).u32(value % 0x1_0000_0000);
  }

  raw(bytes: Uint8Array): this {
    this.#reserve(bytes.length);
    this.#buffer.set(bytes, this.#length);
    this.#length += bytes.length;
    return this;
  }

  /** Bytes after their length in 4 bytes. */
  bytes(bytes: Uint8Array): this {
    return this.u32(bytes.length).raw(bytes);
  }

  /** UTF-8 after its length in 4 bytes. */
  text(text: string): this {
    return this.bytes(Buffer.from(text));
  }

  /** What was written: a view that stays valid while nothing more is written. */
  finish(): Buffer {
    return this.#buffer.subarray(0, this.#length);
  }

  #reserve(count: number): void {
    if (this.#length + count > this.#buffer.length) {
      const larger = Buffer.allocUnsafe(Math.max(this.#buffer.length * 2, this.#length + count));
      larger.set(this.#buffer.subarray(0, this.#length), 0);
      this.#buffer = larger;
    }
  }
}

/** Reads a record field by field. What does not fit throws StoreFailure `corrupt`. */
export class ByteReader {
  readonly #bytes: Uint8Array;
  readonly #what: string;
  #offset = 0;

  /** @param what names the record in errors */
  constructor(bytes: Uint8Array, what: string) {
    this.#bytes = bytes;
    this.#what = what;
  }

  get remaining(): number {
    return this.#bytes.length - this.#offset;
  }

  u8(): number {
    return this.raw(1)[0] ?? 0;
  }

  u32(): number {
    return readU32(this.raw(4), 0);
  }

  u64(): number {
    const value = readU64(this.raw(8), 0);
    if (!Number.isSafeInteger(value)) {
      throw this.#damaged("a number is too large");
    }
    return value;
  }

  /** The next `count` bytes: a view. */
  raw(count: number): Uint8Array {
    if (count > this.remaining) {
      throw this.#damaged("it ends too early");
    }
    this.#offset += count;
    return this.#bytes.subarray(this.#offset - count, this.#offset);
  }

  generation(): Generation {
    const value = this.u32();
    if (value === 0) {
      throw this.#damaged("there is no generation 0");
    }
    return Generation(value);
  }

  bytes(): Uint8Array {
    return this.raw(this.u32());
  }

  text(): string {
    return Buffer.from(this.bytes()).toString("utf8");
  }

  rest(): Uint8Array {
    return this.raw(this.remaining);
  }

  end(): void {
    if (this.remaining !== 0) {
      throw this.#damaged("bytes follow its end");
    }
  }

  #damaged(why: string): StoreFailure {
    return new StoreFailure("corrupt", `${this.#what} cannot be read: ${why}`);
  }
}

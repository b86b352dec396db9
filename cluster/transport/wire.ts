/** What a peer sent is not what proto/peer.proto describes. Expected from a broken or hostile peer; never a bug of this process. */
export class WireError extends Error {
  override readonly name = "WireError";
}

const varint = 0;
const fixed64 = 1;
const lengthDelimited = 2;
const fixed32 = 5;

/** A nested message's length is written in this many bytes, padded: so it can be filled in after the message. */
const lengthBytes = 4;
const messageBytesMax = 2 ** (7 * lengthBytes) - 1;

/**
 * Writes protobuf fields, front to back, in the order of their numbers. Fields with their default value are left out, as proto3
 * wants it.
 */
export class WireWriter {
  #buffer: Buffer;
  #length = 0;

  /** @param capacity bytes to begin with; the writer grows when it must */
  constructor(capacity: number) {
    this.#buffer = Buffer.allocUnsafe(capacity);
  }

  /** The bytes written so far. The writer must not be used afterwards. */
  finish(): Buffer {
    return this.#buffer.subarray(0, this.#length);
  }

  /** A non-negative safe integer: bool, enum, uint32 and uint64 alike. */
  uint(field: number, value: number): void {
    if (value !== 0) {
      this.uintAlways(field, value);
    }
  }

  /** For `optional` fields, where 0 is not the same as absent. */
  uintAlways(field: number, value: number): void {
    this.#reserve(20);
    this.#varint(field * 8 + varint);
    this.#varint(value);
  }

  bool(field: number, value: boolean): void {
    this.uint(field, value ? 1 : 0);
  }

  double(field: number, value: number): void {
    if (value !== 0) {
      this.#reserve(18);
      this.#varint(field * 8 + fixed64);
      this.#length = this.#buffer.writeDoubleLE(value, this.#length);
    }
  }

  string(field: number, value: string): void {
    if (value.length > 0) {
      this.stringAlways(field, value);
    }
  }

  /** For repeated and `optional` strings. */
  stringAlways(field: number, value: string): void {
    const bytes = Buffer.byteLength(value);
    this.#reserve(20 + bytes);
    this.#varint(field * 8 + lengthDelimited);
    this.#varint(bytes);
    this.#length += this.#buffer.write(value, this.#length);
  }

  bytes(field: number, value: Uint8Array): void {
    if (value.length > 0) {
      this.#reserve(20 + value.length);
      this.#varint(field * 8 + lengthDelimited);
      this.#varint(value.length);
      this.#buffer.set(value, this.#length);
      this.#length += value.length;
    }
  }

  /** A nested message; written also when it is empty, because its presence may mean something. */
  message<T>(field: number, value: T, write: (writer: WireWriter, value: T) => void): void {
    this.#reserve(10 + lengthBytes);
    this.#varint(field * 8 + lengthDelimited);
    const start = this.#length + lengthBytes;
    this.#length = start;
    write(this, value);
    this.#padLength(start - lengthBytes, this.#length - start);
  }

  #varint(value: number): void {
    const buffer = this.#buffer;
    let position = this.#length;
    let rest = value;
    while (rest > 0x7fffffff) {
      buffer[position++] = (rest % 128) | 0x80;
      rest = Math.floor(rest / 128);
    }
    while (rest > 0x7f) {
      buffer[position++] = (rest & 0x7f) | 0x80;
      rest >>>= 7;
    }
    buffer[position] = rest;
    this.#length = position + 1;
  }

  #padLength(offset: number, length: number): void {
    if (length > messageBytesMax) {
      throw new RangeError(`a message of ${length} bytes is too long to encode`);
    }
    const buffer = this.#buffer;
    buffer[offset] = (length & 0x7f) | 0x80;
    buffer[offset + 1] = ((length >>> 7) & 0x7f) | 0x80;
    buffer[offset + 2] = ((length >>> 14) & 0x7f) | 0x80;
    buffer[offset + 3] = length >>> 21;
  }

  #reserve(bytes: number): void {
    const needed = this.#length + bytes;
    if (needed > this.#buffer.length) {
      const grown = Buffer.allocUnsafe(Math.max(needed, 2 * this.#buffer.length));
      this.#buffer.copy(grown, 0, 0, this.#length);
      this.#buffer = grown;
    }
  }
}

/**
 * Reads protobuf fields. Unknown fields are skipped, so that a newer release may add some; known fields must have their type, and
 * fields must come in ascending order, as every serializer writes them: it lets a decoder rely on what came before.
 *
 * Loop: `while (reader.next()) switch (reader.field)`, and in each case call exactly one of the value methods.
 */
export class WireReader {
  /** Number of the field whose value is next. */
  field = 0;
  readonly #buffer: Buffer;
  #position = 0;
  #end: number;
  #wireType = 0;

  constructor(bytes: Buffer) {
    this.#buffer = bytes;
    this.#end = bytes.length;
  }

  /** Moves on to the next field; false at the end of the message. */
  next(): boolean {
    if (this.#position >= this.#end) {
      return false;
    }
    const tag = this.#varint();
    const field = Math.floor(tag / 8);
    if (field < 1 || field >= 2 ** 29) {
      throw new WireError(`field number ${field} is impossible`);
    }
    if (field < this.field) {
      throw new WireError(`field ${field} comes after field ${this.field}`);
    }
    this.field = field;
    this.#wireType = tag % 8;
    return true;
  }

  uint(): number {
    this.#expect(varint);
    return this.#varint();
  }

  bool(): boolean {
    const value = this.uint();
    if (value > 1) {
      throw new WireError(`field ${this.field} is no boolean: ${value}`);
    }
    return value === 1;
  }

  /** Finite and not negative: all our doubles are milliseconds. */
  milliseconds(): number {
    this.#expect(fixed64);
    const value = this.#buffer.readDoubleLE(this.#take(8));
    if (!Number.isFinite(value) || value < 0) {
      throw new WireError(`field ${this.field} is no time span: ${value}`);
    }
    return value;
  }

  string(): string {
    this.#expect(lengthDelimited);
    const length = this.#varint();
    const start = this.#take(length);
    return this.#buffer.toString("utf8", start, start + length);
  }

  /** A view on the received buffer: it lives as long as the view does. */
  bytes(): Uint8Array {
    this.#expect(lengthDelimited);
    const length = this.#varint();
    const start = this.#take(length);
    return new Uint8Array(this.#buffer.buffer, this.#buffer.byteOffset + start, length);
  }

  /** A nested message, which `read` must read to its end. */
  message<T>(read: (reader: WireReader) => T): T {
    this.#expect(lengthDelimited);
    const length = this.#varint();
    const end = this.#take(length) + length;
    const outerEnd = this.#end;
    const outerField = this.field;
    this.#position = end - length;
    this.#end = end;
    this.field = 0;
    const value = read(this);
    this.#position = end;
    this.#end = outerEnd;
    this.field = outerField;
    return value;
  }

  /** Passes over a field that this release does not know. */
  skip(): void {
    switch (this.#wireType) {
      case varint:
        this.#varint();
        return;
      case fixed64:
        this.#take(8);
        return;
      case lengthDelimited:
        this.#take(this.#varint());
        return;
      case fixed32:
        this.#take(4);
        return;
      default:
        throw new WireError(`field ${this.field} has the unknown wire type ${this.#wireType}`);
    }
  }

  #expect(wireType: number): void {
    if (this.#wireType !== wireType) {
      throw new WireError(
        `field ${this.field} has wire type ${this.#wireType} instead of ${wireType}`,
      );
    }
  }

  /** Start of the next `length` bytes, which are consumed. */
  #take(length: number): number {
    const start = this.#position;
    if (length > this.#end - start) {
      throw new WireError(`field ${this.field} is longer than what was received`);
    }
    this.#position = start + length;
    return start;
  }

  /** Up to 2^53 - 1: larger numbers cannot be represented, and no term or index ever gets there. */
  #varint(): number {
    const buffer = this.#buffer;
    let value = 0;
    let scale = 1;
    for (let count = 0; count < 10; count++) {
      if (this.#position >= this.#end) {
        throw new WireError("a number is cut off");
      }
      const byte = buffer[this.#position++] ?? 0;
      value += (byte & 0x7f) * scale;
      if (value > Number.MAX_SAFE_INTEGER) {
        break;
      }
      if (byte < 0x80) {
        return value;
      }
      scale *= 128;
    }
    throw new WireError("a number is too large");
  }
}

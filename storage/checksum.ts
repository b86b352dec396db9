import { StoreFailure } from "./failure.ts";

/** Bytes that a seal adds at the end of a record. */
export const sealBytes = 4;

/**
 * CRC32C (Castagnoli), as LevelDB, iSCSI and ext4 use it: finds every burst error up to 32 bits. Continue over several pieces by
 * passing the previous result as `seed`. Slicing by 16 in plain JavaScript: a native call costs more than 300 bytes are worth, and so
 * does a DataView of them; by 8 is a quarter slower.
 */
export function crc32c(bytes: Uint8Array, seed = 0, start = 0, end = bytes.length): number {
  let crc = ~seed;
  let i = start;
  for (const aligned = end - 15; i < aligned; i += 16) {
    crc ^=
      byte(bytes, i) |
      (byte(bytes, i + 1) << 8) |
      (byte(bytes, i + 2) << 16) |
      (byte(bytes, i + 3) << 24);
    crc =
      entry(0xf00 | (crc & 0xff)) ^
      entry(0xe00 | ((crc >>> 8) & 0xff)) ^
      entry(0xd00 | ((crc >>> 16) & 0xff)) ^
      entry(0xc00 | (crc >>> 24)) ^
      entry(0xb00 | byte(bytes, i + 4)) ^
      entry(0xa00 | byte(bytes, i + 5)) ^
      entry(0x900 | byte(bytes, i + 6)) ^
      entry(0x800 | byte(bytes, i + 7)) ^
      entry(0x700 | byte(bytes, i + 8)) ^
      entry(0x600 | byte(bytes, i + 9)) ^
      entry(0x500 | byte(bytes, i + 10)) ^
      entry(0x400 | byte(bytes, i + 11)) ^
      entry(0x300 | byte(bytes, i + 12)) ^
      entry(0x200 | byte(bytes, i + 13)) ^
      entry(0x100 | byte(bytes, i + 14)) ^
      entry(byte(bytes, i + 15));
  }
  for (; i < end; i++) {
    crc = (crc >>> 8) ^ entry((crc ^ byte(bytes, i)) & 0xff);
  }
  return ~crc >>> 0;
}

/**
 * `body` with a checksum over `key` and `body` at its end. LevelDB's own checksums are not verified on reads by its Node binding, so
 * every record carries its own.
 *
 * Here and below, the checksum covers the key from `keyStart` on. For state records that is `statePrefixBytes`: then snapshots can carry
 * sealed records as they are.
 */
export function sealRecord(key: Uint8Array, body: Uint8Array, keyStart = 0): Uint8Array {
  const record = Buffer.allocUnsafe(body.length + sealBytes);
  record.set(body, 0);
  sealInPlace(key, record, keyStart);
  return record;
}

/** The same for a record whose last `sealBytes` bytes were left free. */
export function sealInPlace(key: Uint8Array, record: Buffer, keyStart = 0): void {
  const end = record.length - sealBytes;
  record.writeUInt32BE(crc32c(record, crc32c(key, 0, keyStart), 0, end), end);
}

/** Whether key and record are, bit for bit, what was sealed together. */
export function isSealed(key: Uint8Array, record: Uint8Array, keyStart = 0): boolean {
  const end = record.length - sealBytes;
  if (end < 0) {
    return false;
  }
  const crc = crc32c(record, crc32c(key, 0, keyStart), 0, end);
  return (
    record[end] === crc >>> 24 &&
    record[end + 1] === ((crc >>> 16) & 0xff) &&
    record[end + 2] === ((crc >>> 8) & 0xff) &&
    record[end + 3] === (crc & 0xff)
  );
}

/** Throws StoreFailure `corrupt` when key or body are not what was sealed. */
export function verifyRecord(key: Uint8Array, record: Uint8Array, keyStart = 0): void {
  if (!isSealed(key, record, keyStart)) {
    throw new StoreFailure(
      "corrupt",
      `a stored record does not match its checksum (key ${Buffer.from(key.subarray(keyStart)).toString("hex").slice(0, 80)}): ` +
        "the disk returned bytes that were never written; replace it and let the node rejoin empty",
    );
  }
}

/** The body of a sealed record: a view. Throws StoreFailure `corrupt` when key or body are not what was sealed. */
export function openRecord(key: Uint8Array, record: Uint8Array, keyStart = 0): Uint8Array {
  verifyRecord(key, record, keyStart);
  return record.subarray(0, record.length - sealBytes);
}

const table = buildTable();

/** Sixteen tables of 256: table k holds the CRC of a byte followed by k zero bytes. */
function buildTable(): Int32Array {
  const result = new Int32Array(16 * 256);
  for (let n = 0; n < 256; n++) {
    let crc = n;
    for (let bit = 0; bit < 8; bit++) {
      crc = crc & 1 ? (crc >>> 1) ^ 0x82f63b78 : crc >>> 1;
    }
    result[n] = crc;
  }
  for (let n = 256; n < result.length; n++) {
    const previous = result[n - 256] ?? 0;
    result[n] = (previous >>> 8) ^ (result[previous & 0xff] ?? 0);
  }
  return result;
}

/** Indexes below are in range by construction; `?? 0` only satisfies the compiler and costs nothing. */
function entry(index: number): number {
  return table[index] ?? 0;
}

function byte(bytes: Uint8Array, index: number): number {
  return bytes[index] ?? 0;
}

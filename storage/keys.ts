import { assert } from "../cluster/assert.ts";
import type { Brand } from "../cluster/types.ts";
import { ShardId } from "../cluster/types.ts";
import type { KeyRange } from "./database.ts";

/**
 * Number of one incarnation of a shard's log or state. Switching to another generation replaces all of it in one small write; the
 * old one is unreachable from then on and deleted later.
 */
export type Generation = Brand<number, "Generation">;

export function Generation(value: number): Generation {
  assert(
    Number.isInteger(value) && value >= 1 && value < 2 ** 32,
    `generation out of range: ${value}`,
  );
  return value as Generation;
}

/** First byte of every key: which record it is. Layout byte by byte in storage/README.md; never reuse a number. */
export const recordKind = {
  /** Ties the database to its data directory. */
  instance: 0x01,
  /** Newest rung of the ladder over all turns. */
  rung: 0x02,
  /** There, once turns were found to be missing. */
  lostTurns: 0x03,
  /** What one turn did to the logs of all shards. */
  journal: 0x04,
  /** Of one shard: how far its state is. */
  applied: 0x11,
  /** One record of a shard's state. */
  state: 0x20,
  /** Newest rung of the ladder over the writes of one received snapshot. */
  stagingRung: 0x21,
} as const;

/** Which table of a shard's state: second part of a state key. Never reuse a number. */
export type StateTable = number;

/** Length of `[kind][shard][generation]`, the part of a state key that differs between replicas. */
export const statePrefixBytes = 9;

/** Of the record that names the data directory the database belongs to. */
export const instanceKey: Uint8Array = Uint8Array.of(recordKind.instance);

/** Of the record that says that turns were found to be missing. */
export const lostTurnsKey: Uint8Array = Uint8Array.of(recordKind.lostTurns);

/** `[rung][sequence]`: see the ladder in storage/README.md. */
export function rungKey(sequence: number): Uint8Array {
  return sequenceKey(recordKind.rung, sequence);
}

/** `[journal][turn]`: see journal.ts. */
export function journalKey(turn: number): Uint8Array {
  return sequenceKey(recordKind.journal, turn);
}

/** The keys of all turns. */
export const journalRange: KeyRange = {
  gte: Uint8Array.of(recordKind.journal),
  lt: Uint8Array.of(recordKind.journal + 1),
};

/** The turn in the key of its record. */
export function turnOf(key: Uint8Array): number {
  return readU64(key, 1);
}

/** `[applied][shard]`: see applied-record.ts. */
export function appliedKey(shard: ShardId): Uint8Array {
  return shardKey(recordKind.applied, shard);
}

/** `[state][shard][generation]`: keep it, and build a state's keys with `stateKey`. */
export function statePrefix(shard: ShardId, generation: Generation): Uint8Array {
  return generationPrefix(recordKind.state, shard, generation);
}

/** `[prefix][table][key]`. */
export function stateKey(prefix: Uint8Array, table: StateTable, key: Uint8Array): Uint8Array {
  const result = Buffer.allocUnsafe(statePrefixBytes + 1 + key.length);
  result.set(prefix, 0);
  result[statePrefixBytes] = table;
  result.set(key, statePrefixBytes + 1);
  return result;
}

/** What of a state key is the same on every replica: table and key. Checksums cover this part. A view, not a copy. */
export function stateKeyTail(key: Uint8Array): Uint8Array {
  return key.subarray(statePrefixBytes);
}

/** Keys of one table in `[start, end)`; `end` null: to the table's last. */
export function stateRange(
  prefix: Uint8Array,
  table: StateTable,
  start: Uint8Array,
  end: Uint8Array | null,
): KeyRange {
  return {
    gte: stateKey(prefix, table, start),
    lt:
      end === null ? stateKey(prefix, table + 1, new Uint8Array(0)) : stateKey(prefix, table, end),
  };
}

/** `[stagingRung][shard][generation][sequence]`: see staging-ladder.ts. */
export function stagingRungKey(
  shard: ShardId,
  generation: Generation,
  sequence: number,
): Uint8Array {
  const key = Buffer.allocUnsafe(statePrefixBytes + 4);
  key.set(generationPrefix(recordKind.stagingRung, shard, generation), 0);
  key.writeUInt32BE(sequence, statePrefixBytes);
  return key;
}

/** `[kind][shard][generation]`, for the kinds that have a generation. */
export function generationPrefix(kind: number, shard: ShardId, generation: Generation): Uint8Array {
  const key = Buffer.allocUnsafe(statePrefixBytes);
  key[0] = kind;
  key.writeUInt32BE(shard, 1);
  key.writeUInt32BE(generation, 5);
  return key;
}

/** Shard and generation of a key of kind state or stagingRung. */
export function shardAndGenerationOf(key: Uint8Array): {
  readonly shard: ShardId;
  readonly generation: Generation;
} {
  return { shard: shardOf(key), generation: Generation(readU32(key, 5)) };
}

/** Shard of a key of any kind that has one. */
export function shardOf(key: Uint8Array): ShardId {
  return ShardId(readU32(key, 1));
}

/** All keys that begin with `prefix`. */
export function prefixRange(prefix: Uint8Array): KeyRange {
  return { gte: prefix, lt: successor(prefix) };
}

/** The smallest key above all keys that begin with `prefix`. */
export function successor(prefix: Uint8Array): Uint8Array {
  for (let length = prefix.length; length > 0; length--) {
    const last = prefix[length - 1];
    if (last !== undefined && last < 0xff) {
      const result = Buffer.from(prefix.subarray(0, length));
      result[length - 1] = last + 1;
      return result;
    }
  }
  throw new RangeError("nothing lies above a prefix of 0xff bytes");
}

/** Two 32-bit writes: several times faster than a bigint, and exact up to 2^53. */
export function writeU64(target: Buffer, offset: number, value: number): void {
  target.writeUInt32BE(Math.floor(value / 0x1_0000_0000), offset);
  target.writeUInt32BE(value % 0x1_0000_0000, offset + 4);
}

/** The unsigned number in 8 big-endian bytes. Above 2^53 it is rounded: check with `Number.isSafeInteger` what comes from a disk. */
export function readU64(bytes: Uint8Array, offset: number): number {
  return readU32(bytes, offset) * 0x1_0000_0000 + readU32(bytes, offset + 4);
}

/** The unsigned number in 4 big-endian bytes. Throws RangeError when they are not there. */
export function readU32(bytes: Uint8Array, offset: number): number {
  const [a, b, c, d] = [bytes[offset], bytes[offset + 1], bytes[offset + 2], bytes[offset + 3]];
  if (a === undefined || b === undefined || c === undefined || d === undefined) {
    throw new RangeError(`no 4 bytes at offset ${offset} of ${bytes.length}`);
  }
  return ((a << 24) | (b << 16) | (c << 8) | d) >>> 0;
}

function sequenceKey(kind: number, sequence: number): Uint8Array {
  const key = Buffer.allocUnsafe(9);
  key[0] = kind;
  writeU64(key, 1, sequence);
  return key;
}

function shardKey(kind: number, shard: ShardId): Uint8Array {
  const key = Buffer.allocUnsafe(5);
  key[0] = kind;
  key.writeUInt32BE(shard, 1);
  return key;
}

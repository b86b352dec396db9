import type { Entry, EntryType } from "../cluster/types.ts";
import { Term } from "../cluster/types.ts";
import { crc32c } from "./checksum.ts";
import { entryIndexOf, readU32, readU64, writeU64 } from "./keys.ts";

/**
 * A stored entry: `[crc32c u32][type u8][term u64][payload]`. The checksum covers the key (shard, generation, index) and all that follows,
 * so an entry that turns up under another key is as wrong as one with a flipped bit.
 */
export const entryHeaderBytes = 13;

/** Writes the value of an entry into `target`, which is large enough, and returns the part that was written. */
export function writeEntryValue(target: Buffer, key: Uint8Array, entry: Entry): Buffer {
  const end = entryHeaderBytes + entry.payload.length;
  target[4] = typeCodes[entry.type];
  writeU64(target, 5, entry.term);
  target.set(entry.payload, entryHeaderBytes);
  target.writeUInt32BE(crc32c(target, crc32c(key), 4, end), 0);
  return target.subarray(0, end);
}

/** The entry, whose payload is a view of `value`; null when key and value are not what was written. */
export function readEntryValue(key: Uint8Array, value: Uint8Array): Entry | null {
  if (value.length < entryHeaderBytes || readU32(value, 0) !== crc32c(value, crc32c(key), 4)) {
    return null;
  }
  const type = entryTypes[(value[4] ?? 0) - 1];
  const term = readU64(value, 5);
  if (type === undefined || !Number.isSafeInteger(term)) {
    return null;
  }
  return {
    index: entryIndexOf(key),
    term: Term(term),
    type,
    payload: value.subarray(entryHeaderBytes),
  };
}

const typeCodes: Readonly<Record<EntryType, number>> = { command: 1, noop: 2, config: 3 };
const entryTypes: readonly EntryType[] = ["command", "noop", "config"];

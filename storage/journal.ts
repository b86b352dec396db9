import type { Entry, EntryType } from "../cluster/types.ts";
import { LogIndex, ShardId, Term } from "../cluster/types.ts";
import { crc32c } from "./checksum.ts";
import { StoreFailure } from "./failure.ts";
import { readU32 } from "./keys.ts";
import type { ShardHead } from "./shard-head.ts";
import { readShardHead, writeShardHead } from "./shard-head.ts";
import {
  ByteWriter,
  CodecError,
  decodeWith,
  readList,
  writeList,
  type ByteReader,
} from "./wire-codec.ts";

/** What one turn does to one replica's log. */
export interface LogChange {
  /** The head as this turn leaves it. */
  readonly head: ShardHead;
  /** Nothing that was in the log before counts any more: a snapshot has taken its place, or the replica is new. */
  readonly isReset: boolean;
  /** Replaces the log from the first of them on. */
  readonly appended: readonly Entry[];
  /** What earlier turns have written, once more: it does not change the log. */
  readonly repeated: readonly Entry[];
}

/** What one turn does to the logs of a node. Null: the replica is gone. */
export type TurnChanges = ReadonlyMap<ShardId, LogChange | null>;

/** A turn's changes as the disk has them; `damaged` for those of a shard that cannot be read. */
export type FoundChanges = ReadonlyMap<ShardId, LogChange | null | "damaged">;

/*
 * record  := change* contents
 * change  := tag u8, head, appended, repeated       (a tag of 0 stands alone: the replica is gone)
 * entries := index n of the first, or 0; count n; type u8, term n, payload of each
 * contents:= (shard u32, length u32, crc32c u32)* version u8, count u32, seal u32
 *
 * The contents stand at the end, because lengths are known when the changes are written. Their seal covers the record's key and the contents;
 * each change has a checksum of its own, so that damage costs only the replica that it hits.
 */
const version = 1;
const itemBytes = 12;
const trailerBytes = 9;
const tag = { removed: 0, changed: 1, reset: 2 } as const;

const typeCodes: Readonly<Record<EntryType, number>> = { command: 1, noop: 2, config: 3 };
const entryTypes: readonly EntryType[] = ["command", "noop", "config"];

/** One writer for all records: the database copies what it is given. */
const writer = new ByteWriter();

/** The record of a turn, to be put under `key`. Good until the next call. */
export function encodeJournalRecord(key: Uint8Array, changes: TurnChanges): Buffer {
  writer.clear();
  const items: number[] = [];
  let start = 0;
  for (const [shard, change] of changes) {
    writeChange(change);
    const end = writer.length;
    items.push(shard, end - start, crc32c(writer.view(), 0, start, end));
    start = end;
  }
  for (const field of items) {
    writer.u32(field);
  }
  writer.u8(version);
  writer.u32(changes.size);
  writer.u32(crc32c(writer.view(), crc32c(key), start));
  return writer.view();
}

/**
 * What the record says, change by change. Payloads are views of `value`. Null when its contents are not what was written: then nothing is
 * known of any replica's change. Throws StoreFailure `other_format`.
 */
export function decodeJournalRecord(key: Uint8Array, value: Uint8Array): FoundChanges | null {
  const items = readContents(key, value);
  if (items === null) {
    return null;
  }
  const found = new Map<ShardId, LogChange | null | "damaged">();
  let start = 0;
  for (const { shard, length, checksum } of items) {
    const bytes = value.subarray(start, start + length);
    found.set(shard, crc32c(bytes) === checksum ? readChange(bytes) : "damaged");
    start += length;
  }
  return found;
}

interface Item {
  readonly shard: ShardId;
  readonly length: number;
  readonly checksum: number;
}

function readContents(key: Uint8Array, value: Uint8Array): readonly Item[] | null {
  const end = value.length - trailerBytes;
  if (end < 0) {
    return null;
  }
  const count = readU32(value, end + 1);
  const start = end - count * itemBytes;
  const sealAt = value.length - 4;
  if (start < 0 || readU32(value, sealAt) !== crc32c(value, crc32c(key), start, sealAt)) {
    return null;
  }
  if (value[end] !== version) {
    throw new StoreFailure(
      "other_format",
      `a turn was written in format ${value[end]}, this version of Flotilla reads ${version}: start the one that wrote it`,
    );
  }
  const items: Item[] = [];
  let total = 0;
  for (let at = start; at < end; at += itemBytes) {
    const length = readU32(value, at + 4);
    items.push({ shard: ShardId(readU32(value, at)), length, checksum: readU32(value, at + 8) });
    total += length;
  }
  return total === start ? items : null;
}

function writeChange(change: LogChange | null): void {
  if (change === null) {
    writer.u8(tag.removed);
    return;
  }
  writer.u8(change.isReset ? tag.reset : tag.changed);
  writeShardHead(writer, change.head);
  writeEntries(change.appended);
  writeEntries(change.repeated);
}

function writeEntries(entries: readonly Entry[]): void {
  const [first] = entries;
  writer.varuint(first?.index ?? 0);
  writeList(writer, entries, writeEntry);
}

function writeEntry(to: ByteWriter, entry: Entry): void {
  to.u8(typeCodes[entry.type]);
  to.varuint(entry.term);
  to.bytes(entry.payload);
}

/** The bytes are what was written, as far as a checksum can tell. */
function readChange(bytes: Uint8Array): LogChange | null | "damaged" {
  try {
    return decodeWith(readLogChange, bytes);
  } catch (error) {
    if (error instanceof CodecError) {
      return "damaged";
    }
    throw error;
  }
}

function readLogChange(reader: ByteReader): LogChange | null {
  const found = reader.u8();
  if (found === tag.removed) {
    return null;
  }
  if (found !== tag.changed && found !== tag.reset) {
    throw new CodecError("malformed", `unknown tag ${found}`);
  }
  return {
    isReset: found === tag.reset,
    head: readShardHead(reader),
    appended: readEntries(reader),
    repeated: readEntries(reader),
  };
}

function readEntries(reader: ByteReader): readonly Entry[] {
  let index = reader.varuint();
  return readList(reader, 3, (from): Entry => {
    const type = entryTypes[from.u8() - 1];
    if (type === undefined || index > Number.MAX_SAFE_INTEGER) {
      throw new CodecError("malformed", "an entry of an unknown type, or beyond all indexes");
    }
    const entry = {
      index: LogIndex(index),
      type,
      term: Term(from.varuint()),
      payload: from.bytes(),
    };
    index += 1;
    return entry;
  });
}

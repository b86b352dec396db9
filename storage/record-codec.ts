import { LogIndex, Revision } from "../cluster/types.ts";
import type { ByteReader, ByteWriter } from "./wire-codec.ts";
import { CodecError, readList, writeList } from "./wire-codec.ts";
import type { ChangeEvent, KeyMetadata, KeyRecord, LockParty, LockView } from "./commands.ts";
import { readContentType, writeContentType } from "./content-types.ts";
import type { AsOf, LiveRecord } from "./queries.ts";

/* The nouns that answers of commands and of queries have in common, on the wire. */

/** A number that may be null, as the number + 1. */
export function writeNullable(writer: ByteWriter, value: number | null): void {
  writer.varuint(value === null ? 0 : value + 1);
}

/** What `writeNullable` wrote. */
export function readNullable(reader: ByteReader): number | null {
  const value = reader.varuint();
  return value === 0 ? null : value - 1;
}

/** Something that may be null, after a byte that says whether it is there. */
export function writeOptional<T>(
  writer: ByteWriter,
  value: T | null,
  write: (writer: ByteWriter, value: T) => void,
): void {
  writer.bool(value !== null);
  if (value !== null) {
    write(writer, value);
  }
}

/** What `writeOptional` wrote. */
export function readOptional<T>(reader: ByteReader, read: (reader: ByteReader) => T): T | null {
  return reader.bool() ? read(reader) : null;
}

/** Content type, create and mod revision, version, ttl. */
export function writeMetadata(writer: ByteWriter, metadata: KeyMetadata): void {
  writeContentType(writer, metadata.contentType);
  writer.varuint(metadata.createRevision);
  writer.varuint(metadata.modRevision);
  writer.varuint(metadata.version);
  writeNullable(writer, metadata.ttlMs);
}

/** What `writeMetadata` wrote. */
export function readMetadata(reader: ByteReader): KeyMetadata {
  return {
    contentType: readContentType(reader),
    createRevision: Revision(reader.varuint()),
    modRevision: Revision(reader.varuint()),
    version: reader.varuint(),
    ttlMs: readNullable(reader),
  };
}

/** The metadata, then the value. */
export function writeRecord(writer: ByteWriter, record: KeyRecord): void {
  writeMetadata(writer, record);
  writer.bytes(record.value);
}

/** What `writeRecord` wrote. */
export function readRecord(reader: ByteReader): KeyRecord {
  return {
    contentType: readContentType(reader),
    createRevision: Revision(reader.varuint()),
    modRevision: Revision(reader.varuint()),
    version: reader.varuint(),
    ttlMs: readNullable(reader),
    value: reader.bytes(),
  };
}

/** Fewest bytes that a record takes: bounds how many can be announced. */
export const recordBytesMin = 6;

const kindCode = { put: 1, delete: 2, expire: 3 } as const satisfies Record<
  ChangeEvent["kind"],
  number
>;

/** Fewest bytes that an event takes: bounds how many can be announced. */
export const eventBytesMin = 5;

/** Kind, key, revision, then record and previous record, each if there is one. */
export function writeEvent(writer: ByteWriter, event: ChangeEvent): void {
  writer.u8(kindCode[event.kind]);
  writer.bytes(event.key);
  writer.varuint(event.revision);
  writeOptional(writer, event.record, writeRecord);
  writeOptional(writer, event.previous, writeRecord);
}

/** What `writeEvent` wrote. */
export function readEvent(reader: ByteReader): ChangeEvent {
  return {
    kind: readKind(reader),
    key: reader.bytes(),
    revision: Revision(reader.varuint()),
    record: readOptional(reader, readRecord),
    previous: readOptional(reader, readRecord),
  };
}

function readKind(reader: ByteReader): ChangeEvent["kind"] {
  const kind = reader.u8();
  switch (kind) {
    case kindCode.put:
      return "put";
    case kindCode.delete:
      return "delete";
    case kindCode.expire:
      return "expire";
    default:
      throw new CodecError("malformed", `unknown kind of change ${kind}`);
  }
}

/** The record, then the remaining time. */
export function writeLiveRecord(writer: ByteWriter, record: LiveRecord): void {
  writeRecord(writer, record);
  writeNullable(writer, record.expiresInMs);
}

/** What `writeLiveRecord` wrote. */
export function readLiveRecord(reader: ByteReader): LiveRecord {
  return {
    contentType: readContentType(reader),
    createRevision: Revision(reader.varuint()),
    modRevision: Revision(reader.varuint()),
    version: reader.varuint(),
    ttlMs: readNullable(reader),
    value: reader.bytes(),
    expiresInMs: readNullable(reader),
  };
}

/** Owner, value, ttl, token. */
export function writeParty(writer: ByteWriter, party: LockParty): void {
  writer.string(party.owner);
  writer.bytes(party.value);
  writer.varuint(party.ttlMs);
  writer.varuint(party.token);
}

/** What `writeParty` wrote. */
export function readParty(reader: ByteReader): LockParty {
  return {
    owner: reader.string(),
    value: reader.bytes(),
    ttlMs: reader.varuint(),
    token: Revision(reader.varuint()),
  };
}

/** The holder if there is one, then the waiters. */
export function writeLockView(writer: ByteWriter, lock: LockView): void {
  writeOptional(writer, lock.holder, writeParty);
  writeList(writer, lock.waiters, writeParty);
}

/** What `writeLockView` wrote. */
export function readLockView(reader: ByteReader): LockView {
  return {
    holder: readOptional(reader, readParty),
    waiters: readList(reader, 4, readParty),
  };
}

/** Revision and applied index. */
export function writeAsOf(writer: ByteWriter, asOf: AsOf): void {
  writer.varuint(asOf.revision);
  writer.varuint(asOf.appliedIndex);
}

/** What `writeAsOf` wrote. */
export function readAsOf(reader: ByteReader): AsOf {
  return { revision: Revision(reader.varuint()), appliedIndex: LogIndex(reader.varuint()) };
}

import { unreachable } from "../cluster/assert.ts";
import {
  CodecError,
  decodeWith,
  encodeWith,
  expectVersion,
  readList,
  writeList,
  type ByteReader,
  type ByteWriter,
} from "./wire-codec.ts";
import type { LockView } from "./commands.ts";
import type { Query, QueryResult, ScanItem } from "./queries.ts";
import {
  readAsOf,
  readLiveRecord,
  readLockView,
  readOptional,
  recordBytesMin,
  writeAsOf,
  writeLiveRecord,
  writeLockView,
  writeOptional,
} from "./record-codec.ts";

/*
 * query  := version u8, type u8, fields
 * result := version u8, type u8, revision, applied index, fields
 *
 * Both only travel between nodes; nothing stores them.
 */
const version = 1;

const code = {
  get: 1,
  // 2 was get_many without a bound.
  scan: 3,
  lock: 4,
  locks: 5,
  get_many: 6,
} as const satisfies Record<Query["type"], number>;

/** A read on its way to the replica that serves it: what `decodeQuery` reads. */
export function encodeQuery(query: Query): Uint8Array {
  return encodeWith(writeQuery, query);
}

/** Byte fields are views of `bytes`. Throws CodecError when these are not a query. */
export function decodeQuery(bytes: Uint8Array): Query {
  return decodeWith(readQuery, bytes);
}

/** The answer on its way back: what `decodeQueryResult` reads. */
export function encodeQueryResult(result: QueryResult): Uint8Array {
  return encodeWith(writeResult, result);
}

/** Byte fields are views of `bytes`. Throws CodecError when these are not an answer to a query. */
export function decodeQueryResult(bytes: Uint8Array): QueryResult {
  return decodeWith(readResult, bytes);
}

function writeQuery(writer: ByteWriter, query: Query): void {
  writer.u8(version);
  writer.u8(code[query.type]);
  switch (query.type) {
    case "get":
      return writer.bytes(query.key);
    case "get_many":
      writeList(writer, query.keys, writeBytes);
      return writer.varuint(query.bytesMax);
    case "scan":
      writer.bytes(query.start);
      writeOptional(writer, query.end, writeBytes);
      writer.varuint(query.limit);
      writer.varuint(query.bytesMax);
      return writer.bool(query.keysOnly);
    case "lock":
      return writer.bytes(query.lock);
    case "locks":
      writer.bytes(query.prefix);
      return writer.varuint(query.limit);
    default:
      return unreachable(query);
  }
}

function readQuery(reader: ByteReader): Query {
  expectVersion(reader, version, "a query");
  const type = reader.u8();
  switch (type) {
    case code.get:
      return { type: "get", key: reader.bytes() };
    case code.get_many:
      return {
        type: "get_many",
        keys: readList(reader, 1, readBytes),
        bytesMax: reader.varuint(),
      };
    case code.scan:
      return {
        type: "scan",
        start: reader.bytes(),
        end: readOptional(reader, readBytes),
        limit: reader.varuint(),
        bytesMax: reader.varuint(),
        keysOnly: reader.bool(),
      };
    case code.lock:
      return { type: "lock", lock: reader.bytes() };
    case code.locks:
      return { type: "locks", prefix: reader.bytes(), limit: reader.varuint() };
    default:
      throw new CodecError("unsupported_version", `unknown query ${type}`);
  }
}

function writeResult(writer: ByteWriter, result: QueryResult): void {
  writer.u8(version);
  writer.u8(code[result.type]);
  writeAsOf(writer, result);
  switch (result.type) {
    case "get":
      return writeOptional(writer, result.record, writeLiveRecord);
    case "get_many":
      return writeList(writer, result.records, (to, record) => {
        writeOptional(to, record, writeLiveRecord);
      });
    case "scan":
      writeList(writer, result.items, writeItem);
      return writer.bool(result.more);
    case "lock":
      return writeLockView(writer, result.lock);
    case "locks":
      return writeList(writer, result.locks, writeNamedLock);
    default:
      return unreachable(result);
  }
}

function readResult(reader: ByteReader): QueryResult {
  expectVersion(reader, version, "an answer");
  const type = reader.u8();
  const asOf = readAsOf(reader);
  switch (type) {
    case code.get:
      return { type: "get", ...asOf, record: readOptional(reader, readLiveRecord) };
    case code.get_many: {
      const records = readList(reader, 1, (from) => readOptional(from, readLiveRecord));
      return { type: "get_many", ...asOf, records };
    }
    case code.scan: {
      const items = readList(reader, 1 + recordBytesMin, readItem);
      return { type: "scan", ...asOf, items, more: reader.bool() };
    }
    case code.lock:
      return { type: "lock", ...asOf, lock: readLockView(reader) };
    case code.locks:
      return { type: "locks", ...asOf, locks: readList(reader, 3, readNamedLock) };
    default:
      throw new CodecError("unsupported_version", `unknown answer ${type}`);
  }
}

function writeItem(writer: ByteWriter, item: ScanItem): void {
  writer.bytes(item.key);
  writeLiveRecord(writer, item.record);
}

function readItem(reader: ByteReader): ScanItem {
  return { key: reader.bytes(), record: readLiveRecord(reader) };
}

interface NamedLock {
  readonly name: Uint8Array;
  readonly lock: LockView;
}

function writeNamedLock(writer: ByteWriter, named: NamedLock): void {
  writer.bytes(named.name);
  writeLockView(writer, named.lock);
}

function readNamedLock(reader: ByteReader): NamedLock {
  return { name: reader.bytes(), lock: readLockView(reader) };
}

function writeBytes(writer: ByteWriter, bytes: Uint8Array): void {
  writer.bytes(bytes);
}

function readBytes(reader: ByteReader): Uint8Array {
  return reader.bytes();
}

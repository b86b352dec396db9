import { unreachable } from "../cluster/assert.ts";
import { Revision } from "../cluster/types.ts";
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
import type { CommandOutcome, CommandResult, TransactionOperationResult } from "./commands.ts";
import {
  readMetadata,
  readNullable,
  readOptional,
  readParty,
  readRecord,
  writeMetadata,
  writeNullable,
  writeOptional,
  writeParty,
  writeRecord,
} from "./record-codec.ts";

/*
 * outcome := version u8, replayed u8, revision, result type u8, fields in the order of the functions below
 *
 * Outcomes are stored with sessions and idempotency keys, so numbers of types are never reused.
 */
const version = 1;
const replayedOffset = 1;

const resultCode = {
  put: 1,
  delete: 2,
  update: 3,
  touch: 4,
  transaction: 5,
  lock_held: 6,
  lock_queued: 7,
  lock_busy: 8,
  lock_released: 9,
  condition_failed: 10,
  not_found: 11,
  not_a_number: 12,
  value_too_large: 13,
  lock_lost: 14,
  idempotency_mismatch: 15,
  stale_request: 16,
  answer_not_kept: 17,
  done: 18,
} as const satisfies Record<CommandResult["type"], number>;

const operationCode = {
  get: 0,
  put: 1,
  delete: 2,
} as const satisfies Record<TransactionOperationResult["type"], number>;

/** The answer to one command as it travels back to the asking node: what `decodeOutcome` reads. */
export function encodeOutcome(outcome: CommandOutcome): Uint8Array {
  return encodeWith(writeOutcome, outcome);
}

/** Byte fields are views of `bytes`. Throws CodecError when these are not an outcome. */
export function decodeOutcome(bytes: Uint8Array): CommandOutcome {
  return decodeWith(readOutcome, bytes);
}

/** The same outcome, marked as given before: what a retry gets. */
export function asReplayed(outcome: Uint8Array): Uint8Array {
  const copy = Uint8Array.from(outcome);
  copy[replayedOffset] = 1;
  return copy;
}

function writeOutcome(writer: ByteWriter, outcome: CommandOutcome): void {
  writer.u8(version);
  writer.bool(outcome.replayed);
  writer.varuint(outcome.revision);
  writeResult(writer, outcome.result);
}

function readOutcome(reader: ByteReader): CommandOutcome {
  expectVersion(reader, version, "an outcome");
  const replayed = reader.bool();
  const revision = readRevision(reader);
  return { replayed, revision, result: readResult(reader) };
}

function writeResult(writer: ByteWriter, result: CommandResult): void {
  writer.u8(resultCode[result.type]);
  switch (result.type) {
    case "put":
      writer.bool(result.created);
      writer.varuint(result.revision);
      writer.varuint(result.version);
      return writeOptional(writer, result.previous, writeRecord);
    case "delete":
      writer.bool(result.deleted);
      writer.varuint(result.revision);
      return writeOptional(writer, result.previous, writeRecord);
    case "update":
      writer.bool(result.created);
      writer.varuint(result.revision);
      writer.varuint(result.version);
      return writer.bytes(result.value);
    case "touch":
      writer.varuint(result.revision);
      return writeNullable(writer, result.ttlMs);
    case "transaction":
      writer.bool(result.succeeded);
      writer.varuint(result.revision);
      return writeList(writer, result.results, writeOperationResult);
    case "lock_held":
      writer.varuint(result.token);
      return writer.varuint(result.ttlMs);
    case "lock_queued":
      writer.varuint(result.position);
      return writeParty(writer, result.holder);
    case "lock_busy":
      writeParty(writer, result.holder);
      return writer.varuint(result.waiters);
    case "condition_failed":
      return writeOptional(writer, result.current, writeMetadata);
    case "value_too_large":
      return writer.varuint(result.bytesMax);
    case "lock_lost":
      return writeOptional(writer, result.holder, writeParty);
    case "lock_released":
    case "not_found":
    case "not_a_number":
    case "idempotency_mismatch":
    case "stale_request":
    case "answer_not_kept":
    case "done":
      return;
    default:
      return unreachable(result);
  }
}

function readResult(reader: ByteReader): CommandResult {
  const code = reader.u8();
  switch (code) {
    case resultCode.put:
    case resultCode.update: {
      const head = {
        created: reader.bool(),
        revision: readRevision(reader),
        version: reader.varuint(),
      };
      return code === resultCode.put
        ? { type: "put", ...head, previous: readOptional(reader, readRecord) }
        : { type: "update", ...head, value: reader.bytes() };
    }
    case resultCode.delete: {
      const head = { deleted: reader.bool(), revision: readRevision(reader) };
      return { type: "delete", ...head, previous: readOptional(reader, readRecord) };
    }
    case resultCode.touch:
      return { type: "touch", revision: readRevision(reader), ttlMs: readNullable(reader) };
    case resultCode.transaction:
      return {
        type: "transaction",
        succeeded: reader.bool(),
        revision: readRevision(reader),
        results: readList(reader, 2, readOperationResult),
      };
    case resultCode.lock_held:
      return { type: "lock_held", token: readRevision(reader), ttlMs: reader.varuint() };
    case resultCode.lock_queued:
      return { type: "lock_queued", position: reader.varuint(), holder: readParty(reader) };
    case resultCode.lock_busy:
      return { type: "lock_busy", holder: readParty(reader), waiters: reader.varuint() };
    case resultCode.condition_failed:
      return { type: "condition_failed", current: readOptional(reader, readMetadata) };
    case resultCode.value_too_large:
      return { type: "value_too_large", bytesMax: reader.varuint() };
    case resultCode.lock_lost:
      return { type: "lock_lost", holder: readOptional(reader, readParty) };
    default:
      return readPlainResult(code);
  }
}

/** Results that say all with their type. */
function readPlainResult(code: number): CommandResult {
  switch (code) {
    case resultCode.lock_released:
      return { type: "lock_released" };
    case resultCode.not_found:
      return { type: "not_found" };
    case resultCode.not_a_number:
      return { type: "not_a_number" };
    case resultCode.idempotency_mismatch:
      return { type: "idempotency_mismatch" };
    case resultCode.stale_request:
      return { type: "stale_request" };
    case resultCode.answer_not_kept:
      return { type: "answer_not_kept" };
    case resultCode.done:
      return { type: "done" };
    default:
      throw new CodecError("unsupported_version", `unknown result ${code}`);
  }
}

function writeOperationResult(writer: ByteWriter, result: TransactionOperationResult): void {
  writer.u8(operationCode[result.type]);
  switch (result.type) {
    case "get":
      return writeOptional(writer, result.record, writeRecord);
    case "put":
      writer.bool(result.created);
      writer.varuint(result.version);
      return writeOptional(writer, result.previous, writeRecord);
    case "delete":
      writer.bool(result.deleted);
      return writeOptional(writer, result.previous, writeRecord);
    default:
      return unreachable(result);
  }
}

function readOperationResult(reader: ByteReader): TransactionOperationResult {
  const code = reader.u8();
  switch (code) {
    case operationCode.get:
      return { type: "get", record: readOptional(reader, readRecord) };
    case operationCode.put: {
      const head = { created: reader.bool(), version: reader.varuint() };
      return { type: "put", ...head, previous: readOptional(reader, readRecord) };
    }
    case operationCode.delete:
      return {
        type: "delete",
        deleted: reader.bool(),
        previous: readOptional(reader, readRecord),
      };
    default:
      throw new CodecError("unsupported_version", `unknown operation result ${code}`);
  }
}

function readRevision(reader: ByteReader): Revision {
  return Revision(reader.varuint());
}

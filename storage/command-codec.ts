import { assert, unreachable } from "../cluster/assert.ts";
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
import {
  numberDigitsMax,
  type Command,
  type CommandEnvelope,
  type Compare,
  type CompareOperator,
  type CompareTarget,
  type Condition,
  type DeleteCommand,
  type ExpireCommand,
  type Fence,
  type IdempotencyKey,
  type PutCommand,
  type RequestId,
  type TransactionOperation,
  type TtlChange,
  type TtlCheckpointCommand,
} from "./commands.ts";
import { readContentType, writeContentType } from "./content-types.ts";

/*
 * envelope := version u8, flags u8, [request], [idempotency], command
 * command  := type u8, fields in the order of the functions below
 *
 * Numbers of types are part of the format of logs: never reuse one. Another layout of a command is another number.
 */
const version = 1;
const hasRequest = 1;
const hasIdempotency = 2;

const commandCode = {
  put: 1,
  delete: 2,
  increment: 3,
  append: 4,
  touch: 5,
  transaction: 6,
  lock_acquire: 7,
  lock_keep_alive: 8,
  lock_release: 9,
  expire: 10,
  ttl_checkpoint: 11,
} as const satisfies Record<Command["type"], number>;

const operationGet = 0;

/** The bytes that travel to the leader and lie in the log: what `decodeCommandEnvelope` reads. */
export function encodeCommandEnvelope(envelope: CommandEnvelope): Uint8Array {
  return encodeWith(writeEnvelope, envelope);
}

/** Byte fields are views of `bytes`. Throws CodecError when these are not an envelope, all of it and nothing else. */
export function decodeCommandEnvelope(bytes: Uint8Array): CommandEnvelope {
  return decodeWith(readEnvelope, bytes);
}

function writeEnvelope(writer: ByteWriter, envelope: CommandEnvelope): void {
  const { request, idempotency } = envelope;
  writer.u8(version);
  writer.u8((request === null ? 0 : hasRequest) | (idempotency === null ? 0 : hasIdempotency));
  if (request !== null) {
    writer.string(request.session);
    writer.varuint(request.sequence);
    writer.varuint(request.ackedBelow);
  }
  if (idempotency !== null) {
    writer.string(idempotency.key);
    writer.string(idempotency.fingerprint);
  }
  writeCommand(writer, envelope.command);
}

function readEnvelope(reader: ByteReader): CommandEnvelope {
  expectVersion(reader, version, "a command");
  const flags = reader.u8();
  if (flags > (hasRequest | hasIdempotency)) {
    throw new CodecError("malformed", `unknown flags ${flags}`);
  }
  return {
    request: (flags & hasRequest) === 0 ? null : readRequest(reader),
    idempotency: (flags & hasIdempotency) === 0 ? null : readIdempotency(reader),
    command: readCommand(reader),
  };
}

function readRequest(reader: ByteReader): RequestId {
  return { session: reader.string(), sequence: reader.varuint(), ackedBelow: reader.varuint() };
}

function readIdempotency(reader: ByteReader): IdempotencyKey {
  return { key: reader.string(), fingerprint: reader.string() };
}

function writeCommand(writer: ByteWriter, command: Command): void {
  writer.u8(commandCode[command.type]);
  switch (command.type) {
    case "put":
      return writePut(writer, command);
    case "delete":
      return writeDelete(writer, command);
    case "increment":
      writer.bytes(command.key);
      writeInteger(writer, command.by);
      return writeUpdateTail(writer, command);
    case "append":
      writer.bytes(command.key);
      writer.bytes(command.value);
      writer.varuint(command.valueBytesMax);
      writeContentType(writer, command.contentType);
      return writeUpdateTail(writer, command);
    case "touch":
      writer.bytes(command.key);
      return writeUpdateTail(writer, command);
    case "transaction":
      writeList(writer, command.compares, writeCompare);
      writeList(writer, command.success, writeOperation);
      return writeList(writer, command.failure, writeOperation);
    case "lock_acquire":
      writer.bytes(command.lock);
      writer.string(command.owner);
      writer.bytes(command.value);
      writer.varuint(command.ttlMs);
      return writer.bool(command.wait);
    case "lock_keep_alive":
      writer.bytes(command.lock);
      writer.string(command.owner);
      writer.varuint(command.token);
      return writer.varuint(command.ttlMs);
    case "lock_release":
      writer.bytes(command.lock);
      writer.string(command.owner);
      return writer.varuint(command.token === null ? 0 : command.token + 1);
    case "expire":
      return writeDeadline(writer, command);
    case "ttl_checkpoint":
      return writeList(writer, command.remaining, writeRemaining);
    default:
      return unreachable(command);
  }
}

function readCommand(reader: ByteReader): Command {
  const code = reader.u8();
  switch (code) {
    case commandCode.put:
      return readPut(reader);
    case commandCode.delete:
      return readDelete(reader);
    case commandCode.increment: {
      const head = { key: reader.bytes(), by: readInteger(reader) };
      return { type: "increment", ...head, ...readUpdateTail(reader) };
    }
    case commandCode.append: {
      const head = { key: reader.bytes(), value: reader.bytes(), valueBytesMax: reader.varuint() };
      const contentType = readContentType(reader);
      return { type: "append", ...head, contentType, ...readUpdateTail(reader) };
    }
    case commandCode.touch: {
      const key = reader.bytes();
      const { ttlMs, condition, fence } = readUpdateTail(reader);
      if (ttlMs === "keep") {
        throw new CodecError("malformed", "a touch sets a time to live");
      }
      return { type: "touch", key, ttlMs, condition, fence };
    }
    case commandCode.transaction:
      return {
        type: "transaction",
        compares: readList(reader, 4, readCompare),
        success: readList(reader, 2, readOperation),
        failure: readList(reader, 2, readOperation),
      };
    case commandCode.lock_acquire:
      return {
        type: "lock_acquire",
        lock: reader.bytes(),
        owner: reader.string(),
        value: reader.bytes(),
        ttlMs: reader.varuint(),
        wait: reader.bool(),
      };
    case commandCode.lock_keep_alive:
      return {
        type: "lock_keep_alive",
        lock: reader.bytes(),
        owner: reader.string(),
        token: Revision(reader.varuint()),
        ttlMs: reader.varuint(),
      };
    case commandCode.lock_release: {
      const head = { lock: reader.bytes(), owner: reader.string() };
      const token = reader.varuint();
      return { type: "lock_release", ...head, token: token === 0 ? null : Revision(token - 1) };
    }
    case commandCode.expire:
      return { type: "expire", ...readDeadline(reader) };
    case commandCode.ttl_checkpoint:
      return { type: "ttl_checkpoint", remaining: readList(reader, 5, readRemaining) };
    default:
      throw new CodecError("unsupported_version", `unknown command ${code}`);
  }
}

function writePut(writer: ByteWriter, command: PutCommand): void {
  writer.bytes(command.key);
  writer.bytes(command.value);
  writeContentType(writer, command.contentType);
  writer.bool(command.wantPrevious);
  writeUpdateTail(writer, command);
}

function readPut(reader: ByteReader): PutCommand {
  return {
    type: "put",
    key: reader.bytes(),
    value: reader.bytes(),
    contentType: readContentType(reader),
    wantPrevious: reader.bool(),
    ttlMs: readTtl(reader),
    condition: readCondition(reader),
    fence: readFence(reader),
  };
}

function writeDelete(writer: ByteWriter, command: DeleteCommand): void {
  writer.bytes(command.key);
  writer.bool(command.wantPrevious);
  writeCondition(writer, command.condition);
  writeFence(writer, command.fence);
}

function readDelete(reader: ByteReader): DeleteCommand {
  return {
    type: "delete",
    key: reader.bytes(),
    wantPrevious: reader.bool(),
    condition: readCondition(reader),
    fence: readFence(reader),
  };
}

interface UpdateTail {
  readonly ttlMs: TtlChange;
  readonly condition: Condition | null;
  readonly fence: Fence | null;
}

function writeUpdateTail(writer: ByteWriter, tail: UpdateTail): void {
  writer.varuint(tail.ttlMs === null ? 0 : tail.ttlMs === "keep" ? 1 : tail.ttlMs + 2);
  writeCondition(writer, tail.condition);
  writeFence(writer, tail.fence);
}

function readUpdateTail(reader: ByteReader): UpdateTail {
  return { ttlMs: readTtl(reader), condition: readCondition(reader), fence: readFence(reader) };
}

function readTtl(reader: ByteReader): TtlChange {
  const code = reader.varuint();
  return code === 0 ? null : code === 1 ? "keep" : code - 2;
}

const conditionCode = {
  absent: 1,
  present: 2,
  revision_in: 3,
  revision_not_in: 4,
} as const satisfies Record<Condition["type"], number>;

function writeCondition(writer: ByteWriter, condition: Condition | null): void {
  if (condition === null) {
    return writer.u8(0);
  }
  writer.u8(conditionCode[condition.type]);
  if (condition.type === "revision_in" || condition.type === "revision_not_in") {
    writeList(writer, condition.revisions, writeRevision);
  }
}

function readCondition(reader: ByteReader): Condition | null {
  const code = reader.u8();
  switch (code) {
    case 0:
      return null;
    case conditionCode.absent:
      return { type: "absent" };
    case conditionCode.present:
      return { type: "present" };
    case conditionCode.revision_in:
      return { type: "revision_in", revisions: readList(reader, 1, readRevision) };
    case conditionCode.revision_not_in:
      return { type: "revision_not_in", revisions: readList(reader, 1, readRevision) };
    default:
      throw new CodecError("malformed", `unknown condition ${code}`);
  }
}

function writeRevision(writer: ByteWriter, revision: Revision): void {
  writer.varuint(revision);
}

function readRevision(reader: ByteReader): Revision {
  return Revision(reader.varuint());
}

function writeFence(writer: ByteWriter, fence: Fence | null): void {
  writer.bool(fence !== null);
  if (fence !== null) {
    writer.bytes(fence.lock);
    writer.varuint(fence.token);
  }
}

function readFence(reader: ByteReader): Fence | null {
  return reader.bool() ? { lock: reader.bytes(), token: readRevision(reader) } : null;
}

const integerPattern = new RegExp(`^-?[0-9]{1,${numberDigitsMax}}$`);

function writeInteger(writer: ByteWriter, value: bigint): void {
  const text = value.toString();
  assert(integerPattern.test(text), "increment by more digits than the edge allows");
  writer.string(text);
}

function readInteger(reader: ByteReader): bigint {
  const text = reader.string();
  if (!integerPattern.test(text)) {
    throw new CodecError("malformed", "not a decimal integer");
  }
  return BigInt(text);
}

const compareTargets: readonly CompareTarget[] = [
  "value",
  "version",
  "create_revision",
  "mod_revision",
  "exists",
];
const compareOperators: readonly CompareOperator[] = ["equal", "not_equal", "less", "greater"];

function writeCompare(writer: ByteWriter, compare: Compare): void {
  writer.bytes(compare.key);
  writer.u8(compareTargets.indexOf(compare.target));
  writer.u8(compareOperators.indexOf(compare.operator));
  if (typeof compare.operand === "number") {
    assert(compare.target !== "value", "a value is compared with bytes");
    writer.varuint(compare.operand);
  } else {
    assert(compare.target === "value", "only a value is compared with bytes");
    writer.bytes(compare.operand);
  }
}

function readCompare(reader: ByteReader): Compare {
  const key = reader.bytes();
  const target = compareTargets[reader.u8()];
  const operator = compareOperators[reader.u8()];
  if (target === undefined || operator === undefined) {
    throw new CodecError("malformed", "unknown comparison");
  }
  return {
    key,
    target,
    operator,
    operand: target === "value" ? reader.bytes() : reader.varuint(),
  };
}

function writeOperation(writer: ByteWriter, operation: TransactionOperation): void {
  switch (operation.type) {
    case "get":
      writer.u8(operationGet);
      return writer.bytes(operation.key);
    case "put":
      writer.u8(commandCode.put);
      return writePut(writer, operation);
    case "delete":
      writer.u8(commandCode.delete);
      return writeDelete(writer, operation);
    default:
      return unreachable(operation);
  }
}

function readOperation(reader: ByteReader): TransactionOperation {
  const code = reader.u8();
  switch (code) {
    case operationGet:
      return { type: "get", key: reader.bytes() };
    case commandCode.put:
      return readPut(reader);
    case commandCode.delete:
      return readDelete(reader);
    default:
      throw new CodecError("malformed", `unknown operation ${code}`);
  }
}

const deadlineKinds: readonly ExpireCommand["kind"][] = ["key", "lock_holder", "lock_waiter"];

type Deadline = Omit<ExpireCommand, "type">;

function writeDeadline(writer: ByteWriter, deadline: Deadline): void {
  writer.u8(deadlineKinds.indexOf(deadline.kind));
  writer.bytes(deadline.key);
  writer.string(deadline.owner);
  writer.varuint(deadline.deadlineRevision);
}

function readDeadline(reader: ByteReader): Deadline {
  const kind = deadlineKinds[reader.u8()];
  if (kind === undefined) {
    throw new CodecError("malformed", "unknown kind of deadline");
  }
  return {
    kind,
    key: reader.bytes(),
    owner: reader.string(),
    deadlineRevision: readRevision(reader),
  };
}

type Remaining = TtlCheckpointCommand["remaining"][number];

function writeRemaining(writer: ByteWriter, remaining: Remaining): void {
  writeDeadline(writer, remaining);
  writer.varuint(remaining.remainingMs);
}

function readRemaining(reader: ByteReader): Remaining {
  return { ...readDeadline(reader), remainingMs: reader.varuint() };
}

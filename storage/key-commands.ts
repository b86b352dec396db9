import { unreachable } from "../cluster/assert.ts";
import type { Revision } from "../cluster/types.ts";
import {
  numberDigitsMax,
  type AppendCommand,
  type CommandResult,
  type Compare,
  type Condition,
  type DeleteCommand,
  type Fence,
  type IncrementCommand,
  type KeyMetadata,
  type PutCommand,
  type TouchCommand,
  type TransactionCommand,
  type TransactionOperation,
  type TransactionOperationResult,
} from "./commands.ts";
import type { FoundKey, KeyChange, KeyTable, StoredRecord } from "./key-table.ts";
import type { LockTable } from "./locks.ts";

/** What key commands work on. */
export interface KeyCommandsOptions {
  readonly keys: KeyTable;
  readonly locks: LockTable;
  /** The revision of the running command's change. */
  readonly nextRevision: () => Revision;
  /** The shard's revision as it is. */
  readonly revision: () => Revision;
  readonly transactionAnswerBytesMax: number;
}

/** What each command does to user keys. A command that changes nothing takes no revision. */
export class KeyCommands {
  readonly #keys: KeyTable;
  readonly #locks: LockTable;
  readonly #nextRevision: () => Revision;
  readonly #revision: () => Revision;
  readonly #transactionAnswerBytesMax: number;

  constructor(options: KeyCommandsOptions) {
    this.#keys = options.keys;
    this.#locks = options.locks;
    this.#nextRevision = options.nextRevision;
    this.#revision = options.revision;
    this.#transactionAnswerBytesMax = options.transactionAnswerBytesMax;
  }

  put(command: PutCommand): CommandResult {
    const found = this.#keys.find(command.key);
    const refusal = this.#refusal(command, found.record);
    if (refusal !== null) {
      return refusal;
    }
    const record = this.#keys.put(found, changeOf(command, this.#nextRevision()));
    return {
      type: "put",
      created: found.record === null,
      revision: record.modRevision,
      version: record.version,
      previous: command.wantPrevious ? found.record : null,
    };
  }

  delete(command: DeleteCommand): CommandResult {
    const found = this.#keys.find(command.key);
    const refusal = this.#refusal(command, found.record);
    if (refusal !== null) {
      return refusal;
    }
    const deleted = found.record !== null;
    if (deleted) {
      this.#keys.delete(found, "delete", this.#nextRevision());
    }
    const previous = command.wantPrevious ? found.record : null;
    return { type: "delete", deleted, revision: this.#revision(), previous };
  }

  increment(command: IncrementCommand): CommandResult {
    const found = this.#keys.find(command.key);
    const refusal = this.#refusal(command, found.record);
    if (refusal !== null) {
      return refusal;
    }
    const present = found.record === null ? 0n : parseInteger(found.record.value);
    if (present === null) {
      return { type: "not_a_number" };
    }
    const text = (present + command.by).toString();
    if (digitsOf(text) > numberDigitsMax) {
      return { type: "value_too_large", bytesMax: numberDigitsMax };
    }
    return this.#update(found, command, Buffer.from(text), "text/plain");
  }

  append(command: AppendCommand): CommandResult {
    const found = this.#keys.find(command.key);
    const refusal = this.#refusal(command, found.record);
    if (refusal !== null) {
      return refusal;
    }
    const { value: tail, valueBytesMax } = command;
    const length = (found.record?.value.length ?? 0) + tail.length;
    if (length > valueBytesMax) {
      return { type: "value_too_large", bytesMax: valueBytesMax };
    }
    const value = found.record === null ? tail : Buffer.concat([found.record.value, tail], length);
    const result = this.#update(found, command, value, command.contentType);
    return { ...result, value: Buffer.from(String(length)) };
  }

  touch(command: TouchCommand): CommandResult {
    const found = this.#keys.find(command.key);
    const { record } = found;
    const refusal = this.#refusal(command, record);
    if (refusal !== null) {
      return refusal;
    }
    if (record === null) {
      return { type: "not_found" };
    }
    if (record.ttlMs !== null || command.ttlMs !== null) {
      this.#keys.touch(found, record, command.ttlMs, this.#nextRevision());
    }
    return { type: "touch", revision: record.modRevision, ttlMs: command.ttlMs };
  }

  transaction(command: TransactionCommand): CommandResult {
    const succeeded = command.compares.every((compare) => this.#holds(compare));
    const operations = succeeded ? command.success : command.failure;
    for (const operation of operations) {
      const refusal = this.#operationRefusal(operation);
      if (refusal !== null) {
        return refusal;
      }
    }
    if (!this.#answerFits(operations)) {
      return { type: "value_too_large", bytesMax: this.#transactionAnswerBytesMax };
    }
    const changes = new SharedRevision(this.#nextRevision);
    const results = operations.map((operation) => this.#operate(operation, changes));
    const revision = changes.taken ?? this.#revision();
    return { type: "transaction", succeeded, revision, results };
  }

  /** False when the key has no such deadline any more. */
  expire(key: Uint8Array, deadlineRevision: Revision): boolean {
    const found = this.#keys.find(key);
    const { record } = found;
    if (record === null || record.ttlMs === null || record.deadlineRevision !== deadlineRevision) {
      return false;
    }
    this.#keys.delete(found, "expire", this.#nextRevision());
    return true;
  }

  #update(
    found: FoundKey,
    command: IncrementCommand | AppendCommand,
    value: Uint8Array,
    newContentType: string,
  ): Extract<CommandResult, { type: "update" }> {
    const record = this.#keys.put(found, {
      value,
      contentType: found.record?.contentType ?? newContentType,
      ttlMs: command.ttlMs,
      revision: this.#nextRevision(),
    });
    const { modRevision: revision, version } = record;
    return { type: "update", created: found.record === null, revision, version, value };
  }

  #refusal(
    { fence, condition }: { readonly fence: Fence | null; readonly condition: Condition | null },
    record: StoredRecord | null,
  ): CommandResult | null {
    if (fence !== null) {
      const refusal = this.#locks.refusal(fence);
      if (refusal !== null) {
        return refusal;
      }
    }
    return condition === null || isMet(condition, record)
      ? null
      : { type: "condition_failed", current: record === null ? null : metadataOf(record) };
  }

  #operationRefusal(operation: TransactionOperation): CommandResult | null {
    if (operation.type === "get" || (operation.condition === null && operation.fence === null)) {
      return null;
    }
    return this.#refusal(operation, this.#keys.find(operation.key).record);
  }

  /** Looks before anything is changed, and yet sees each value as the operations before it will have left it. */
  #answerFits(operations: readonly TransactionOperation[]): boolean {
    const written = new Map<string, number>();
    let bytes = 0;
    for (const operation of operations) {
      const { key } = operation;
      const name = Buffer.from(key).toString("latin1");
      if (operation.type === "get" || operation.wantPrevious) {
        bytes += written.get(name) ?? this.#keys.find(key).record?.value.length ?? 0;
        if (bytes > this.#transactionAnswerBytesMax) {
          return false;
        }
      }
      if (operation.type !== "get") {
        written.set(name, operation.type === "put" ? operation.value.length : 0);
      }
    }
    return true;
  }

  #operate(operation: TransactionOperation, changes: SharedRevision): TransactionOperationResult {
    const found = this.#keys.find(operation.key);
    const { record } = found;
    switch (operation.type) {
      case "get":
        return { type: "get", record };
      case "put": {
        const { version } = this.#keys.put(found, changeOf(operation, changes.take()));
        const previous = operation.wantPrevious ? record : null;
        return { type: "put", created: record === null, version, previous };
      }
      case "delete": {
        if (record !== null) {
          this.#keys.delete(found, "delete", changes.take());
        }
        const previous = operation.wantPrevious ? record : null;
        return { type: "delete", deleted: record !== null, previous };
      }
      default:
        return unreachable(operation);
    }
  }

  #holds(compare: Compare): boolean {
    const { record } = this.#keys.find(compare.key);
    const { operator, operand } = compare;
    if (typeof operand !== "number") {
      return record === null
        ? operator === "not_equal"
        : isOrdered(Buffer.compare(record.value, operand), operator);
    }
    return isOrdered(numberOf(compare, record) - operand, operator);
  }
}

/** One revision for all changes of a transaction, taken with the first. */
class SharedRevision {
  readonly #next: () => Revision;
  taken: Revision | null = null;

  constructor(next: () => Revision) {
    this.#next = next;
  }

  take(): Revision {
    this.taken ??= this.#next();
    return this.taken;
  }
}

function changeOf({ value, contentType, ttlMs }: PutCommand, revision: Revision): KeyChange {
  return { value, contentType, ttlMs, revision };
}

function isMet(condition: Condition, record: StoredRecord | null): boolean {
  switch (condition.type) {
    case "absent":
      return record === null;
    case "present":
      return record !== null;
    case "revision_in":
      return record !== null && condition.revisions.includes(record.modRevision);
    case "revision_not_in":
      return record === null || !condition.revisions.includes(record.modRevision);
    default:
      return unreachable(condition);
  }
}

function metadataOf(record: StoredRecord): KeyMetadata {
  const { contentType, createRevision, modRevision, version, ttlMs } = record;
  return { contentType, createRevision, modRevision, version, ttlMs };
}

function numberOf(compare: Compare, record: StoredRecord | null): number {
  switch (compare.target) {
    case "version":
      return record?.version ?? 0;
    case "create_revision":
      return record?.createRevision ?? 0;
    case "mod_revision":
      return record?.modRevision ?? 0;
    case "exists":
    case "value":
      return record === null ? 0 : 1;
    default:
      return unreachable(compare.target);
  }
}

/** @param difference negative, 0 or positive: how the present compares with the operand */
function isOrdered(difference: number, operator: Compare["operator"]): boolean {
  switch (operator) {
    case "equal":
      return difference === 0;
    case "not_equal":
      return difference !== 0;
    case "less":
      return difference < 0;
    case "greater":
      return difference > 0;
    default:
      return unreachable(operator);
  }
}

/** Null when the value is not a decimal integer, or one of too many digits. */
function parseInteger(value: Uint8Array): bigint | null {
  if (value.length > numberDigitsMax + 1) {
    return null;
  }
  const text = Buffer.from(value).toString("latin1");
  return /^-?[0-9]+$/.test(text) && digitsOf(text) <= numberDigitsMax ? BigInt(text) : null;
}

function digitsOf(text: string): number {
  return text.startsWith("-") ? text.length - 1 : text.length;
}

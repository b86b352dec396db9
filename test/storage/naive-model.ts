import type { Command, Compare, Condition, TransactionOperation } from "../../storage/commands.ts";

/* The meaning of key commands, written a second time and as plainly as possible: strings in a Map, no records, no overlay. */

interface Value {
  text: string;
  contentType: string;
  created: number;
  modified: number;
  version: number;
  ttlMs: number | null;
}

/** What a client can see of an outcome. */
export type Seen = Readonly<Record<string, unknown>>;

export class NaiveModel {
  readonly keys = new Map<string, Value>();
  revision = 0;

  run(command: Command, floor: number): Seen {
    const next = Math.max(this.revision, floor) + 1;
    switch (command.type) {
      case "put":
      case "delete":
      case "increment":
      case "append":
      case "touch": {
        const refusal = this.#refusal(command, text(command.key));
        return refusal ?? this.#single(command, next);
      }
      case "transaction": {
        const succeeded = command.compares.every((compare) => this.#holds(compare));
        const operations = succeeded ? command.success : command.failure;
        for (const operation of operations) {
          const refusal =
            operation.type === "get" ? null : this.#refusal(operation, text(operation.key));
          if (refusal !== null) {
            return refusal;
          }
        }
        const results = operations.map((operation) => this.#operate(operation, next));
        return { type: "transaction", succeeded, revision: this.revision, results };
      }
      default:
        throw new Error(`the model does not know ${command.type}`);
    }
  }

  #single(
    command: Exclude<Command, { type: "transaction" }> & { readonly key: Uint8Array },
    next: number,
  ): Seen {
    const name = text(command.key);
    const before = this.keys.get(name);
    switch (command.type) {
      case "put":
      case "delete": {
        const result = this.#operate(command, next);
        return { ...result, revision: this.revision };
      }
      case "increment": {
        const present = before?.text ?? "0";
        if (!/^-?\d+$/.test(present)) {
          return { type: "not_a_number" };
        }
        const sum = String(BigInt(present) + command.by);
        return this.#update(name, sum, "text/plain", command.ttlMs, next, sum);
      }
      case "append": {
        const joined = (before?.text ?? "") + text(command.value);
        return joined.length > command.valueBytesMax
          ? { type: "value_too_large", bytesMax: command.valueBytesMax }
          : this.#update(
              name,
              joined,
              command.contentType,
              command.ttlMs,
              next,
              String(joined.length),
            );
      }
      case "touch": {
        if (before === undefined) {
          return { type: "not_found" };
        }
        if (before.ttlMs !== null || command.ttlMs !== null) {
          this.revision = next;
        }
        before.ttlMs = command.ttlMs;
        return { type: "touch", revision: before.modified, ttlMs: command.ttlMs };
      }
      default:
        throw new Error(`the model does not know ${command.type}`);
    }
  }

  #update(
    name: string,
    value: string,
    newContentType: string,
    ttlMs: number | "keep" | null,
    next: number,
    answer: string,
  ): Seen {
    const before = this.keys.get(name);
    const contentType = before?.contentType ?? newContentType;
    const { version } = this.#put(name, value, contentType, ttlMs, next);
    const created = before === undefined;
    return { type: "update", created, revision: next, version, value: answer };
  }

  #put(
    name: string,
    value: string,
    contentType: string,
    ttlMs: number | "keep" | null,
    next: number,
  ): Value {
    const before = this.keys.get(name);
    const after: Value = {
      text: value,
      contentType,
      created: before?.created ?? next,
      modified: next,
      version: (before?.version ?? 0) + 1,
      ttlMs: ttlMs === "keep" ? (before?.ttlMs ?? null) : ttlMs,
    };
    this.keys.set(name, after);
    this.revision = next;
    return after;
  }

  #operate(operation: TransactionOperation, next: number): Seen {
    const name = text(operation.key);
    const before = this.keys.get(name);
    if (operation.type === "get") {
      return { type: "get", record: before?.text ?? null };
    }
    const previous = operation.wantPrevious ? (before?.text ?? null) : null;
    if (operation.type === "put") {
      const { value, contentType, ttlMs } = operation;
      const { version } = this.#put(name, text(value), contentType, ttlMs, next);
      return { type: "put", created: before === undefined, version, previous };
    }
    if (before !== undefined) {
      this.keys.delete(name);
      this.revision = next;
    }
    return { type: "delete", deleted: before !== undefined, previous };
  }

  /** No lock is ever held here, so every fence refuses. */
  #refusal(
    { condition, fence }: { readonly condition: Condition | null; readonly fence: object | null },
    name: string,
  ): Seen | null {
    if (fence !== null) {
      return { type: "lock_lost" };
    }
    const value = this.keys.get(name);
    const meets =
      condition === null ||
      (condition.type === "absent" && value === undefined) ||
      (condition.type === "present" && value !== undefined) ||
      (condition.type === "revision_in" &&
        condition.revisions.some((revision) => revision === value?.modified)) ||
      (condition.type === "revision_not_in" &&
        condition.revisions.every((revision) => revision !== value?.modified));
    return meets ? null : { type: "condition_failed", current: value?.modified ?? null };
  }

  #holds({ key, target, operator, operand }: Compare): boolean {
    const value = this.keys.get(text(key));
    if (typeof operand !== "number") {
      if (value === undefined) {
        return operator === "not_equal";
      }
      return compares(value.text, text(operand), operator);
    }
    const numbers = {
      value: 0,
      exists: value === undefined ? 0 : 1,
      version: value?.version ?? 0,
      create_revision: value?.created ?? 0,
      mod_revision: value?.modified ?? 0,
    };
    return compares(numbers[target], operand, operator);
  }
}

function compares<T extends string | number>(
  left: T,
  right: T,
  operator: Compare["operator"],
): boolean {
  const outcomes = {
    equal: left === right,
    not_equal: left !== right,
    less: left < right,
    greater: left > right,
  };
  return outcomes[operator];
}

/** Model values are ASCII. */
function text(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString("latin1");
}

import { Revision } from "../../cluster/types.ts";
import type { ClusterNode } from "../../server/cluster-node.ts";
import type { Consistency, RequestContext } from "../../server/http/service.ts";
import type {
  Command,
  CommandResult,
  Condition,
  IdempotencyKey,
  KeyRecord,
} from "../../storage/commands.ts";
import type { KvCondition, KvInput, KvOutput, KvRecord } from "../checkers/kv-model.ts";

/** The command that does what a client of the checkers' model asks. */
export function commandOf(key: string, input: Exclude<KvInput, { type: "get" }>): Command {
  const common = { key: bytes(key), fence: null, condition: null } as const;
  const forever = { ttlMs: null, contentType: "text/plain" } as const;
  switch (input.type) {
    case "put":
      return {
        ...common,
        ...forever,
        type: "put",
        value: bytes(input.value),
        condition: conditionOf(input.condition),
        wantPrevious: false,
      };
    case "delete":
      return {
        ...common,
        type: "delete",
        condition: conditionOf(input.condition),
        wantPrevious: false,
      };
    case "increment":
      return { ...common, type: "increment", by: BigInt(input.by), ttlMs: null };
    case "append":
      return {
        ...common,
        ...forever,
        type: "append",
        value: bytes(input.value),
        valueBytesMax: 1_000_000,
      };
  }
}

/** Runs the command and tells the answer in the model's words. */
export async function execute(
  node: ClusterNode,
  command: Command,
  context: RequestContext,
  idempotency: IdempotencyKey | null = null,
): Promise<CommandResult> {
  const { value } = await node.router.execute(keyOf(command), command, context, idempotency);
  return value.result;
}

/** Reads a key. */
export async function read(
  node: ClusterNode,
  key: string,
  consistency: Consistency["type"] & ("linearizable" | "lease"),
  context: RequestContext,
): Promise<KvRecord | null> {
  const { value } = await node.router.query(
    bytes(key),
    { type: "get", key: bytes(key) },
    { type: consistency },
    context,
  );
  return value.type === "get" ? shown(value.record) : null;
}

/** A result in the model's words; throws when the model has none for it. */
export function outputOf(result: CommandResult): KvOutput {
  switch (result.type) {
    case "put":
      return { ...result, type: "written", value: null };
    case "update":
      return { ...result, type: "written", value: text(result.value) };
    case "delete":
      return { type: "deleted", deleted: result.deleted, revision: result.revision };
    case "condition_failed": {
      const { current } = result;
      return {
        type: "condition_failed",
        current:
          current === null ? null : { revision: current.modRevision, version: current.version },
      };
    }
    default:
      throw new Error(`a command of the model was answered with ${result.type}`);
  }
}

/** What a read shows, in the model's words. */
export function shown(record: KeyRecord | null): KvRecord | null {
  return record === null
    ? null
    : { value: text(record.value), revision: record.modRevision, version: record.version };
}

/** One byte per character. */
export function bytes(of: string): Uint8Array {
  return Buffer.from(of, "latin1");
}

/** The other way round. */
export function text(of: Uint8Array): string {
  return Buffer.from(of).toString("latin1");
}

function conditionOf(condition: KvCondition | null): Condition | null {
  if (condition === null) {
    return null;
  }
  return condition === "absent"
    ? { type: "absent" }
    : { type: "revision_in", revisions: [Revision(condition)] };
}

function keyOf(command: Command): Uint8Array {
  switch (command.type) {
    case "put":
    case "delete":
    case "increment":
    case "append":
    case "touch":
      return command.key;
    case "lock_acquire":
    case "lock_keep_alive":
    case "lock_release":
      return command.lock;
    case "transaction": {
      const [first] = command.success;
      if (first === undefined) {
        throw new Error("a transaction of clients does something");
      }
      return first.key;
    }
    default:
      throw new Error(`clients do not send ${command.type}`);
  }
}

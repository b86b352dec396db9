import { Revision } from "../../cluster/types.ts";
import type { ClusterNode } from "../../server/cluster-node.ts";
import type { RequestContext } from "../../server/http/service.ts";
import type {
  Command,
  CommandResult,
  Condition,
  IdempotencyKey,
  KeyRecord,
  PutCommand,
} from "../../storage/commands.ts";
import type { Query, QueryResult } from "../../storage/queries.ts";
import type { KvCondition, KvOutput, KvRecord } from "../checkers/kv-model.ts";
import type { Door, Doors, HeldLock, KvWrite, Pair } from "../workload/door.ts";
import type { Ending } from "../workload/history.ts";
import type { Asking } from "./asking.ts";

/** The ways into a simulated cluster: each request goes to a node at random. */
export class SimulatedDoors implements Doors {
  readonly #asking: Asking;

  constructor(asking: Asking) {
    this.#asking = asking;
  }

  ask<T>(writes: boolean, run: (door: Door) => Promise<T>): Promise<Ending<T>> {
    return this.#asking.ask(this.#asking.pickMachine(), writes, (node, context) =>
      run(new SimulatedDoor(node, context)),
    );
  }
}

/** One request to one simulated node. */
class SimulatedDoor implements Door {
  readonly #node: ClusterNode;
  readonly #context: RequestContext;

  constructor(node: ClusterNode, context: RequestContext) {
    this.#node = node;
    this.#context = context;
  }

  async read(key: string, consistency: "linearizable" | "lease"): Promise<KvRecord | null> {
    const value = await this.#query(key, { type: "get", key: bytes(key) }, consistency);
    return value.type === "get" ? shown(value.record) : null;
  }

  async write(key: string, input: KvWrite, idempotencyKey: string | null): Promise<KvOutput> {
    const idempotency =
      idempotencyKey === null ? null : { key: idempotencyKey, fingerprint: input.type };
    return outputOf(await this.#execute(key, commandOf(key, input), idempotency));
  }

  async writeMortal(key: string, ttlMs: number): Promise<void> {
    await this.#execute(key, { ...putOf(key, "v"), ttlMs });
  }

  async writeFenced(key: string, value: string, held: HeldLock): Promise<number | null> {
    const fence = { lock: bytes(held.lock), token: Revision(held.token) };
    const result = await this.#execute(key, { ...putOf(key, value), fence });
    return result.type === "put" ? result.revision : null;
  }

  async readPair({ first, second }: Pair): Promise<KvRecord | null> {
    const keys = [bytes(first), bytes(second)];
    const query = { type: "get_many", keys, bytesMax: 1_000_000 } as const;
    const value = await this.#query(first, query, "linearizable");
    const [a = null, b = null] = value.type === "get_many" ? value.records : [];
    return same(shown(a), shown(b));
  }

  async writePair({ first, second }: Pair, value: string, seen: number | null): Promise<KvOutput> {
    const key = bytes(first);
    const result = await this.#execute(first, {
      type: "transaction",
      compares:
        seen === null ? [] : [{ key, target: "mod_revision", operator: "equal", operand: seen }],
      success: [putOf(first, value), putOf(second, value)],
      failure: [
        { type: "get", key },
        { type: "get", key: bytes(second) },
      ],
    });
    if (result.type !== "transaction") {
      throw new Error(`a transaction was answered with ${result.type}`);
    }
    return pairOutput(result);
  }

  async acquire(
    lock: string,
    owner: string,
    ttlMs: number,
    waits: boolean,
  ): Promise<number | null> {
    const value = bytes("v");
    const result = await this.#execute(lock, {
      type: "lock_acquire",
      lock: bytes(lock),
      owner,
      value,
      ttlMs,
      wait: waits,
    });
    return result.type === "lock_held" ? result.token : null;
  }

  async keep({ lock, owner, token }: HeldLock, ttlMs: number): Promise<void> {
    const held = { lock: bytes(lock), owner, token: Revision(token), ttlMs };
    await this.#execute(lock, { ...held, type: "lock_keep_alive" });
  }

  async release({ lock, owner, token }: HeldLock): Promise<void> {
    const held = { lock: bytes(lock), owner, token: Revision(token) };
    await this.#execute(lock, { ...held, type: "lock_release" });
  }

  async #execute(
    key: string,
    command: Command,
    idempotency: IdempotencyKey | null = null,
  ): Promise<CommandResult> {
    const { router } = this.#node;
    const { value } = await router.execute(bytes(key), command, this.#context, idempotency);
    return value.result;
  }

  async #query(key: string, query: Query, type: "linearizable" | "lease"): Promise<QueryResult> {
    const { router } = this.#node;
    const { value } = await router.query(bytes(key), query, { type }, this.#context);
    return value;
  }
}

/** One byte per character. */
export function bytes(of: string): Uint8Array {
  return Buffer.from(of, "latin1");
}

/** The other way round. */
export function text(of: Uint8Array): string {
  return Buffer.from(of).toString("latin1");
}

/** The command that does what a client of the checkers' model asks. */
function commandOf(key: string, input: KvWrite): Command {
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

/** A result in the model's words; throws when the model has none for it. */
function outputOf(result: CommandResult): KvOutput {
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
function shown(record: KeyRecord | null): KvRecord | null {
  return record === null
    ? null
    : { value: text(record.value), revision: record.modRevision, version: record.version };
}

function conditionOf(condition: KvCondition | null): Condition | null {
  if (condition === null) {
    return null;
  }
  return condition === "absent"
    ? { type: "absent" }
    : { type: "revision_in", revisions: [Revision(condition)] };
}

function putOf(key: string, value: string): PutCommand {
  return {
    type: "put",
    key: bytes(key),
    value: bytes(value),
    contentType: "text/plain",
    ttlMs: null,
    condition: null,
    fence: null,
    wantPrevious: false,
  };
}

function pairOutput({
  succeeded,
  revision,
  results: [first, second],
}: Extract<CommandResult, { type: "transaction" }>): KvOutput {
  if (first?.type === "put" && second?.type === "put" && succeeded) {
    if (first.version !== second.version) {
      throw new Error(`a pair has versions ${first.version} and ${second.version}`);
    }
    const { created, version } = first;
    return { type: "written", created, revision, version, value: null };
  }
  if (first?.type === "get" && second?.type === "get" && !succeeded) {
    return { type: "condition_failed", current: same(shown(first.record), shown(second.record)) };
  }
  throw new Error("a transaction was answered with the results of another");
}

/** Both halves of a pair; throws when they differ. */
function same<T>(first: T, second: T): T {
  const [a, b] = [JSON.stringify(first), JSON.stringify(second)];
  if (a !== b) {
    throw new Error(`a pair was torn: ${a} and ${b}`);
  }
  return first;
}

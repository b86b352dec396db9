import type { FastifyRequest } from "fastify";
import { InvariantViolation } from "../../cluster/assert.ts";
import type { ShardId } from "../../cluster/types.ts";
import type { IdempotencyKey } from "../../storage/commands.ts";
import { problemOf, ServiceError } from "../errors.ts";
import { jsonKey, jsonLiveRecord, jsonWrite } from "./json-values.ts";
import type { Operation } from "./operations.ts";
import { expectResult } from "./outcomes.ts";
import { asServiceError } from "./problems.ts";
import { consistencyOf, contextOf, type RouteKit } from "./route-kit.ts";
import type { Consistency } from "./service.ts";

/** How a batch is to be read, and for how long. */
export interface BatchQuery {
  readonly timeout: number | null;
  readonly consistency: Consistency["type"];
}

/** A get and its place in the batch. */
interface Asked {
  readonly at: number;
  readonly key: Uint8Array;
}

/** Runs independent operations: reads one query per shard, writes each for itself, all at once. */
export class BatchRunner {
  readonly #kit: RouteKit;
  readonly #request: FastifyRequest;
  readonly #timeoutMs: number | null;
  readonly #consistency: Consistency;
  readonly #idempotency: IdempotencyKey | null;

  /** Throws what is wrong with the request as a whole. */
  constructor(
    kit: RouteKit,
    request: FastifyRequest,
    query: BatchQuery,
    idempotency: IdempotencyKey | null,
  ) {
    this.#kit = kit;
    this.#request = request;
    this.#timeoutMs = query.timeout;
    this.#consistency = consistencyOf(query.consistency, request.headers);
    this.#idempotency = idempotency;
  }

  /** A result with a status for each operation, in their order. What it throws, it throws before anything is begun. */
  async run(batch: readonly Operation[]): Promise<readonly object[]> {
    const results: object[] = batch.map(() => ({}));
    const reads = this.#readsByShard(batch);
    const work = [...reads].map(([shard, asked]) => this.#read(shard, asked, results));
    batch.forEach((operation, at) => {
      if (operation.type !== "get") {
        work.push(this.#write(operation, at, results));
      }
    });
    await Promise.all(work);
    return results;
  }

  #readsByShard(batch: readonly Operation[]): ReadonlyMap<ShardId, readonly Asked[]> {
    const reads = new Map<ShardId, Asked[]>();
    batch.forEach(({ type, key }, at) => {
      if (type === "get") {
        const shard = this.#kit.service.shardOf(key);
        const asked = reads.get(shard) ?? [];
        reads.set(shard, asked);
        asked.push({ at, key });
      }
    });
    return reads;
  }

  async #write(operation: Exclude<Operation, { type: "get" }>, at: number, results: object[]) {
    const { service } = this.#kit;
    const key = this.#idempotency;
    try {
      const served = await service.execute(
        operation.key,
        operation,
        contextOf(this.#kit, this.#request, this.#timeoutMs),
        key === null ? null : { key: `${key.key}/${at}`, fingerprint: key.fingerprint },
      );
      const result = expectResult(served, operation.type);
      const { revision } = result;
      const status = result.type === "put" && result.created ? 201 : 200;
      results[at] = {
        status,
        ...jsonKey(operation.key),
        revision: String(revision),
        ...jsonWrite(result, operation.wantPrevious),
      };
    } catch (error) {
      results[at] = this.#failure(error, operation.key);
    }
  }

  async #read(shard: ShardId, asked: readonly Asked[], results: object[]): Promise<void> {
    try {
      const { value } = await this.#kit.service.queryShard(
        shard,
        { type: "get_many", keys: asked.map(({ key }) => key) },
        this.#consistency,
        contextOf(this.#kit, this.#request, this.#timeoutMs),
      );
      if (value.type !== "get_many") {
        throw new InvariantViolation(`get_many was answered with ${value.type}`);
      }
      asked.forEach(({ at, key }, position) => {
        const record = value.records[position] ?? null;
        results[at] =
          record === null
            ? this.#failure(new ServiceError("not_found", "there is no such key", { shard }), key)
            : { status: 200, ...jsonKey(key), ...jsonLiveRecord(record, true) };
      });
    } catch (error) {
      asked.forEach(({ at, key }) => (results[at] = this.#failure(error, key)));
    }
  }

  #failure(error: unknown, key: Uint8Array): object {
    return { ...jsonKey(key), ...problemOf(asServiceError(error), this.#request.id) };
  }
}

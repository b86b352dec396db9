import type { FastifyRequest } from "fastify";
import { InvariantViolation } from "../../cluster/assert.ts";
import type { ShardId } from "../../cluster/types.ts";
import type { IdempotencyKey } from "../../storage/commands.ts";
import type { LiveRecord } from "../../storage/queries.ts";
import { problemOf, ServiceError } from "../errors.ts";
import { jsonKey, jsonLiveRecord, jsonWrite } from "./json-values.ts";
import type { Operation } from "./operations.ts";
import { expectResult } from "./outcomes.ts";
import { asServiceError } from "./problems.ts";
import { consistencyOf, type RouteKit } from "./route-kit.ts";
import type { Consistency, RequestContext } from "./service.ts";

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

/** What a get found; an error when it found nothing. */
interface Found extends Asked {
  readonly found: LiveRecord | ServiceError;
}

/**
 * Runs independent operations: reads one query per shard, writes each for itself, all at once. The answer has room for as many bytes of
 * values as a batch's body may have: what one batch can write, one batch can read. A write is always told of; a previous value is left out
 * when it does not fit, and so is the value of a get.
 */
export class BatchRunner {
  readonly #kit: RouteKit;
  readonly #request: FastifyRequest;
  readonly #context: RequestContext;
  readonly #consistency: Consistency;
  readonly #idempotency: IdempotencyKey | null;
  /** Bytes of values that the answer still takes. */
  #room: number;

  /** Throws what is wrong with the request as a whole. */
  constructor(
    kit: RouteKit,
    request: FastifyRequest,
    query: BatchQuery,
    context: RequestContext,
    idempotency: IdempotencyKey | null,
  ) {
    this.#kit = kit;
    this.#request = request;
    this.#context = context;
    this.#consistency = consistencyOf(query.consistency, request.headers);
    this.#idempotency = idempotency;
    this.#room = kit.config.batchBytesMax;
  }

  /** A result with a status for each operation, in their order. To be run once. What it throws, it throws before anything is begun. */
  async run(batch: readonly Operation[]): Promise<readonly object[]> {
    const results: object[] = batch.map(() => ({}));
    const shards = [...this.#readsByShard(batch)];
    const reading = Promise.all(shards.map(([shard, asked]) => this.#read(shard, asked)));
    const writing = batch.map(async (operation, at) => {
      if (operation.type !== "get") {
        results[at] = await this.#write(operation, at);
      }
    });
    await Promise.all(writing);
    // Who reads can read again; what was there before a write cannot be had any more, so it has taken its room first.
    const found = (await reading).flat().sort((a, b) => a.at - b.at);
    for (const each of found) {
      results[each.at] = this.#readResult(each);
    }
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

  async #write(operation: Exclude<Operation, { type: "get" }>, at: number): Promise<object> {
    const { service } = this.#kit;
    const key = this.#idempotency;
    try {
      const served = await service.execute(
        operation.key,
        operation,
        this.#context,
        key === null ? null : { key: `${key.key}/${at}`, fingerprint: key.fingerprint },
      );
      const result = expectResult(served, operation.type);
      const { revision, previous } = result;
      const status = result.type === "put" && result.created ? 201 : 200;
      const fits = previous === null || this.#takes(previous.value.length);
      return {
        status,
        ...jsonKey(operation.key),
        revision: String(revision),
        ...jsonWrite(result, operation.wantPrevious && fits),
        ...(fits ? {} : { previous_omitted: true }),
      };
    } catch (error) {
      return this.#failure(error, operation.key);
    }
  }

  async #read(shard: ShardId, asked: readonly Asked[]): Promise<readonly Found[]> {
    try {
      const { value } = await this.#kit.service.queryShard(
        shard,
        { type: "get_many", keys: asked.map(({ key }) => key), bytesMax: this.#room },
        this.#consistency,
        this.#context,
      );
      if (value.type !== "get_many") {
        throw new InvariantViolation(`get_many was answered with ${value.type}`);
      }
      return asked.map((each, position) => {
        const record = value.records[position];
        const found = record === undefined ? this.#noRoom() : (record ?? notFound(shard));
        return { ...each, found };
      });
    } catch (error) {
      return asked.map((each) => ({ ...each, found: asServiceError(error) }));
    }
  }

  #readResult({ key, found }: Found): object {
    if (found instanceof ServiceError) {
      return this.#failure(found, key);
    }
    return this.#takes(found.value.length)
      ? { status: 200, ...jsonKey(key), ...jsonLiveRecord(found, true) }
      : this.#failure(this.#noRoom(), key);
  }

  /** Whether there is room for so many bytes of a value; then it is taken. */
  #takes(bytes: number): boolean {
    const fits = bytes <= this.#room;
    this.#room -= fits ? bytes : 0;
    return fits;
  }

  #noRoom(): ServiceError {
    const { batchBytesMax } = this.#kit.config;
    return new ServiceError(
      "value_too_large",
      `a batch is answered with up to ${batchBytesMax} bytes of values, and this one, or one before it on the same shard, does not fit any more; read the key by itself or in another batch`,
      { extra: { limit_bytes: batchBytesMax } },
    );
  }

  #failure(error: unknown, key: Uint8Array): object {
    return { ...jsonKey(key), ...problemOf(asServiceError(error), this.#request.id) };
  }
}

function notFound(shard: ShardId): ServiceError {
  return new ServiceError("not_found", "there is no such key", { shard });
}

import type { FastifyRequest } from "fastify";
import Type, { type Static } from "typebox";
import { InvariantViolation } from "../../cluster/assert.ts";
import type { ShardId } from "../../cluster/types.ts";
import type {
  Compare,
  CompareTarget,
  IdempotencyKey,
  TransactionOperationResult,
} from "../../storage/commands.ts";
import { problemOf, ServiceError } from "../errors.ts";
import { idempotencyOf } from "./conditions.ts";
import { fenced, fencedBranch, fenceOn } from "./fences.ts";
import { jsonKey, jsonLiveRecord, jsonRecord } from "./json-values.ts";
import { batchDocs, txnDocs } from "./many-docs.ts";
import {
  jsonKeyOf,
  jsonValueOf,
  operationOf,
  operationSchema,
  revisionOf,
  valueMembers,
  type Operation,
} from "./operations.ts";
import { expectResult } from "./outcomes.ts";
import { splitTarget } from "./percent.ts";
import { asServiceError } from "./problems.ts";
import { queryForm } from "./query.ts";
import {
  consistencyOf,
  contextOf,
  readParameters,
  type RouteKit,
  type Routes,
} from "./route-kit.ts";

/** Operators by the way they are written. */
const operators = { "=": "equal", "!=": "not_equal", "<": "less", ">": "greater" } as const;

const compareSchema = Type.Object(
  {
    key: Type.Optional(Type.String()),
    key64: Type.Optional(Type.String()),
    target: Type.Unsafe<CompareTarget>({
      type: "string",
      enum: ["value", "version", "create_revision", "mod_revision", "exists"],
    }),
    op: Type.Optional(
      Type.Unsafe<keyof typeof operators>({ type: "string", enum: ["=", "!=", "<", ">"] }),
    ),
    value: Type.Optional(Type.Union([Type.String(), Type.Boolean(), Type.Integer()])),
    encoding: valueMembers.encoding,
  },
  { additionalProperties: false },
);

/** POST /v1/batch: independent operations; POST /v1/txn: compare, then one of two branches, atomically on one shard. */
export const manyRoutes: Routes = (app, kit) => {
  const { batchOperationsMax: max } = kit.config;
  const operations = Type.Array(operationSchema, { maxItems: max });
  const batchBody = Type.Object({ operations }, { additionalProperties: false });
  const txnBody = Type.Object(
    {
      compare: Type.Optional(Type.Array(compareSchema, { maxItems: max })),
      success: Type.Optional(operations),
      failure: Type.Optional(operations),
    },
    { additionalProperties: false },
  );
  const form = queryForm(readParameters(kit.config));

  app.post<{ Body: Static<typeof batchBody> }>(
    "/v1/batch",
    { schema: { body: batchBody }, config: { docs: batchDocs(form) } },
    async (request) => {
      const query = form.parse(splitTarget(request.raw.url ?? "").query);
      refuseConditions(request);
      const operations = request.body.operations.map((each, at) =>
        operationOf(each, `operation ${at}`, kit.config),
      );
      const written = operations.filter(({ type }) => type !== "get").map(({ key }) => key);
      const fence = fenceOn(kit.service, request.headers, written);
      const runner = new BatchRunner(kit, request, query);
      return { results: await runner.run(operations.map((each) => fenced(each, fence))) };
    },
  );

  app.post<{ Body: Static<typeof txnBody> }>(
    "/v1/txn",
    { schema: { body: txnBody }, config: { docs: txnDocs(form) } },
    async (request, reply) => {
      const query = form.parse(splitTarget(request.raw.url ?? "").query);
      refuseConditions(request);
      const { compare = [], success = [], failure = [] } = request.body;
      if (compare.length + success.length + failure.length > max) {
        throw new ServiceError("bad_request", `a transaction has at most ${max} parts in all`);
      }
      const branch = (name: string, list: typeof success) =>
        list.map((each, at) => operationOf(each, `${name} ${at}`, kit.config));
      const compares = compare.map((each, at) => compareOf(each, `compare ${at}`, kit));
      const branches = { success: branch("success", success), failure: branch("failure", failure) };
      const keys = [...compares, ...branches.success, ...branches.failure].map(({ key }) => key);
      const routingKey = oneShard(kit, keys);
      const fence = fenceOn(kit.service, request.headers, [routingKey]);
      const command = {
        type: "transaction" as const,
        compares,
        success: fencedBranch(branches.success, fence),
        failure: fencedBranch(branches.failure, fence),
      };
      const context = contextOf(kit, request, query.timeout);
      const served = await kit.service.execute(
        routingKey,
        command,
        context,
        idempotencyFor(request),
      );
      const result = expectResult(served, "transaction");
      if (served.value.replayed) {
        void reply.header("idempotency-replayed", "true");
      }
      const ran = result.succeeded ? branches.success : branches.failure;
      return {
        succeeded: result.succeeded,
        revision: String(result.revision),
        shard: served.shard,
        results: result.results.slice(0, ran.length).map((each, at) => jsonResult(each, ran[at])),
      };
    },
  );
};

/** Runs independent operations: reads one query per shard, writes each for itself, all at once. */
class BatchRunner {
  readonly #kit: RouteKit;
  readonly #request: FastifyRequest;
  readonly #query: { readonly timeout: number | null; readonly consistency: BatchConsistency };
  readonly #idempotency: IdempotencyKey | null;

  constructor(
    kit: RouteKit,
    request: FastifyRequest,
    query: { readonly timeout: number | null; readonly consistency: BatchConsistency },
  ) {
    this.#kit = kit;
    this.#request = request;
    this.#query = query;
    this.#idempotency = idempotencyFor(request);
  }

  /** A result with a status for each operation, in their order. */
  async run(batch: readonly Operation[]): Promise<readonly object[]> {
    const results: object[] = batch.map(() => ({}));
    const reads = new Map<ShardId, { at: number; key: Uint8Array }[]>();
    const work: Promise<void>[] = [];
    batch.forEach((operation, at) => {
      if (operation.type === "get") {
        const shard = this.#kit.service.shardOf(operation.key);
        reads.set(shard, [...(reads.get(shard) ?? []), { at, key: operation.key }]);
      } else {
        work.push(this.#write(operation, at, results));
      }
    });
    for (const [shard, asked] of reads) {
      work.push(this.#read(shard, asked, results));
    }
    await Promise.all(work);
    return results;
  }

  async #write(operation: Exclude<Operation, { type: "get" }>, at: number, results: object[]) {
    const { service } = this.#kit;
    const key = this.#idempotency;
    try {
      const served = await service.execute(
        operation.key,
        operation,
        contextOf(this.#kit, this.#request, this.#query.timeout),
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

  async #read(
    shard: ShardId,
    asked: readonly { readonly at: number; readonly key: Uint8Array }[],
    results: object[],
  ): Promise<void> {
    try {
      const { value } = await this.#kit.service.queryShard(
        shard,
        { type: "get_many", keys: asked.map(({ key }) => key) },
        consistencyOf(this.#query.consistency, this.#request.headers),
        contextOf(this.#kit, this.#request, this.#query.timeout),
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

/** The headers are about one key; ignored, they would let a write through that the client wanted to be refused. */
function refuseConditions({ headers }: FastifyRequest): void {
  if (headers["if-match"] !== undefined || headers["if-none-match"] !== undefined) {
    throw new ServiceError(
      "bad_request",
      "If-Match and If-None-Match are for one key; here each operation has its own if_match or if_none_match in the body",
    );
  }
}

type BatchConsistency = Parameters<typeof consistencyOf>[0];

function idempotencyFor(request: FastifyRequest): IdempotencyKey | null {
  return idempotencyOf({
    method: request.method,
    target: request.raw.url ?? "",
    headers: request.headers,
    body: Buffer.from(JSON.stringify(request.body)),
  });
}

function compareOf(json: Static<typeof compareSchema>, where: string, kit: RouteKit): Compare {
  const { target, value } = json;
  const key = jsonKeyOf(json, where, kit.config);
  const operator = operators[json.op ?? "="];
  switch (target) {
    case "value": {
      if (typeof value !== "string") {
        throw new ServiceError("bad_request", `the value of ${where} must be a string`);
      }
      const encoding = json.encoding ?? "utf8";
      return { key, target, operator, operand: jsonValueOf({ value, encoding }, where) };
    }
    case "exists": {
      const exists = value ?? true;
      if (typeof exists !== "boolean") {
        throw new ServiceError("bad_request", `the value of ${where} must be true or false`);
      }
      return { key, target, operator, operand: exists ? 1 : 0 };
    }
    case "version":
    case "create_revision":
    case "mod_revision":
      return { key, target, operator, operand: revisionOf(String(value), where) };
  }
}

/** Any key of the transaction, if all of them live on one shard. */
function oneShard(kit: RouteKit, keys: readonly Uint8Array[]): Uint8Array {
  const [first] = keys;
  if (first === undefined) {
    throw new ServiceError("bad_request", "the transaction names no key");
  }
  const shards = [...new Set(keys.map((key) => kit.service.shardOf(key)))].sort((a, b) => a - b);
  if (shards.length > 1) {
    throw new ServiceError(
      "cross_shard",
      `the transaction's keys live on the shards ${shards.join(", ")}; keys with the same {tag} in their names share a shard`,
      { extra: { shards } },
    );
  }
  return first;
}

function jsonWrite(
  result: Exclude<TransactionOperationResult, { type: "get" }>,
  wantPrevious: boolean,
): object {
  const previous = wantPrevious ? { previous: result.previous && jsonRecord(result.previous) } : {};
  return result.type === "put"
    ? { created: result.created, version: result.version, ...previous }
    : { deleted: result.deleted, ...previous };
}

function jsonResult(result: TransactionOperationResult, operation: Operation | undefined): object {
  const key = operation === undefined ? {} : jsonKey(operation.key);
  if (result.type === "get") {
    return { op: "get", ...key, record: result.record && jsonRecord(result.record) };
  }
  const wantPrevious =
    operation !== undefined && "wantPrevious" in operation && operation.wantPrevious;
  return { op: result.type, ...key, ...jsonWrite(result, wantPrevious) };
}

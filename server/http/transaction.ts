import type { FastifyRequest } from "fastify";
import Type, { type Static } from "typebox";
import type { ShardId } from "../../cluster/types.ts";
import type {
  Compare,
  CompareTarget,
  IdempotencyKey,
  TransactionOperationResult,
} from "../../storage/commands.ts";
import { ServiceError } from "../errors.ts";
import { fencedBranch, fenceOn } from "./fences.ts";
import { jsonKey, jsonRecord, jsonWrite } from "./json-values.ts";
import {
  jsonKeyOf,
  jsonValueOf,
  operationOf,
  revisionOf,
  valueMembers,
  type JsonOperation,
  type Operation,
} from "./operations.ts";
import { expectResult } from "./outcomes.ts";
import type { RouteKit } from "./route-kit.ts";
import type { RequestContext } from "./service.ts";

/** Operators by the way they are written. */
const operators = { "=": "equal", "!=": "not_equal", "<": "less", ">": "greater" } as const;

/** One assumption of a transaction, in JSON. */
export const compareSchema = Type.Object(
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

/** A transaction as it was asked for. */
export interface TransactionRequest {
  readonly kit: RouteKit;
  readonly request: FastifyRequest;
  readonly json: {
    readonly compare: readonly Static<typeof compareSchema>[];
    readonly success: readonly JsonOperation[];
    readonly failure: readonly JsonOperation[];
  };
  readonly context: RequestContext;
  readonly idempotency: IdempotencyKey | null;
}

/** Runs it on the one shard of its keys, and says what ran. `replayed`: this was the answer to an earlier request. */
export async function runTransaction({
  kit,
  request,
  json,
  context,
  idempotency,
}: TransactionRequest): Promise<{ readonly replayed: boolean; readonly answer: object }> {
  const { batchOperationsMax: max } = kit.config;
  if (json.compare.length + json.success.length + json.failure.length > max) {
    throw new ServiceError("bad_request", `a transaction has at most ${max} parts in all`);
  }
  const branchOf = (name: "success" | "failure"): readonly Operation[] =>
    json[name].map((each, at) => operationOf(each, `${name} ${at}`, kit.config));
  const compares = json.compare.map((each, at) => compareOf(each, `compare ${at}`, kit));
  const [success, failure] = [branchOf("success"), branchOf("failure")];
  await kit.service.started(context);
  const routingKey = oneShard(
    kit,
    [...compares, ...success, ...failure].map(({ key }) => key),
  );
  const fence = fenceOn(kit.service, request.headers, [routingKey]);
  const served = await kit.service.execute(
    routingKey,
    {
      type: "transaction",
      compares,
      success: fencedBranch(success, fence),
      failure: fencedBranch(failure, fence),
    },
    context,
    idempotency,
  );
  if (served.value.result.type === "value_too_large") {
    throw answerTooLarge(served.value.result.bytesMax, served.shard);
  }
  const { succeeded, revision, results } = expectResult(served, "transaction");
  const ran = succeeded ? success : failure;
  return {
    replayed: served.value.replayed,
    answer: {
      succeeded,
      revision: String(revision),
      shard: served.shard,
      // Of a fenced branch the last result may be that of the judgement alone.
      results: results.slice(0, ran.length).map((each, at) => jsonResult(each, ran[at])),
    },
  };
}

function answerTooLarge(bytesMax: number, shard: ShardId): ServiceError {
  return new ServiceError(
    "value_too_large",
    `a transaction is answered with up to ${bytesMax} bytes of values, and the branch that would run reads more; nothing was changed`,
    { shard, extra: { limit_bytes: bytesMax } },
  );
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

function jsonResult(result: TransactionOperationResult, operation: Operation | undefined): object {
  const key = operation === undefined ? {} : jsonKey(operation.key);
  if (result.type === "get") {
    return { op: "get", ...key, record: result.record && jsonRecord(result.record) };
  }
  const wantPrevious =
    operation !== undefined && "wantPrevious" in operation && operation.wantPrevious;
  return { op: result.type, ...key, ...jsonWrite(result, wantPrevious) };
}

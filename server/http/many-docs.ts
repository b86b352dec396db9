import Type from "typebox";
import { stateLimits } from "../../storage/state-limits.ts";
import { keySchema, recordSchema, revisionSchema } from "./json-values.ts";
import type { Parameter, QueryForm } from "./query.ts";
import { commonProblems, json, problem, type RouteDocs } from "./route-kit.ts";

type Form = QueryForm<Readonly<Record<string, Parameter<unknown>>>>;

const tags = ["many"];
const idempotency = { "Idempotency-Key": "Makes a retry answer what the first request did." };
const nullableRecord = Type.Union([recordSchema, Type.Null()]);
const changed = {
  created: Type.Optional(Type.Boolean()),
  deleted: Type.Optional(Type.Boolean()),
  version: Type.Optional(Type.Integer()),
  previous: Type.Optional(nullableRecord),
};

/** What the API's description says of POST /v1/batch. */
export function batchDocs(form: Form): RouteDocs {
  return {
    summary: "Many independent operations",
    description:
      "Not atomic, in no order; each has a status of its own. The answer has room for as many bytes of values as the body may have (--batch-bytes-max): a get that does not fit, and those that follow it on its shard, have the status 413, `value_too_large`, and a write is told of with `previous_omitted` in place of `previous`.",
    tags,
    query: form,
    headers: {
      ...idempotency,
      "Flotilla-Fence":
        "lock=token: each write has the status 412, `lock_lost`, once the lock has moved on. Reads are not fenced.",
    },
    responses: {
      ...commonProblems,
      200: json(
        "One result per operation, in their order.",
        Type.Object({
          results: Type.Array(
            Type.Object(
              {
                status: Type.Integer(),
                ...keySchema,
                ...changed,
                previous_omitted: Type.Optional(
                  Type.Boolean({ description: "`previous` was asked for and did not fit." }),
                ),
              },
              { additionalProperties: true },
            ),
          ),
        }),
      ),
      413: problem("`body_too_large`, `value_too_large`"),
      422: problem("`cross_shard`: the lock of Flotilla-Fence and a key that is written."),
    },
  };
}

/** What the API's description says of POST /v1/txn. */
export function txnDocs(form: Form): RouteDocs {
  return {
    summary: "Compare, then write, atomically",
    description:
      "If all compares hold `success` runs, else `failure`. All keys must live on one shard: give them the same {tag}. A compare that fails is not an error: 200 with `succeeded: false`.",
    tags,
    query: form,
    headers: {
      ...idempotency,
      "Flotilla-Fence":
        "lock=token: refused with `lock_lost` once the lock has moved on, also when the branch that runs only reads.",
    },
    responses: {
      ...commonProblems,
      200: json(
        "What ran, and one result per operation of that branch.",
        Type.Object({
          succeeded: Type.Boolean(),
          revision: revisionSchema,
          shard: Type.Integer(),
          results: Type.Array(
            Type.Object({
              op: Type.String(),
              ...keySchema,
              ...changed,
              record: Type.Optional(nullableRecord),
            }),
          ),
        }),
      ),
      412: problem(
        "`precondition_failed`: of an operation in the branch; `lock_lost`. Nothing was changed.",
      ),
      413: problem(
        `\`body_too_large\`, \`value_too_large\`: of the body, or the branch that would run answers with more than ${stateLimits.transactionAnswerBytesMax} bytes of values. Nothing was changed.`,
      ),
      422: problem("`cross_shard`, with the shards."),
    },
  };
}

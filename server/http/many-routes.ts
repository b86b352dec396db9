import type { FastifyRequest } from "fastify";
import Type, { type Static } from "typebox";
import type { IdempotencyKey } from "../../storage/commands.ts";
import { ServiceError } from "../errors.ts";
import { BatchRunner } from "./batch.ts";
import { idempotencyOf } from "./conditions.ts";
import { fenced, fenceOn } from "./fences.ts";
import { batchDocs, txnDocs } from "./many-docs.ts";
import { operationOf, operationSchema } from "./operations.ts";
import { splitTarget } from "./percent.ts";
import { queryForm } from "./query.ts";
import { contextOf, readParameters, type Routes } from "./route-kit.ts";
import { compareSchema, runTransaction } from "./transaction.ts";

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
      const batch = request.body.operations.map((each, at) =>
        operationOf(each, `operation ${at}`, kit.config),
      );
      const context = contextOf(kit, request, query.timeout);
      const runner = new BatchRunner(kit, request, query, context, idempotencyFor(request));
      await kit.service.started(context);
      const written = batch.filter(({ type }) => type !== "get").map(({ key }) => key);
      const fence = fenceOn(kit.service, request.headers, written);
      return { results: await runner.run(batch.map((each) => fenced(each, fence))) };
    },
  );

  app.post<{ Body: Static<typeof txnBody> }>(
    "/v1/txn",
    { schema: { body: txnBody }, config: { docs: txnDocs(form) } },
    async (request, reply) => {
      const query = form.parse(splitTarget(request.raw.url ?? "").query);
      refuseConditions(request);
      const { compare = [], success = [], failure = [] } = request.body;
      const { replayed, answer } = await runTransaction({
        kit,
        request,
        json: { compare, success, failure },
        context: contextOf(kit, request, query.timeout),
        idempotency: idempotencyFor(request),
      });
      if (replayed) {
        void reply.header("idempotency-replayed", "true");
      }
      return answer;
    },
  );
};

/** The headers are about one key; ignored, they would let a write through that the client wanted to be refused. */
function refuseConditions({ headers }: FastifyRequest): void {
  if (headers["if-match"] !== undefined || headers["if-none-match"] !== undefined) {
    throw new ServiceError(
      "bad_request",
      "If-Match and If-None-Match are for one key; here each operation has its own if_match or if_none_match in the body",
    );
  }
}

function idempotencyFor(request: FastifyRequest): IdempotencyKey | null {
  return idempotencyOf({
    method: request.method,
    target: request.raw.url ?? "",
    headers: request.headers,
    body: Buffer.from(JSON.stringify(request.body)),
  });
}

import type { FastifyReply, FastifyRequest } from "fastify";
import type { QueryResult } from "../../storage/queries.ts";
import { InvariantViolation } from "../../cluster/assert.ts";
import { problemOf, ServiceError } from "../errors.ts";
import { conditionOf, holds } from "./conditions.ts";
import { recordHeaders, servedHeaders } from "./kv-answers.ts";
import { redirectParameter } from "./kv-writes.ts";
import { untilChanged } from "./long-poll.ts";
import { durationParameter, queryForm } from "./query.ts";
import { sendRaw } from "./responses.ts";
import {
  consistencyOf,
  contextOf,
  key64Parameter,
  readParameters,
  type RouteKit,
} from "./route-kit.ts";
import type { Served } from "./service.ts";

/** Query form of GET and HEAD of one key. */
export function getForm(kit: RouteKit) {
  return queryForm({
    ...readParameters(kit.config),
    key64: key64Parameter(),
    redirect: redirectParameter(),
    wait: durationParameter(
      "With If-None-Match: wait this long for the key to change before answering 304.",
      kit.config.requestTimeoutMaxMs,
    ),
  });
}

/** A request that reads one key, with its key and query known. */
export interface ReadRequest {
  readonly request: FastifyRequest;
  readonly reply: FastifyReply;
  readonly key: Uint8Array;
  readonly form: ReturnType<ReturnType<typeof getForm>["parse"]>;
}

type GetResult = Extract<QueryResult, { type: "get" }>;

/** GET and HEAD: the raw value; 304 when the client has it already, at once or after `?wait=`. */
export async function get(kit: RouteKit, read: ReadRequest): Promise<void> {
  const { request, reply, form } = read;
  const condition = conditionOf(request.headers);
  let served = await readKey(kit, read);
  if (condition !== null && !holds(condition, served.value.record)) {
    if (request.headers["if-match"] !== undefined) {
      throw new ServiceError("precondition_failed", "the key is not at a revision of If-Match");
    }
    if (form.wait === null) {
      sendNotModified(request, reply, served);
      return;
    }
    request.exchange.becomeWatcher();
    served = await untilChanged({
      kit,
      key: read.key,
      present: served,
      hasChanged: ({ record }) => holds(condition, record),
      read: () => readKey(kit, read),
      signal: AbortSignal.any([AbortSignal.timeout(form.wait), request.exchange.gone, kit.closing]),
    });
    if (!holds(condition, served.value.record)) {
      sendNotModified(request, reply, served);
      return;
    }
  }
  sendRecord(request, reply, served);
}

async function readKey(
  kit: RouteKit,
  { request, key, form }: ReadRequest,
): Promise<Served<GetResult>> {
  const served = await kit.service.query(
    key,
    { type: "get", key },
    consistencyOf(form.consistency, request.headers),
    contextOf(kit, request, form.timeout),
  );
  const { value } = served;
  if (value.type !== "get") {
    throw new InvariantViolation(`a get was answered with ${value.type}`);
  }
  return { ...served, value };
}

function sendRecord(request: FastifyRequest, reply: FastifyReply, served: Served<GetResult>): void {
  const { record } = served.value;
  const headers = servedHeaders(request, served);
  if (record === null) {
    const error = new ServiceError("not_found", "there is no such key", { shard: served.shard });
    const body = Buffer.from(JSON.stringify(problemOf(error, request.id)));
    headers.push("Content-Type", "application/problem+json", "Content-Length", String(body.length));
    sendRaw(reply, 404, headers, request.method === "HEAD" ? null : body);
    return;
  }
  recordHeaders(headers, record);
  headers.push("Content-Type", record.contentType, "Content-Length", String(record.value.length));
  sendRaw(reply, 200, headers, request.method === "HEAD" ? null : record.value);
}

function sendNotModified(
  request: FastifyRequest,
  reply: FastifyReply,
  served: Served<GetResult>,
): void {
  const headers = servedHeaders(request, served);
  if (served.value.record !== null) {
    recordHeaders(headers, served.value.record);
  }
  sendRaw(reply, 304, headers, null);
}

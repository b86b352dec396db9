import type { FastifyReply, FastifyRequest } from "fastify";
import type { Command, CommandOutcome, TtlChange } from "../../storage/commands.ts";
import { numberDigitsMax } from "../../storage/commands.ts";
import { ServiceError } from "../errors.ts";
import { conditionOf, idempotencyOf } from "./conditions.ts";
import { durationForm, durationMaxMs, parseDuration } from "./duration.ts";
import { jsonValue } from "./json-values.ts";
import { previousMember, sendChange } from "./kv-answers.ts";
import { fenceOn } from "./fences.ts";
import { expectResult } from "./outcomes.ts";
import { queryForm, switchParameter, textParameter, type Parameter } from "./query.ts";
import {
  commonParameters,
  contextOf,
  key64Parameter,
  refuseBody,
  type RouteKit,
} from "./route-kit.ts";
import type { Served } from "./service.ts";

/** Content type of what comes without one. */
export const defaultContentType = "application/octet-stream";

const nothing = new Uint8Array(0);
const contentTypeCharactersMax = 255;

/** Query forms of the routes that change one key. */
export function writeForms(kit: RouteKit) {
  const common = {
    ...commonParameters(kit.config),
    key64: key64Parameter(),
    redirect: redirectParameter(),
  };
  const operation = textParameter({
    description: "What to do with the key.",
    allowed: "increment, append or touch",
    otherwise: null,
    read: (text) => text,
  });
  const ttl = ttlParameter("Time to live. `keep` leaves the deadline alone, `none` lifts it.");
  const prev = switchParameter("Answer with what was there before, too.");
  return {
    put: queryForm({ ...common, ttl, prev }),
    delete: queryForm({ ...common, prev }),
    increment: queryForm({ ...common, op: operation, ttl, by: byParameter() }),
    append: queryForm({ ...common, op: operation, ttl }),
    touch: queryForm({ ...common, op: operation, ttl }),
  };
}

/** All of them. */
export type WriteForms = ReturnType<typeof writeForms>;

/** Whether the client would rather ask the leader itself. */
export function redirectParameter(): Parameter<boolean> {
  return switchParameter("Answer 307 to the shard's leader instead of forwarding.");
}

function ttlParameter(description: string): Parameter<TtlChange | undefined> {
  const { schema, allowed, read } = textParameter<TtlChange, null>({
    description,
    allowed: `${durationForm}; at least 1ms; or keep, or none`,
    otherwise: null,
    read: (text) => {
      if (text === "keep") {
        return text;
      }
      if (text === "none") {
        return null;
      }
      const ms = parseDuration(text);
      return ms === null || ms < 1 || ms > durationMaxMs ? undefined : ms;
    },
  });
  return { schema, allowed, read, otherwise: undefined };
}

function byParameter(): Parameter<bigint> {
  const { schema, allowed, read } = textParameter<bigint, null>({
    description: "What to add; 1 if not given.",
    allowed: `a decimal integer of up to ${numberDigitsMax} digits`,
    otherwise: null,
    read: (text) =>
      /^-?\d+$/.test(text) && text.length <= numberDigitsMax ? BigInt(text) : undefined,
  });
  return { schema, allowed, otherwise: 1n, read: (bytes) => withoutNull(read(bytes)) };
}

function withoutNull(result: { value: bigint | null } | null): { value: bigint } | null {
  return result === null || result.value === null ? null : { value: result.value };
}

/** A request that changes one key, with its key and query known. */
export interface WriteRequest {
  readonly request: FastifyRequest;
  readonly reply: FastifyReply;
  readonly key: Uint8Array;
  readonly query: string;
}

/** PUT: stores the body. */
export async function put(kit: RouteKit, forms: WriteForms, write: WriteRequest): Promise<void> {
  const { request, reply, key } = write;
  const form = forms.put.parse(write.query);
  const served = await execute(kit, write, form.timeout, {
    type: "put",
    key,
    value: bodyOf(request),
    contentType: contentTypeOf(request),
    ttlMs: form.ttl ?? null,
    condition: conditionOf(request.headers),
    fence: fenceOn(kit.service, request.headers, [key]),
    wantPrevious: form.prev,
  });
  const result = expectResult(served, "put");
  const { revision, created, version, previous } = result;
  sendChange(request, reply, served, {
    status: created ? 201 : 200,
    etag: revision,
    body: `{"revision":"${revision}","created":${created},"version":${version}${previousMember(form.prev, previous)}}\n`,
  });
}

/** DELETE: 200 with what happened, also when nothing was there. */
export async function remove(kit: RouteKit, forms: WriteForms, write: WriteRequest): Promise<void> {
  const { request, reply, key } = write;
  const form = forms.delete.parse(write.query);
  refuseBody(request.body, "DELETE");
  const served = await execute(kit, write, form.timeout, {
    type: "delete",
    key,
    condition: conditionOf(request.headers),
    fence: fenceOn(kit.service, request.headers, [key]),
    wantPrevious: form.prev,
  });
  const { deleted, revision, previous } = expectResult(served, "delete");
  sendChange(request, reply, served, {
    status: 200,
    etag: null,
    body: `{"deleted":${deleted},"revision":"${revision}"${previousMember(form.prev, previous)}}\n`,
  });
}

/** POST ?op=increment: exact whatever the size of the numbers. */
export async function increment(
  kit: RouteKit,
  forms: WriteForms,
  write: WriteRequest,
): Promise<void> {
  const { request, reply, key } = write;
  const form = forms.increment.parse(write.query);
  refuseBody(request.body, "increment");
  const served = await execute(kit, write, form.timeout, {
    type: "increment",
    key,
    by: form.by,
    ttlMs: form.ttl === undefined ? "keep" : form.ttl,
    condition: conditionOf(request.headers),
    fence: fenceOn(kit.service, request.headers, [key]),
  });
  const { revision, created, version, value } = expectResult(served, "update");
  sendChange(request, reply, served, {
    status: 200,
    etag: revision,
    body: `{"value":"${jsonValue(value).value}","revision":"${revision}","created":${created},"version":${version}}\n`,
  });
}

/** POST ?op=append: adds the body to the value. */
export async function append(kit: RouteKit, forms: WriteForms, write: WriteRequest): Promise<void> {
  const { request, reply, key } = write;
  const form = forms.append.parse(write.query);
  const served = await execute(kit, write, form.timeout, {
    type: "append",
    key,
    value: bodyOf(request),
    valueBytesMax: kit.config.valueBytesMax,
    contentType: contentTypeOf(request),
    ttlMs: form.ttl === undefined ? "keep" : form.ttl,
    condition: conditionOf(request.headers),
    fence: fenceOn(kit.service, request.headers, [key]),
  });
  const { revision, created, version, value } = expectResult(served, "update");
  sendChange(request, reply, served, {
    status: 200,
    etag: revision,
    body: `{"length":${jsonValue(value).value},"revision":"${revision}","created":${created},"version":${version}}\n`,
  });
}

/** POST ?op=touch: a new time to live, the value and its revision as they are. */
export async function touch(kit: RouteKit, forms: WriteForms, write: WriteRequest): Promise<void> {
  const { request, reply, key } = write;
  const form = forms.touch.parse(write.query);
  refuseBody(request.body, "touch");
  if (form.ttl === undefined || form.ttl === "keep") {
    throw new ServiceError("bad_request", "touch needs ?ttl=, a duration such as 30s, or none");
  }
  const served = await execute(kit, write, form.timeout, {
    type: "touch",
    key,
    ttlMs: form.ttl,
    condition: conditionOf(request.headers),
    fence: fenceOn(kit.service, request.headers, [key]),
  });
  const { revision, ttlMs } = expectResult(served, "touch");
  sendChange(request, reply, served, {
    status: 200,
    etag: revision,
    body: `{"revision":"${revision}","ttl_ms":${ttlMs}}\n`,
  });
}

async function execute(
  kit: RouteKit,
  { request, reply, key }: WriteRequest,
  timeoutMs: number | null,
  command: Command,
): Promise<Served<CommandOutcome>> {
  const idempotency = idempotencyOf({
    method: request.method,
    target: request.raw.url ?? "",
    headers: request.headers,
    body: bodyOf(request),
  });
  const context = contextOf(kit, request, timeoutMs);
  const served = await kit.service.execute(key, command, context, idempotency);
  const { result } = served.value;
  if (result.type === "condition_failed" && result.current !== null) {
    void reply.header("etag", `"${result.current.modRevision}"`);
  }
  return served;
}

function bodyOf(request: FastifyRequest): Uint8Array {
  return request.body instanceof Uint8Array ? request.body : nothing;
}

function contentTypeOf(request: FastifyRequest): string {
  const type = request.headers["content-type"];
  if (type === undefined) {
    return defaultContentType;
  }
  if (type.length > contentTypeCharactersMax) {
    throw new ServiceError(
      "bad_request",
      `Content-Type is longer than ${contentTypeCharactersMax} characters`,
    );
  }
  return type;
}

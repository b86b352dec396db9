import type { FastifyReply, FastifyRequest } from "fastify";
import type { Static } from "typebox";
import { InvariantViolation } from "../../cluster/assert.ts";
import { lockValueBytesMax, type LockView } from "../../storage/commands.ts";
import { ServiceError } from "../errors.ts";
import { jsonKey } from "./json-values.ts";
import { keyOfRequest, namesKey } from "./keys.ts";
import { acquireBody, keepAliveBody, lockDocs, ownerCharactersMax } from "./lock-docs.ts";
import { acquire } from "./lock-wait.ts";
import { durationOf, jsonValueOf, revisionOf } from "./operations.ts";
import { expectResult, jsonParty } from "./outcomes.ts";
import { splitTarget } from "./percent.ts";
import {
  bytesParameter,
  durationParameter,
  numberParameter,
  queryForm,
  textParameter,
} from "./query.ts";
import { sendJson } from "./responses.ts";
import {
  commonParameters,
  consistencyOf,
  contextOf,
  key64Parameter,
  readParameters,
  type RouteKit,
  type Routes,
} from "./route-kit.ts";

const bareRoute = "/v1/locks";
/** An owner and a value, each byte perhaps written as six characters. */
const bodyLimit = 64 * 1024;

/**
 * Locks with a fair queue and fencing tokens: acquire, keep alive, release, look. The name is the rest of the path, or `?key64=` where that
 * is `/v1/locks` itself; `GET /v1/locks` without key64 is a list.
 */
export const lockRoutes: Routes = (app, kit) => {
  const forms = lockForms(kit);
  const docs = lockDocs(forms);
  type Acquire = { Body: Static<typeof acquireBody> };
  type KeepAlive = { Body: Static<typeof keepAliveBody> };
  for (const url of [`${bareRoute}/*`, bareRoute]) {
    app.post<Acquire>(
      url,
      { schema: { body: acquireBody }, bodyLimit, config: { docs: docs.acquire } },
      (request, reply) => onAcquire(kit, forms, request, request.body, reply),
    );
    app.put<KeepAlive>(
      url,
      { schema: { body: keepAliveBody }, bodyLimit, config: { docs: docs.keepAlive } },
      (request, reply) => onKeepAlive(kit, forms, request, request.body, reply),
    );
    app.delete(url, { config: { docs: docs.release } }, (request, reply) =>
      onRelease(kit, forms, request, reply),
    );
  }
  app.get(`${bareRoute}/*`, { config: { docs: docs.look } }, (request, reply) =>
    onLook(kit, forms, request, reply),
  );
  app.get(bareRoute, { config: { docs: docs.list } }, (request, reply) => {
    const { query } = splitTarget(request.raw.url ?? "");
    const isNamed = namesKey(query);
    return isNamed ? onLook(kit, forms, request, reply) : onList(kit, forms, request, reply);
  });
};

type Forms = ReturnType<typeof lockForms>;

async function onAcquire(
  kit: RouteKit,
  forms: Forms,
  request: FastifyRequest,
  body: Static<typeof acquireBody>,
  reply: FastifyReply,
): Promise<void> {
  const { lock, query } = named(kit, forms.acquire, request);
  const { owner, ttl, value = "", encoding = "utf8" } = body;
  const held = await acquire(kit, request, query.timeout, query.wait, {
    type: "lock_acquire",
    lock,
    owner,
    value: checkedValue(jsonValueOf({ value, encoding }, "the lock")),
    ttlMs: durationOf(ttl, "ttl"),
    wait: query.wait !== null,
  });
  answer(request, reply, lock, { owner, token: String(held.token), ttl_ms: held.ttlMs });
}

/** Also refused where the command is applied; here nobody has had any work with it. */
function checkedValue(value: Uint8Array): Uint8Array {
  if (value.length > lockValueBytesMax) {
    throw new ServiceError(
      "value_too_large",
      `the value of the lock has ${value.length} bytes; locks take up to ${lockValueBytesMax}`,
      { extra: { limit_bytes: lockValueBytesMax } },
    );
  }
  return value;
}

async function onKeepAlive(
  kit: RouteKit,
  forms: Forms,
  request: FastifyRequest,
  body: Static<typeof keepAliveBody>,
  reply: FastifyReply,
): Promise<void> {
  const { lock, query } = named(kit, forms.keepAlive, request);
  const { owner, token, ttl } = body;
  const served = await kit.service.execute(
    lock,
    {
      type: "lock_keep_alive",
      lock,
      owner,
      token: revisionOf(token, "token"),
      ttlMs: durationOf(ttl, "ttl"),
    },
    contextOf(kit, request, query.timeout),
    null,
  );
  const held = expectResult(served, "lock_held");
  answer(request, reply, lock, { owner, token: String(held.token), ttl_ms: held.ttlMs });
}

async function onRelease(
  kit: RouteKit,
  forms: Forms,
  request: FastifyRequest,
  reply: FastifyReply,
): Promise<void> {
  const { lock, query } = named(kit, forms.release, request);
  const { owner, token } = query;
  if (owner === null) {
    throw new ServiceError("bad_request", "releasing a lock needs ?owner=");
  }
  const served = await kit.service.execute(
    lock,
    {
      type: "lock_release",
      lock,
      owner,
      token: token === null ? null : revisionOf(token, "token"),
    },
    contextOf(kit, request, query.timeout),
    null,
  );
  expectResult(served, "lock_released");
  answer(request, reply, lock, { released: true });
}

async function onLook(
  kit: RouteKit,
  forms: Forms,
  request: FastifyRequest,
  reply: FastifyReply,
): Promise<void> {
  const { lock, query } = named(kit, forms.look, request);
  const { value } = await kit.service.query(
    lock,
    { type: "lock", lock },
    consistencyOf(query.consistency, request.headers),
    contextOf(kit, request, query.timeout),
  );
  if (value.type !== "lock") {
    throw new InvariantViolation(`a lock query was answered with ${value.type}`);
  }
  answer(request, reply, lock, jsonLock(value.lock));
}

async function onList(
  kit: RouteKit,
  forms: Forms,
  request: FastifyRequest,
  reply: FastifyReply,
): Promise<void> {
  const query = forms.list.parse(splitTarget(request.raw.url ?? "").query);
  const locks = await listLocks(kit, request, query);
  sendJson(reply, request.exchange, 200, {
    locks: locks
      .slice(0, query.limit)
      .map(({ name, lock }) => ({ ...jsonKey(name), ...jsonLock(lock) })),
    more: locks.length > query.limit,
  });
}

/** Query forms of the routes of locks. */
export function lockForms(kit: RouteKit) {
  const { keyBytesMax, pageItemsDefault, pageItemsMax, requestTimeoutMaxMs } = kit.config;
  const common = { ...commonParameters(kit.config), key64: key64Parameter() };
  return {
    acquire: queryForm({
      ...common,
      wait: durationParameter("Queue up, and wait this long for the lock.", requestTimeoutMaxMs),
    }),
    keepAlive: queryForm(common),
    release: queryForm({
      ...common,
      owner: textParameter({
        description: "Who lets go.",
        allowed: `up to ${ownerCharactersMax} characters`,
        otherwise: null,
        read: (text) => (Array.from(text).length <= ownerCharactersMax ? text : undefined),
      }),
      token: textParameter({
        description: "Token of the lock; without it: leave the queue, or let go whatever was got.",
        allowed: "text",
        otherwise: null,
        read: (text) => text,
      }),
    }),
    look: queryForm({ ...readParameters(kit.config), key64: key64Parameter() }),
    list: queryForm({
      ...readParameters(kit.config),
      prefix: bytesParameter("Only locks whose names begin with these bytes.", keyBytesMax),
      limit: numberParameter({
        description: "How many locks at most.",
        otherwise: pageItemsDefault,
        min: 1,
        max: pageItemsMax,
      }),
    }),
  };
}

function named<Query extends { readonly key64: string | null }>(
  kit: RouteKit,
  form: { parse(query: string): Query },
  request: FastifyRequest,
): { readonly lock: Uint8Array; readonly query: Query } {
  const { path, query: text } = splitTarget(request.raw.url ?? "");
  const query = form.parse(text);
  return { lock: keyOfRequest(path, bareRoute, query.key64, kit.config.keyBytesMax), query };
}

async function listLocks(
  kit: RouteKit,
  request: FastifyRequest,
  query: ReturnType<ReturnType<typeof lockForms>["list"]["parse"]>,
) {
  const prefix = query.prefix ?? new Uint8Array(0);
  const consistency = consistencyOf(query.consistency, request.headers);
  const answers = await Promise.all(
    kit.service
      .shards()
      .map((shard) =>
        kit.service.queryShard(
          shard,
          { type: "locks", prefix, limit: query.limit + 1 },
          consistency,
          contextOf(kit, request, query.timeout),
        ),
      ),
  );
  return answers
    .flatMap(({ value }) => (value.type === "locks" ? value.locks : []))
    .sort((a, b) => Buffer.compare(a.name, b.name));
}

function answer(
  request: FastifyRequest,
  reply: FastifyReply,
  lock: Uint8Array,
  document: object,
): void {
  sendJson(reply, request.exchange, 200, { ...jsonKey(lock), ...document });
}

function jsonLock(lock: LockView) {
  return {
    holder: lock.holder && jsonParty(lock.holder),
    waiters: lock.waiters.map(jsonParty),
  };
}

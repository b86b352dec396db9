import Type from "typebox";
import { lockValueBytesMax } from "../../storage/commands.ts";
import { keySchema, revisionSchema } from "./json-values.ts";
import type { lockForms } from "./lock-routes.ts";
import { valueMembers } from "./operations.ts";
import { queryForm } from "./query.ts";
import { commonProblems, json, problem, type RouteDocs } from "./route-kit.ts";

/** Longest name of an owner: together with the bound of values it bounds a lock's record. */
export const ownerCharactersMax = 256;

const strict = { additionalProperties: false };
const owner = Type.String({
  minLength: 1,
  maxLength: ownerCharactersMax,
  description: "Who asks: the same owner asking again keeps token and place.",
});
const ttl = Type.String({ description: "A duration such as 30s." });

/** Body of POST /v1/locks/{name} and of POST /v1/locks. */
export const acquireBody = Type.Object(
  {
    owner,
    ttl,
    value: Type.Optional(
      Type.String({
        description: `For others to see: who leads, where. At most ${lockValueBytesMax} bytes.`,
      }),
    ),
    encoding: valueMembers.encoding,
  },
  strict,
);

/** Body of PUT /v1/locks/{name} and of PUT /v1/locks. */
export const keepAliveBody = Type.Object({ owner, token: Type.String(), ttl }, strict);

const tags = ["locks"];
const partySchema = Type.Object({
  owner: Type.String(),
  value: Type.String(),
  encoding: Type.String(),
  ttl_ms: Type.Integer(),
  token: Type.Optional(revisionSchema),
});
const lockSchema = Type.Object({
  ...keySchema,
  holder: Type.Union([partySchema, Type.Null()]),
  waiters: Type.Array(partySchema),
});
const heldSchema = Type.Object({
  ...keySchema,
  owner: Type.String(),
  token: Type.String({ description: "Fencing token: grows with every new holder." }),
  ttl_ms: Type.Integer(),
});
const failures = { ...commonProblems, 414: problem("`key_too_long`") };

/** What the API's description says of locks. */
export function lockDocs(forms: ReturnType<typeof lockForms>) {
  const acquire: RouteDocs = {
    summary: "Acquire a lock",
    description:
      "With ?wait= in a fair queue. Asking again with the same owner keeps token and place: no Idempotency-Key is needed.",
    tags,
    query: forms.acquire,
    responses: {
      ...failures,
      200: json("It is yours.", heldSchema),
      413: problem("`value_too_large`, with `limit_bytes`."),
      423: problem("`locked`, with the `holder`, and your `position` if you queue."),
    },
  };
  const keepAlive: RouteDocs = {
    summary: "Keep a lock",
    tags,
    query: forms.keepAlive,
    responses: {
      ...failures,
      200: json("It is still yours.", heldSchema),
      412: problem("`lock_lost`: it was not kept alive in time, or released."),
    },
  };
  const release: RouteDocs = {
    summary: "Release a lock, or leave its queue",
    tags,
    query: forms.release,
    responses: {
      ...failures,
      200: json("Done.", Type.Object({ ...keySchema, released: Type.Boolean() })),
      412: problem("`lock_lost`: it is not held under this token."),
    },
  };
  const look: RouteDocs = {
    summary: "Who holds a lock, and who waits",
    tags,
    query: forms.look,
    responses: { ...failures, 200: json("The lock.", lockSchema) },
  };
  const list: RouteDocs = {
    summary: "Locks that are held, by name",
    description: "With key64: looks at that lock, as GET /v1/locks/{name} does.",
    tags,
    query: queryForm({ ...forms.list.parameters, key64: forms.look.parameters.key64 }),
    responses: {
      ...failures,
      200: json(
        "The first ones.",
        Type.Union([
          Type.Object({ locks: Type.Array(lockSchema), more: Type.Boolean() }),
          lockSchema,
        ]),
      ),
    },
  };
  return { acquire, keepAlive, release, look, list };
}

import Type from "typebox";
import { keySchema, liveRecordSchema, previousSchema, revisionSchema } from "./json-values.ts";
import type { WriteForms } from "./kv-writes.ts";
import type { getForm } from "./kv-reads.ts";
import type { scanForm } from "./scan-routes.ts";
import { queryForm } from "./query.ts";
import { commonProblems, json, problem, type RouteDocs } from "./route-kit.ts";

const conditionHeaders = {
  "If-Match": "Only if the key has this revision (ETag), or exists at all (*).",
  "If-None-Match": "Only if the key does not exist (*), or has none of these revisions.",
};
const writeHeaders = {
  ...conditionHeaders,
  "Idempotency-Key": "Makes a retry answer what the first request did, and do nothing more.",
  "Flotilla-Fence": "lock=token: refused with `lock_lost` once the lock has moved on.",
  "X-Request-Id": "Taken over into the answer and the logs.",
};
const answerHeaders = {
  ETag: "The key's revision in quotes.",
  "Flotilla-Shard": "Where the key lives.",
  "Flotilla-Served-By": "The node whose replica answered.",
  "Flotilla-Session": "Send it with ?consistency=session to read no older state, on any node.",
};

const tags = ["keys"];
const failures = {
  ...commonProblems,
  412: problem("`precondition_failed` with the current ETag, or `lock_lost`."),
  414: problem("`key_too_long`"),
};
const changed = { revision: revisionSchema, version: Type.Integer(), created: Type.Boolean() };

/** What the API's description says of the routes of one key. */
export function kvDocs(
  read: ReturnType<typeof getForm>,
  range: ReturnType<typeof scanForm>,
  forms: WriteForms,
) {
  const get = readDocs(read);
  return {
    get,
    scan: scanDocs(read, range),
    head: { ...get, summary: "Look at a key" },
    put: putDocs(forms),
    delete: deleteDocs(forms),
    post: postDocs(forms),
  };
}

function readDocs(form: ReturnType<typeof getForm>): RouteDocs {
  return {
    summary: "Read a key",
    tags,
    query: form,
    headers: {
      "If-None-Match": "Answer 304 while the key has this revision; with ?wait= a long poll.",
      "If-Match": conditionHeaders["If-Match"],
      "Flotilla-Session": "For ?consistency=session.",
    },
    responses: {
      200: {
        description: "The value, as it was stored.",
        content: { "*/*": Type.String({ format: "binary" }) },
        headers: answerHeaders,
      },
      304: { description: "Still the same.", headers: answerHeaders },
      307: { description: "With ?redirect=1: the leader's address." },
      404: problem("`not_found`"),
      ...failures,
    },
  };
}

function scanDocs(read: ReturnType<typeof getForm>, range: ReturnType<typeof scanForm>): RouteDocs {
  return {
    summary: "A page of keys in byte order, over all shards",
    description:
      "With Accept: application/x-ndjson a stream of all of them, one per line; an error in the middle is the last line. With key64: reads that key, as GET /v1/kv/{key} does.",
    tags: ["ranges"],
    query: queryForm({
      ...range.parameters,
      key64: read.parameters.key64,
      redirect: read.parameters.redirect,
      wait: read.parameters.wait,
    }),
    responses: {
      200: {
        description: "The page; `more` tells whether there is another at `next_cursor`.",
        headers: { Link: 'rel="next": the next page.' },
        content: {
          "application/json": Type.Object({
            items: Type.Array(liveRecordSchema),
            prefixes: Type.Optional(Type.Array(Type.Object(keySchema))),
            more: Type.Boolean(),
            next_cursor: Type.Optional(Type.String()),
          }),
          "application/x-ndjson": Type.String(),
        },
      },
      ...commonProblems,
    },
  };
}

function putDocs(forms: WriteForms): RouteDocs {
  return {
    summary: "Store a value",
    tags,
    query: forms.put,
    headers: writeHeaders,
    rawBody: true,
    responses: {
      200: {
        ...json("Replaced.", Type.Object({ ...changed, previous: previousSchema })),
        headers: answerHeaders,
      },
      201: json("Created.", Type.Object({ ...changed, previous: previousSchema })),
      413: problem("`value_too_large`"),
      ...failures,
    },
  };
}

function deleteDocs(forms: WriteForms): RouteDocs {
  return {
    summary: "Delete a key",
    tags,
    query: forms.delete,
    headers: writeHeaders,
    responses: {
      200: json(
        "What happened; nothing was there when `deleted` is false.",
        Type.Object({
          deleted: Type.Boolean(),
          revision: revisionSchema,
          previous: previousSchema,
        }),
      ),
      ...failures,
    },
  };
}

function postDocs(forms: WriteForms): RouteDocs {
  return {
    summary: "Increment, append, touch",
    description:
      "op=increment adds ?by= to a decimal integer; op=append adds the body to the value; op=touch sets a new ?ttl=.",
    tags,
    query: forms.increment,
    headers: writeHeaders,
    rawBody: true,
    responses: {
      200: json(
        "What the key holds now: `value` after increment, `length` after append.",
        Type.Object({
          ...changed,
          version: Type.Optional(changed.version),
          created: Type.Optional(changed.created),
          value: Type.Optional(Type.String()),
          length: Type.Optional(Type.Integer()),
          ttl_ms: Type.Optional(Type.Union([Type.Integer(), Type.Null()])),
        }),
      ),
      404: problem("`not_found`: touch of a key that is not there."),
      413: problem("`value_too_large`"),
      422: problem("`not_a_number`, `idempotency_mismatch`"),
      ...failures,
    },
  };
}

import { isUtf8 } from "node:buffer";
import Type, { type Static } from "typebox";
import { Revision } from "../../cluster/types.ts";
import type { Condition, DeleteCommand, PutCommand, TtlChange } from "../../storage/commands.ts";
import type { Config } from "../config.ts";
import { ServiceError } from "../errors.ts";
import { isRevision } from "./conditions.ts";
import { parseDuration } from "./duration.ts";
import { checkedKey, keyOfBase64 } from "./keys.ts";

const keyMembers = {
  key: Type.Optional(Type.String({ description: "The key as text." })),
  key64: Type.Optional(Type.String({ description: "Or its bytes in base64url." })),
};
const conditionMembers = {
  if_match: Type.Optional(Type.String({ description: "A revision, or * for: it exists." })),
  if_none_match: Type.Optional(Type.String({ description: "* for: it does not exist." })),
  prev: Type.Optional(Type.Boolean({ description: "Answer with what was there before." })),
};
const strict = { additionalProperties: false };

/** The members that carry a value. */
export const valueMembers = {
  value: Type.String(),
  encoding: Type.Optional(Type.Union([Type.Literal("utf8"), Type.Literal("base64")])),
};

const getSchema = Type.Object({ op: Type.Literal("get"), ...keyMembers }, strict);
const putSchema = Type.Object(
  {
    op: Type.Literal("put"),
    ...keyMembers,
    ...valueMembers,
    content_type: Type.Optional(Type.String({ maxLength: 255 })),
    ttl: Type.Optional(Type.String({ description: "A duration such as 30s, keep, or none." })),
    ...conditionMembers,
  },
  strict,
);
const deleteSchema = Type.Object(
  { op: Type.Literal("delete"), ...keyMembers, ...conditionMembers },
  strict,
);

/** One operation of a batch or transaction. */
export const operationSchema = Type.Unsafe<
  Static<typeof getSchema> | Static<typeof putSchema> | Static<typeof deleteSchema>
>({
  type: "object",
  discriminator: { propertyName: "op" },
  required: ["op"],
  oneOf: [getSchema, putSchema, deleteSchema],
});
/** The same as a type. */
export type JsonOperation = Static<typeof operationSchema>;

/** An operation as the state machine takes it. */
export type Operation =
  { readonly type: "get"; readonly key: Uint8Array } | PutCommand | DeleteCommand;

/** Reads one operation; `where` names it in error messages. */
export function operationOf(json: JsonOperation, where: string, config: Config): Operation {
  const key = jsonKeyOf(json, where, config);
  switch (json.op) {
    case "get":
      return { type: "get", key };
    case "delete":
      return {
        type: "delete",
        key,
        condition: conditionOf(json, where),
        fence: null,
        wantPrevious: json.prev ?? false,
      };
    case "put":
      return {
        type: "put",
        key,
        value: checkedValue(jsonValueOf(json, where), where, config),
        contentType: contentTypeOf(json, where),
        ttlMs: ttlOf(json.ttl, where),
        condition: conditionOf(json, where),
        fence: null,
        wantPrevious: json.prev ?? false,
      };
  }
}

/** The key of a JSON document: `key` or `key64`, not both. */
export function jsonKeyOf(
  json: { readonly key?: string; readonly key64?: string },
  where: string,
  config: Config,
): Uint8Array {
  const { key, key64 } = json;
  if ((key === undefined) === (key64 === undefined)) {
    throw new ServiceError("bad_key", `${where} must have key or key64, one of them`);
  }
  return key64 === undefined
    ? checkedKey(Buffer.from(key ?? ""), config.keyBytesMax)
    : keyOfBase64(key64, config.keyBytesMax);
}

/** The bytes of `value` in its `encoding`. */
export function jsonValueOf(
  json: { readonly value: string; readonly encoding?: "utf8" | "base64" },
  where: string,
): Buffer {
  if (json.encoding !== "base64") {
    return Buffer.from(json.value, "utf8");
  }
  const value = Buffer.from(json.value, "base64");
  if (withoutPadding(value.toString("base64")) !== withoutPadding(json.value)) {
    throw new ServiceError("bad_request", `the value of ${where} is not base64`);
  }
  return value;
}

/** A bounded count of characters: `=+$` would look through a value of nothing but padding once for each of its characters. */
function withoutPadding(base64: string): string {
  return base64.replace(/={1,2}$/, "");
}

function checkedValue(value: Buffer, where: string, config: Config): Buffer {
  if (value.length > config.valueBytesMax) {
    throw new ServiceError(
      "value_too_large",
      `the value of ${where} has ${value.length} bytes; this node accepts up to ${config.valueBytesMax}`,
      { extra: { limit_bytes: config.valueBytesMax } },
    );
  }
  return value;
}

function contentTypeOf(json: Static<typeof putSchema>, where: string): string {
  const { content_type: type, encoding } = json;
  if (type === undefined) {
    return encoding === "base64" ? "application/octet-stream" : "text/plain; charset=utf-8";
  }
  if (!isHeaderValue(type)) {
    throw new ServiceError("bad_request", `the content_type of ${where} cannot be a header`);
  }
  return type;
}

/** Whether text can be sent as a header's value: visible ASCII and spaces. */
function isHeaderValue(text: string): boolean {
  return /^[\x21-\x7e]([\x20-\x7e]*[\x21-\x7e])?$/.test(text) && isUtf8(Buffer.from(text));
}

function ttlOf(ttl: string | undefined, where: string): TtlChange {
  if (ttl === undefined || ttl === "none") {
    return null;
  }
  return ttl === "keep" ? ttl : durationOf(ttl, `the ttl of ${where}`);
}

/** Milliseconds of a duration that must be there and longer than nothing. */
export function durationOf(text: string, what: string): number {
  const ms = parseDuration(text);
  if (ms === null || ms < 1) {
    throw new ServiceError("bad_request", `${what} must be a duration such as 500ms, 30s or 5m`);
  }
  return ms;
}

function conditionOf(
  json: { readonly if_match?: string; readonly if_none_match?: string },
  where: string,
): Condition | null {
  const { if_match: match, if_none_match: noneMatch } = json;
  if (match !== undefined && noneMatch !== undefined) {
    throw new ServiceError("bad_request", `${where} has if_match and if_none_match; take one`);
  }
  if (match !== undefined) {
    return match === "*"
      ? { type: "present" }
      : { type: "revision_in", revisions: [revisionOf(match, where)] };
  }
  if (noneMatch !== undefined) {
    return noneMatch === "*"
      ? { type: "absent" }
      : { type: "revision_not_in", revisions: [revisionOf(noneMatch, where)] };
  }
  return null;
}

/** A revision in decimal. */
export function revisionOf(text: string, where: string): Revision {
  if (!isRevision(text)) {
    throw new ServiceError("bad_request", `${where} needs a revision in decimal, or *`);
  }
  return Revision(Number(text));
}

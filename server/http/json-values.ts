import { isUtf8 } from "node:buffer";
import Type from "typebox";
import type { KeyMetadata, KeyRecord, TransactionOperationResult } from "../../storage/commands.ts";
import type { LiveRecord } from "../../storage/queries.ts";

/** Bytes as JSON: as they are when they are UTF-8, else in base64. */
export function jsonValue(value: Uint8Array): { value: string; encoding: "utf8" | "base64" } {
  const buffer = asBuffer(value);
  return isUtf8(buffer)
    ? { value: buffer.toString("utf8"), encoding: "utf8" }
    : { value: buffer.toString("base64"), encoding: "base64" };
}

/** A key as JSON: `key` when it is UTF-8, else `key64` in base64url. */
export function jsonKey(key: Uint8Array): { key: string } | { key64: string } {
  const buffer = asBuffer(key);
  return isUtf8(buffer)
    ? { key: buffer.toString("utf8") }
    : { key64: buffer.toString("base64url") };
}

/** What is known of a key besides its value, as JSON. */
export function jsonMetadata(record: KeyMetadata) {
  return {
    content_type: record.contentType,
    revision: String(record.modRevision),
    create_revision: String(record.createRevision),
    version: record.version,
    ttl_ms: record.ttlMs,
  };
}

/** What a key holds, as JSON. */
export function jsonRecord(record: KeyRecord) {
  return { ...jsonValue(record.value), ...jsonMetadata(record) };
}

/** What a key holds now, with the time it has left. */
export function jsonLiveRecord(record: LiveRecord, withValue: boolean) {
  return {
    ...(withValue ? jsonValue(record.value) : {}),
    ...jsonMetadata(record),
    expires_in_ms: record.expiresInMs,
  };
}

/** What a put or delete among others did, as JSON. */
export function jsonWrite(
  result: Exclude<TransactionOperationResult, { type: "get" }>,
  wantPrevious: boolean,
): object {
  const previous = wantPrevious ? { previous: result.previous && jsonRecord(result.previous) } : {};
  return result.type === "put"
    ? { created: result.created, version: result.version, ...previous }
    : { deleted: result.deleted, ...previous };
}

function asBuffer(bytes: Uint8Array): Buffer {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

/** A revision in an answer. */
export const revisionSchema = Type.String({ pattern: "^[0-9]+$", description: "Decimal." });

const metadataSchema = {
  content_type: Type.String(),
  revision: revisionSchema,
  create_revision: revisionSchema,
  version: Type.Integer({ description: "Count of changes since the key was created." }),
  ttl_ms: Type.Union([Type.Integer(), Type.Null()]),
};
const valueSchema = {
  value: Type.String(),
  encoding: Type.Union([Type.Literal("utf8"), Type.Literal("base64")]),
};

/** The members that name a key in an answer. */
export const keySchema = {
  key: Type.Optional(Type.String({ description: "The key, when it is UTF-8." })),
  key64: Type.Optional(Type.String({ description: "Else its bytes in base64url." })),
};
/** What `jsonRecord` makes. */
export const recordSchema = Type.Object({ ...valueSchema, ...metadataSchema });
/** `previous`, which is only there when it was asked for. */
export const previousSchema = Type.Optional(Type.Union([recordSchema, Type.Null()]));
/** What `jsonLiveRecord` makes, with its key. */
export const liveRecordSchema = Type.Object({
  ...keySchema,
  value: Type.Optional(valueSchema.value),
  encoding: Type.Optional(valueSchema.encoding),
  ...metadataSchema,
  expires_in_ms: Type.Union([Type.Integer(), Type.Null()]),
});

import { Revision, type ShardId } from "../cluster/types.ts";
import { ByteReader, CodecError, encodeWith } from "../storage/wire-codec.ts";
import { decodeQuery, encodeQuery } from "../storage/query-codec.ts";
import type { Query } from "../storage/queries.ts";
import type { Consistency } from "./http/service.ts";

const code = { linearizable: 1, lease: 2, stale: 3, session: 4 } as const satisfies Record<
  Consistency["type"],
  number
>;

/** A read with its consistency, as one node asks another: consistency u8, required revision, query. */
export function encodeForwardedQuery(
  query: Query,
  consistency: Consistency,
  shard: ShardId,
): Uint8Array {
  const encoded = encodeQuery(query);
  const required = consistency.type === "session" ? (consistency.revisions.get(shard) ?? 0) : 0;
  return encodeWith((writer) => {
    writer.u8(code[consistency.type]);
    writer.varuint(required);
    writer.raw(encoded);
  }, undefined);
}

/** Throws CodecError when the bytes are not what `encodeForwardedQuery` makes. */
export function decodeForwardedQuery(
  bytes: Uint8Array,
  shard: ShardId,
): { query: Query; consistency: Consistency } {
  const reader = new ByteReader(bytes);
  const type = reader.u8();
  const revision = Revision(reader.varuint());
  const query = decodeQuery(reader.raw(reader.remaining));
  switch (type) {
    case code.linearizable:
      return { query, consistency: { type: "linearizable" } };
    case code.lease:
      return { query, consistency: { type: "lease" } };
    case code.stale:
      return { query, consistency: { type: "stale" } };
    case code.session:
      return { query, consistency: { type: "session", revisions: new Map([[shard, revision]]) } };
    default:
      throw new CodecError("malformed", `unknown consistency ${type}`);
  }
}

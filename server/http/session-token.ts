import { Revision, ShardId } from "../../cluster/types.ts";
import { ServiceError } from "../errors.ts";

/** Newest revision per shard that a client has seen. */
export type SeenRevisions = ReadonlyMap<ShardId, Revision>;

const tokenCharactersMax = 8192;

/**
 * Reads `Flotilla-Session`: `shard-revision` pairs in base 36, joined by dots. Opaque to clients: they send back what they were given.
 */
export function parseSession(token: string): SeenRevisions {
  const seen = new Map<ShardId, Revision>();
  if (
    token.length > tokenCharactersMax ||
    !/^[0-9a-z]+-[0-9a-z]+(\.[0-9a-z]+-[0-9a-z]+)*$/.test(token)
  ) {
    throw malformed();
  }
  for (const pair of token.split(".")) {
    const [shard = NaN, revision = NaN] = pair.split("-").map((digits) => parseInt(digits, 36));
    if (!Number.isSafeInteger(revision) || shard >= 2 ** 31) {
      throw malformed();
    }
    seen.set(ShardId(shard), Revision(revision));
  }
  return seen;
}

/** The token after an answer of `shard` at `revision`, added to what the client had seen before. */
export function sessionToken(
  before: string | undefined,
  shard: ShardId,
  revision: Revision,
): string {
  if (before === undefined) {
    return `${shard.toString(36)}-${revision.toString(36)}`;
  }
  const seen = new Map(parseSession(before));
  seen.set(shard, Revision(Math.max(revision, seen.get(shard) ?? 0)));
  return [...seen].map(([id, at]) => `${id.toString(36)}-${at.toString(36)}`).join(".");
}

function malformed(): ServiceError {
  return new ServiceError(
    "bad_request",
    "Flotilla-Session must be the value of that header in an earlier answer",
  );
}

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

/**
 * The token after an answer of `shard` at `revision`, added to what the client had seen before. Clients must be able to send it back in a
 * header: of more than 400 to 1,000 shards, those that were changed longest ago are forgotten.
 */
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
  const text = textOf([...seen]);
  if (text.length <= tokenCharactersMax) {
    return text;
  }
  const newestFirst = [...seen].sort(([, a], [, b]) => b - a);
  return textOf(newestFirst.slice(0, Math.floor(tokenCharactersMax / pairCharactersMax)));
}

/** A shard below 2^31, a revision below 2^53, and what is between them. */
const pairCharactersMax = 6 + 1 + 11 + 1;

function textOf(pairs: readonly (readonly [ShardId, Revision])[]): string {
  return pairs.map(([id, at]) => `${id.toString(36)}-${at.toString(36)}`).join(".");
}

function malformed(): ServiceError {
  return new ServiceError(
    "bad_request",
    "Flotilla-Session must be the value of that header in an earlier answer",
  );
}

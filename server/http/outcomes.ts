import type { ShardId } from "../../cluster/types.ts";
import type { CommandOutcome, CommandResult, LockParty } from "../../storage/commands.ts";
import { ServiceError } from "../errors.ts";
import { jsonMetadata, jsonValue } from "./json-values.ts";
import type { Served } from "./service.ts";

/** Results that are not refusals, but what was asked for. */
export type Success = Extract<
  CommandResult,
  {
    type:
      | "put"
      | "delete"
      | "update"
      | "touch"
      | "transaction"
      | "lock_held"
      | "lock_queued"
      | "lock_busy"
      | "lock_released";
  }
>;

/** The result if it is of this type. Throws what clients should see when the state machine refused the command. */
export function expectResult<Type extends Success["type"]>(
  served: Served<CommandOutcome>,
  ...types: readonly Type[]
): Extract<Success, { type: Type }> {
  const { result } = served.value;
  if (isOneOf(result, types)) {
    return result;
  }
  throw refusalOf(result, served.shard);
}

function isOneOf<Type extends Success["type"]>(
  result: CommandResult,
  types: readonly Type[],
): result is Extract<Success, { type: Type }> {
  return types.some((type) => type === result.type);
}

/** A refused command as an error. */
export function refusalOf(result: CommandResult, shard: ShardId): ServiceError {
  switch (result.type) {
    case "condition_failed":
      return new ServiceError(
        "precondition_failed",
        result.current === null
          ? "the key does not exist"
          : `the key is at revision ${result.current.modRevision}`,
        { shard, extra: { current: result.current && jsonMetadata(result.current) } },
      );
    case "not_found":
      return new ServiceError("not_found", "there is no such key", { shard });
    case "not_a_number":
      return new ServiceError("not_a_number", "the value is not a decimal integer", { shard });
    case "value_too_large":
      return new ServiceError(
        "value_too_large",
        `the value would be longer than ${result.bytesMax} bytes`,
        { shard, extra: { limit_bytes: result.bytesMax } },
      );
    case "lock_lost":
      return new ServiceError(
        "lock_lost",
        result.holder === null ? "nobody holds the lock" : "the lock has another holder or token",
        { shard, extra: { holder: result.holder && jsonParty(result.holder) } },
      );
    case "idempotency_mismatch":
      return new ServiceError(
        "idempotency_mismatch",
        "this Idempotency-Key was used with another request; take a new key",
        { shard },
      );
    case "stale_request":
      return new ServiceError(
        "outcome_unknown",
        "the answer of this request came too late to be told from an older one",
        { shard },
      );
    case "answer_not_kept":
      return new ServiceError(
        "outcome_unknown",
        "the operation was applied, but its answer was too large to be kept for a retry; read the key",
        { shard },
      );
    default:
      return new ServiceError("internal", `unexpected result ${result.type}`, { shard });
  }
}

/** A holder or waiter of a lock, as JSON. */
export function jsonParty(party: LockParty) {
  return {
    owner: party.owner,
    ...jsonValue(party.value),
    ttl_ms: party.ttlMs,
    ...(party.token > 0 ? { token: String(party.token) } : {}),
  };
}

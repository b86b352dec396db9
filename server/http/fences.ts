import type { IncomingHttpHeaders } from "node:http";
import type { Fence } from "../../storage/commands.ts";
import { ServiceError } from "../errors.ts";
import { fenceOf } from "./conditions.ts";
import type { Operation } from "./operations.ts";
import type { KeyValueService } from "./service.ts";

/** The request's fence for writes of several keys; null when it has none. A fence can only be judged where the lock lives: else `cross_shard`. */
export function fenceOn(
  service: KeyValueService,
  headers: IncomingHttpHeaders,
  keys: readonly Uint8Array[],
): Fence | null {
  const fence = fenceOf(headers);
  if (fence === null) {
    return null;
  }
  const home = service.shardOf(fence.lock);
  const shards = [...new Set([home, ...keys.map((key) => service.shardOf(key))])];
  if (shards.length > 1) {
    shards.sort((a, b) => a - b);
    throw new ServiceError(
      "cross_shard",
      `the lock of Flotilla-Fence lives on shard ${home}, but lock and keys together on the shards ${shards.join(", ")}; give all the same {tag} in their names`,
      { extra: { shards } },
    );
  }
  return fence;
}

/** The same operation, if it writes only while the fence's lock is held. Reads carry no fence. */
export function fenced<Each extends Operation>(operation: Each, fence: Fence | null): Each {
  return fence === null || operation.type === "get" ? operation : { ...operation, fence };
}

/**
 * A transaction's branch that is fenced: by its first write, because all of it is judged before any of it happens, and to judge means to read
 * the lock with all its queue. A branch that only reads would go unjudged: it gets one more operation at its end, the deletion of the key that
 * nobody can have, the empty one. That changes nothing, takes no revision, and is judged like any other write.
 */
export function fencedBranch(
  branch: readonly Operation[],
  fence: Fence | null,
): readonly Operation[] {
  if (fence === null) {
    return branch;
  }
  const first = branch.findIndex(({ type }) => type !== "get");
  return first < 0
    ? [...branch, { ...judgement, fence }]
    : branch.map((operation, at) => (at === first ? fenced(operation, fence) : operation));
}

const judgement = {
  type: "delete",
  key: new Uint8Array(0),
  condition: null,
  wantPrevious: false,
} as const;

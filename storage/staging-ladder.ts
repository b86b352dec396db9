import type { ShardId } from "../cluster/types.ts";
import type { Database } from "./database.ts";
import type { Generation } from "./keys.ts";
import { generationPrefix, prefixRange, readU32, recordKind, stagingRungKey } from "./keys.ts";

/**
 * A received snapshot is written in many batches, each of which puts its own rung and removes the one before, as turns do. The turn that
 * installs it adds a marker that names the last rung. So an installed state has exactly that rung, or some of its batches got lost.
 *
 * - `none`: the state grew here, from an empty one.
 * - `complete`: it came by snapshot, all of it.
 * - `broken`: some of it is missing.
 */
export async function readStagingLadder(
  database: Database,
  shard: ShardId,
  generation: Generation,
): Promise<"none" | "complete" | "broken"> {
  const range = prefixRange(generationPrefix(recordKind.stagingRung, shard, generation));
  const iterator = database.iterate(range);
  const [rung, marker, ...others] = await iterator.next(3).finally(() => iterator.close());
  if (rung === undefined) {
    return "none";
  }
  if (marker === undefined || others.length > 0 || marker[1].length !== 4) {
    return "broken";
  }
  const last = stagingRungKey(shard, generation, readU32(marker[1], 0));
  return Buffer.compare(rung[0], last) === 0 ? "complete" : "broken";
}

/** The record that the installing turn writes. */
export function stagingMarker(
  shard: ShardId,
  generation: Generation,
  lastRung: number,
): readonly [key: Uint8Array, value: Uint8Array] {
  const value = Buffer.allocUnsafe(4);
  value.writeUInt32BE(lastRung, 0);
  return [stagingRungKey(shard, generation, 0xffff_ffff), value];
}

import type { ShardId } from "../cluster/types.ts";
import type { Database } from "./database.ts";
import type { Generation } from "./keys.ts";
import { generationPrefix, recordKind, shardAndGenerationOf, successor } from "./keys.ts";

/** A state or a staging ladder that has at least one key on disk. */
export interface FoundGeneration {
  readonly kind: number;
  readonly shard: ShardId;
  readonly generation: Generation;
}

/** Every generation on disk, by leaping from one to the next: costs a seek each, whatever they hold. */
export async function findGenerations(database: Database): Promise<readonly FoundGeneration[]> {
  const found: FoundGeneration[] = [];
  for (const kind of [recordKind.state, recordKind.stagingRung]) {
    const lt = Uint8Array.of(kind + 1);
    for (let gte: Uint8Array = Uint8Array.of(kind); ;) {
      const iterator = database.iterate({ gte, lt }, { keysOnly: true });
      const [first] = await iterator.next(1).finally(() => iterator.close());
      if (first === undefined) {
        break;
      }
      const { shard, generation } = shardAndGenerationOf(first[0]);
      found.push({ kind, shard, generation });
      gte = successor(generationPrefix(kind, shard, generation));
    }
  }
  return found;
}

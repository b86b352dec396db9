import type { Database } from "../../storage/database.ts";
import { DatabaseLogStore } from "../../storage/log-store.ts";
import { MemoryDatabase } from "../../storage/memory-database.ts";
import { Actor } from "./actor.ts";
import type { Turn } from "./workload.ts";

/** Drops chosen writes, as damage in LevelDB's log does. Turns are counted from 0, which is recovery's own. */
export class LossyDatabase {
  readonly #isLost: (turn: number) => boolean;

  constructor(isLost: (turn: number) => boolean) {
    this.#isLost = isLost;
  }

  /** Two databases get the same writes, but one of them loses some: that one is returned. */
  async run(turns: readonly Turn[]): Promise<Database> {
    const sound = new MemoryDatabase();
    const lossy = new MemoryDatabase();
    let count = 0;
    let isStaging = false;
    const both: Database = {
      getSync: (key, snapshot) => sound.getSync(key, snapshot),
      iterate: (range, options) => sound.iterate(range, options),
      snapshot: () => sound.snapshot(),
      failure: null,
      close: async () => undefined,
      // Deletions in the background are no turns; without them more is left behind, which is harmless.
      clear: async () => undefined,
      batch: () => {
        const [kept, doubtful] = [sound.batch(), lossy.batch()];
        return {
          put: (key, value) => [kept, doubtful].forEach((each) => each.put(key, value)),
          del: (key) => [kept, doubtful].forEach((each) => each.del(key)),
          get size(): number {
            return kept.size;
          },
          write: async (sync) => {
            await kept.write(sync);
            if (isStaging || !this.#isLost(count++)) {
              await doubtful.write(sync);
            }
          },
        };
      },
    };
    const store = new DatabaseLogStore(both, null);
    await store.recover();
    const actor = new Actor(both, store, (phase) => (isStaging = phase === "staging"));
    for (const turn of turns) {
      await actor.run(turn);
    }
    return lossy;
  }
}

import type { Prng } from "../sim/prng.ts";
import type { Doors } from "../workload/door.ts";
import type { VirtualTime } from "./virtual-time.ts";

export interface FillersOptions {
  readonly time: VirtualTime;
  readonly random: Prng;
  readonly doors: Doors;
}

/** Mean pause between two writes. */
const everyMs = 10;
/** Enough for every shard to have some. */
const keys = 16;

/**
 * Writes that do not wait for each other: logs move on and are compacted also while all clients are stuck. Each writes a value that no other
 * writes.
 */
export class Fillers {
  readonly #options: FillersOptions;
  /** What was certainly not written, as it was told. */
  readonly refused: { readonly key: string; readonly value: string }[] = [];
  #count = 0;
  #isStopped = false;

  constructor(options: FillersOptions) {
    this.#options = options;
  }

  start(): void {
    const { time, random } = this.#options;
    time.after(random.next() * 2 * everyMs, () => {
      if (!this.#isStopped) {
        void this.#write();
        this.start();
      }
    });
  }

  stop(): void {
    this.#isStopped = true;
  }

  async #write(): Promise<void> {
    const { random, doors } = this.#options;
    this.#count += 1;
    const key = `filler${random.between(1, keys)}`;
    const value = `filler.${this.#count}`;
    const write = { type: "put", value, condition: null } as const;
    const ending = await doors.ask(true, (door) => door.write(key, write, null));
    if (ending.type === "failed") {
      this.refused.push({ key, value });
    }
  }
}

import type { Prng } from "../sim/prng.ts";
import type { Doors } from "../workload/door.ts";
import type { History } from "../workload/history.ts";
import type { VirtualTime } from "./virtual-time.ts";

export interface HeldReadsOptions {
  readonly keys: readonly string[];
  readonly time: VirtualTime;
  readonly random: Prng;
  readonly doors: Doors;
  readonly history: History;
}

/** Mean pause between two reads. */
const everyMs = 15;
/** A read that took longer was held up. */
const usualMs = 40;

/**
 * Reads by lease that do not wait for each other. Clients who take turns are all stuck at a paused leader before somebody else has written
 * anything; of these, some are always on their way to it. Only those that were held up are written down: the others show nothing that
 * clients do not show, and would only make histories long.
 */
export class HeldReads {
  readonly #options: HeldReadsOptions;
  #isStopped = false;

  constructor(options: HeldReadsOptions) {
    this.#options = options;
  }

  start(): void {
    const { time, random } = this.#options;
    time.after(random.next() * 2 * everyMs, () => {
      if (!this.#isStopped) {
        void this.#read();
        this.start();
      }
    });
  }

  stop(): void {
    this.#isStopped = true;
  }

  async #read(): Promise<void> {
    const { time, random, doors, history, keys } = this.#options;
    const key = random.pick(keys);
    const call = history.tick();
    const calledMs = time.now;
    const ending = await doors.ask(false, async (door) => {
      const record = await door.read(key, "lease");
      return { type: "got", record } as const;
    });
    if (ending.type === "done" && time.now - calledMs > usualMs) {
      history.ended(key, call, { type: "get" }, ending);
    }
  }
}

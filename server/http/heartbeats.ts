import { systemTimers } from "../timers.ts";

/** A stream that shows a sign of life when nothing else happens. */
export interface Beating {
  beat(): void;
}

/** One timer for all open streams; none while there are no streams. */
export class Heartbeats {
  readonly #intervalMs: number;
  readonly #streams = new Set<Beating>();
  #stop = (): void => {};

  constructor(intervalMs: number) {
    this.#intervalMs = intervalMs;
  }

  add(stream: Beating): void {
    this.#streams.add(stream);
    if (this.#streams.size === 1) {
      this.#plan();
    }
  }

  remove(stream: Beating): void {
    this.#streams.delete(stream);
    if (this.#streams.size === 0) {
      this.#stop();
    }
  }

  #plan(): void {
    const timer = systemTimers.after(this.#intervalMs, () => {
      this.#plan();
      for (const stream of this.#streams) {
        stream.beat();
      }
    });
    this.#stop = () => timer.cancel();
  }
}

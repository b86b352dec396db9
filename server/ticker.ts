/**
 * Calls back once per interval with the number of intervals that really passed by the monotonic clock: 1 as a rule, more after the process
 * was stopped or its event loop was held up.
 */
export class Ticker {
  readonly #intervalMs: number;
  readonly #clock: () => number;
  readonly #onTick: (elapsedTicks: number) => void;
  #timer: NodeJS.Timeout | null = null;
  #lastMs = 0;

  constructor(intervalMs: number, clock: () => number, onTick: (elapsedTicks: number) => void) {
    this.#intervalMs = intervalMs;
    this.#clock = clock;
    this.#onTick = onTick;
  }

  start(): void {
    if (this.#timer !== null) {
      return;
    }
    this.#lastMs = this.#clock();
    this.#timer = setInterval(() => this.#check(), this.#intervalMs);
  }

  /** Idempotent. */
  stop(): void {
    if (this.#timer !== null) {
      clearInterval(this.#timer);
      this.#timer = null;
    }
  }

  #check(): void {
    const elapsed = this.#clock() - this.#lastMs;
    // A timer may fire a little early or late: half an interval of tolerance keeps one tick per interval.
    const ticks = Math.floor(elapsed / this.#intervalMs + 0.5);
    if (ticks > 0) {
      this.#lastMs += ticks * this.#intervalMs;
      this.#onTick(ticks);
    }
  }
}

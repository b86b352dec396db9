import type { Timer, Timers } from "./timers.ts";

/** How long a tick is, and who is told of it. */
export interface TickerOptions {
  readonly intervalMs: number;
  /** Monotonic milliseconds. */
  readonly clock: () => number;
  readonly timers: Timers;
  readonly onTick: (elapsedTicks: number) => void;
}

/**
 * Calls back once per interval with the number of intervals that really passed by the monotonic clock: 1 as a rule, more after the process
 * was stopped or its event loop was held up.
 */
export class Ticker {
  readonly #options: TickerOptions;
  #timer: Timer | null = null;
  #lastMs = 0;

  constructor(options: TickerOptions) {
    this.#options = options;
  }

  start(): void {
    if (this.#timer !== null) {
      return;
    }
    this.#lastMs = this.#options.clock();
    this.#plan();
  }

  /** Idempotent. */
  stop(): void {
    this.#timer?.cancel();
    this.#timer = null;
  }

  /** Each tick is planned from when the last one was due, so that late ones do not add up. */
  #plan(): void {
    const { intervalMs, clock, timers } = this.#options;
    const delayMs = Math.max(0, this.#lastMs + intervalMs - clock());
    this.#timer = timers.after(delayMs, () => this.#check());
  }

  #check(): void {
    const { intervalMs, clock, onTick } = this.#options;
    const elapsed = clock() - this.#lastMs;
    // A timer may fire a little early or late: half an interval of tolerance keeps one tick per interval.
    const ticks = Math.floor(elapsed / intervalMs + 0.5);
    this.#lastMs += ticks * intervalMs;
    this.#plan();
    if (ticks > 0) {
      onTick(ticks);
    }
  }
}

import type { Timer, Timers } from "../../server/timers.ts";
import type { VirtualTime } from "./virtual-time.ts";

/** What a process's event loop takes in: timers are looked at first when it goes on after a pause, as libuv does. */
type Input = "timer" | "io";

export interface ProcessLoopOptions {
  readonly time: VirtualTime;
  /** How much faster than true time this process's clock runs: 1.01 is one percent. */
  readonly rate: number;
  /** What the clock showed at the start. */
  readonly startMs: number;
  /** Delay of what is to run soon. */
  readonly soonMs: () => number;
  /** An exception nobody caught: it would end the process. */
  readonly onUncaught: (error: unknown) => void;
}

/** No timer is finer than this: a shorter wait would end at the same number, and whoever waits for a moment to pass would wait for ever. */
const resolutionMs = 0.001;

/** The event loop and the clock of one simulated process: it can be stopped for a while, or for ever. */
export class ProcessLoop implements Timers {
  readonly #options: ProcessLoopOptions;
  readonly #bornMs: number;
  #isPaused = false;
  #isDead = false;
  readonly #held: Record<Input, (() => void)[]> = { timer: [], io: [] };

  constructor(options: ProcessLoopOptions) {
    this.#options = options;
    this.#bornMs = options.time.now;
  }

  get isDead(): boolean {
    return this.#isDead;
  }

  get isPaused(): boolean {
    return this.#isPaused;
  }

  readonly clock = (): number => {
    const { time, rate, startMs } = this.#options;
    return startMs + (time.now - this.#bornMs) * rate;
  };

  after(delayMs: number, run: () => void): Timer {
    const { time, rate } = this.#options;
    let isCancelled = false;
    const callOff = time.after(Math.max(delayMs, resolutionMs) / rate, () =>
      this.enter("timer", () => {
        if (!isCancelled) {
          run();
        }
      }),
    );
    return {
      cancel: () => {
        isCancelled = true;
        callOff();
      },
    };
  }

  readonly soon = (run: () => void): void => {
    const { time, soonMs } = this.#options;
    time.after(soonMs(), () => this.enter("io", run));
  };

  /** Something from outside has come to pass for this process. */
  enter(input: Input, run: () => void): void {
    if (this.#isDead) {
      return;
    }
    if (this.#isPaused) {
      this.#held[input].push(run);
      return;
    }
    try {
      run();
    } catch (error) {
      this.#options.onUncaught(error);
    }
  }

  /** Like SIGSTOP: nothing runs, everything waits. */
  pause(): void {
    this.#isPaused = true;
  }

  resume(): void {
    this.#isPaused = false;
    const { timer, io } = this.#held;
    for (const run of [...timer.splice(0), ...io.splice(0)]) {
      this.#options.time.after(0, () => this.enter("io", run));
    }
  }

  /** Nothing of this process ever runs again. */
  kill(): void {
    this.#isDead = true;
    this.#held.timer.length = 0;
    this.#held.io.length = 0;
  }
}

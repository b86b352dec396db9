/** Where "later" comes from: the event loop in a server, a seeded schedule in a simulation. */
export interface Timers {
  /** Runs `run` once, `delayMs` milliseconds from now, never within the call. */
  after(delayMs: number, run: () => void): Timer;
}

/** One planned run. */
export interface Timer {
  /** It does not run any more. Does nothing when it has run. */
  cancel(): void;
}

/** The event loop's timers. A planned run keeps the process alive: everything that plans one also ends it. */
export const systemTimers: Timers = {
  after: (delayMs, run) => {
    const timer = setTimeout(run, delayMs);
    return { cancel: () => clearTimeout(timer) };
  },
};

/** Resolves `delayMs` milliseconds from now. */
export function pause(timers: Timers, delayMs: number): Promise<void> {
  return new Promise((resolve) => timers.after(delayMs, resolve));
}

/** Runs `run` after the input that the event loop holds already. */
export function soon(run: () => void): void {
  setImmediate(run);
}

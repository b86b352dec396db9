/** Time units of one tick of a clock that runs right. */
export const tickUnits = 100;

/**
 * What happens next: a calendar of small integer times. Events of the same time run in the order in which they were scheduled, so
 * nothing depends on chance that is not the seed's.
 */
export class Schedule {
  readonly #calendar = new Map<number, (() => void)[]>();
  #now = 0;
  #ran = 0;

  /** Time units since the world began. */
  get now(): number {
    return this.#now;
  }

  /** Number of events that have run. */
  get ran(): number {
    return this.#ran;
  }

  /** Runs `event` after `delay` time units, at the earliest after all events that are already due now. */
  after(delay: number, event: () => void): void {
    const time = this.#now + Math.max(0, Math.round(delay));
    const slot = this.#calendar.get(time);
    if (slot === undefined) {
      this.#calendar.set(time, [event]);
    } else {
      slot.push(event);
    }
  }

  /** Runs everything that is due up to `time`, or until `isDone` says after an event that this is enough. */
  runUntil(time: number, isDone: () => boolean): void {
    while (this.#now <= time) {
      const slot = this.#calendar.get(this.#now);
      if (slot !== undefined) {
        for (let position = 0; position < slot.length; position++) {
          this.#ran += 1;
          slot[position]?.();
          if (isDone()) {
            this.#calendar.set(this.#now, slot.slice(position + 1));
            return;
          }
        }
        this.#calendar.delete(this.#now);
      }
      this.#now += 1;
    }
  }
}

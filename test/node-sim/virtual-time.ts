/** Lets everything that waits for a settled promise go on, until nothing moves any more. */
function settle(): Promise<void> {
  // The event loop turns to its next phase only when the queue of microtasks is empty, and nothing else can be ready: nobody here has
  // real timers, files or sockets. So this is as deterministic as a synchronous call.
  return new Promise((resolve) => setImmediate(resolve));
}

/** An event that is planned; its `run` is null when it was called off. */
interface Planned {
  readonly at: number;
  /** Breaks ties: events of the same time run in the order in which they were planned. */
  readonly order: number;
  run: (() => void) | null;
}

/** The only clock of a simulation, in milliseconds: it stands still while something happens and jumps to what happens next. */
export class VirtualTime {
  readonly #heap: Planned[] = [];
  #now = 0;
  #order = 0;
  #ran = 0;

  get now(): number {
    return this.#now;
  }

  /** Number of events that have run. */
  get ran(): number {
    return this.#ran;
  }

  /** Runs `run` in `delayMs`, never within the call; returns what calls it off. */
  after(delayMs: number, run: () => void): () => void {
    const planned: Planned = { at: this.#now + Math.max(0, delayMs), order: this.#order++, run };
    this.#push(planned);
    return () => {
      planned.run = null;
    };
  }

  /** Resolves `delayMs` later. */
  pause(delayMs: number): Promise<void> {
    return new Promise((resolve) => this.after(delayMs, resolve));
  }

  /** Lets time pass until `untilMs` or until `isOver` says so. */
  async runUntil(untilMs: number, isOver: () => boolean): Promise<void> {
    while (!isOver()) {
      const next = this.#heap[0];
      if (next === undefined || next.at > untilMs) {
        this.#now = Math.max(this.#now, untilMs);
        return;
      }
      this.#pop();
      const { run } = next;
      if (run !== null) {
        this.#now = next.at;
        this.#ran += 1;
        run();
        await settle();
      }
    }
  }

  #push(planned: Planned): void {
    const heap = this.#heap;
    let at = heap.length;
    heap.push(planned);
    while (at > 0) {
      const parent = (at - 1) >>> 1;
      const above = heap[parent];
      if (above === undefined || isBefore(above, planned)) {
        break;
      }
      heap[at] = above;
      at = parent;
    }
    heap[at] = planned;
  }

  #pop(): void {
    const heap = this.#heap;
    const last = heap.pop();
    if (last === undefined || heap.length === 0) {
      return;
    }
    let at = 0;
    for (;;) {
      const left = heap[2 * at + 1];
      const right = heap[2 * at + 2];
      const isRight = left !== undefined && right !== undefined && isBefore(right, left);
      const child = isRight ? right : left;
      if (child === undefined || isBefore(last, child)) {
        break;
      }
      heap[at] = child;
      at = 2 * at + (isRight ? 2 : 1);
    }
    heap[at] = last;
  }
}

function isBefore(a: Planned, b: Planned): boolean {
  return a.at < b.at || (a.at === b.at && a.order < b.order);
}

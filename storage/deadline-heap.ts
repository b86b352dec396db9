/** Something that is due at a time. The heap owns the two fields. */
export interface Timed {
  /** Monotonic milliseconds at which the heap shall offer it. Change only by `move`. */
  wakeMs: number;
  /** Place in the heap; -1 outside. */
  place: number;
}

/** Binary min-heap by `wakeMs`; items know their place, so that any of them can be moved or removed in logarithmic time. */
export class DeadlineHeap<T extends Timed> {
  readonly #items: T[] = [];

  get size(): number {
    return this.#items.length;
  }

  /** The earliest, or undefined. */
  get first(): T | undefined {
    return this.#items[0];
  }

  add(item: T): void {
    item.place = this.#items.length;
    this.#items.push(item);
    this.#up(item);
  }

  /** Sets another time. */
  move(item: T, wakeMs: number): void {
    item.wakeMs = wakeMs;
    this.#up(item);
    this.#down(item);
  }

  remove(item: T): void {
    const place = item.place;
    const last = this.#items.pop();
    item.place = -1;
    if (last !== undefined && last !== item) {
      this.#put(last, place);
      this.#up(last);
      this.#down(last);
    }
  }

  clear(): void {
    this.#items.length = 0;
  }

  #up(item: T): void {
    for (;;) {
      const parent = this.#items[(item.place - 1) >> 1];
      if (item.place === 0 || parent === undefined || parent.wakeMs <= item.wakeMs) {
        return;
      }
      this.#swap(parent, item);
    }
  }

  #down(item: T): void {
    for (;;) {
      const left = this.#items[item.place * 2 + 1];
      const right = this.#items[item.place * 2 + 2];
      const least =
        right !== undefined && left !== undefined && right.wakeMs < left.wakeMs ? right : left;
      if (least === undefined || least.wakeMs >= item.wakeMs) {
        return;
      }
      this.#swap(item, least);
    }
  }

  #swap(upper: T, lower: T): void {
    const place = upper.place;
    this.#put(upper, lower.place);
    this.#put(lower, place);
  }

  #put(item: T, place: number): void {
    this.#items[place] = item;
    item.place = place;
  }
}

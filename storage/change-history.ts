import type { LogIndex } from "../cluster/types.ts";
import type { ChangeEvent } from "./commands.ts";

/** The changes of one log entry, in order. */
export interface EntryChanges {
  readonly index: LogIndex;
  readonly events: readonly ChangeEvent[];
}

/** How much a shard's history may hold in memory. */
export interface ChangeHistoryLimits {
  readonly eventsMax: number;
  /** Payloads of the entries, values that are not in them, previous values. Asked for anew: shards share what the node has for all. */
  readonly bytesMax: () => number;
}

interface Kept extends EntryChanges {
  readonly bytes: number;
}

/**
 * The last changes of one shard on one replica, in memory: what a watcher that comes back is told. Positions are log indexes; the
 * history before this process, or before an installed snapshot, is gone.
 */
export class ChangeHistory {
  readonly #limits: ChangeHistoryLimits;
  /** A ring: `#first` is where the oldest lies. */
  #kept: Kept[] = [];
  #first = 0;
  #events = 0;
  #bytes = 0;
  /** Changes up to here are not known. */
  #goneIndex: LogIndex;

  /** @param index applied index at which the history begins */
  constructor(limits: ChangeHistoryLimits, index: LogIndex) {
    this.#limits = limits;
    this.#goneIndex = index;
  }

  /** Changes after this position are complete. */
  get goneIndex(): LogIndex {
    return this.#goneIndex;
  }

  get eventCount(): number {
    return this.#events;
  }

  get bytes(): number {
    return this.#bytes;
  }

  /**
   * Adds the changes of the next entry that has any. Keys and values are mostly views of the entry's payload, all of which they keep in
   * memory: so all of it counts. The newest entry is kept whatever its size: who has kept up is told of it.
   */
  add(index: LogIndex, events: readonly ChangeEvent[], payload: Uint8Array): void {
    const bytes = events.reduce((sum, event) => sum + bytesOf(event, payload), payload.length);
    this.#kept.push({ index, events, bytes });
    this.#events += events.length;
    this.#bytes += bytes;
    const bytesMax = this.#limits.bytesMax();
    const isOver = (): boolean => this.#events > this.#limits.eventsMax || this.#bytes > bytesMax;
    while (isOver() && this.#kept.length - this.#first > 1) {
      this.#dropFirst();
    }
  }

  /** The changes of all entries after `index`, in order; null when some of them are gone. */
  since(index: LogIndex): readonly EntryChanges[] | null {
    if (index < this.#goneIndex) {
      return null;
    }
    let low = this.#first;
    let high = this.#kept.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      const kept = this.#kept[middle];
      if (kept !== undefined && kept.index <= index) {
        low = middle + 1;
      } else {
        high = middle;
      }
    }
    return this.#kept.slice(low);
  }

  /** Another state has taken the place of the one whose history this is. */
  reset(index: LogIndex): void {
    this.#kept = [];
    this.#first = 0;
    this.#events = 0;
    this.#bytes = 0;
    this.#goneIndex = index;
  }

  #dropFirst(): void {
    const oldest = this.#kept[this.#first];
    if (oldest === undefined) {
      return;
    }
    // Its place is only reused later; its bytes must not wait for that.
    this.#kept[this.#first] = { index: oldest.index, events: [], bytes: 0 };
    this.#first += 1;
    this.#events -= oldest.events.length;
    this.#bytes -= oldest.bytes;
    this.#goneIndex = oldest.index;
    if (this.#first > this.#kept.length / 2) {
      this.#kept = this.#kept.slice(this.#first);
      this.#first = 0;
    }
  }
}

/** A guess at what an event costs besides its bytes. */
const eventOverhead = 200;

function bytesOf({ record, previous }: ChangeEvent, payload: Uint8Array): number {
  const isView = record?.value.buffer === payload.buffer;
  const own = isView ? 0 : (record?.value.length ?? 0);
  return eventOverhead + own + (previous?.value.length ?? 0);
}

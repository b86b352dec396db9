import type { Entry } from "../types.ts";
import { LogIndex } from "../types.ts";

/** How much applied log one replica keeps. The bytes are asked for anew: replicas share what the node has for all. */
export interface RetentionLimits {
  readonly retainedBytes: () => number;
  readonly retainedEntries: number;
}

/**
 * Decides how much applied log is kept for followers that lag a little. The log is cut in segments: when the present segment is
 * full a new one begins, and everything before the previous one may go. So between one and two segments stay.
 */
export class LogRetention {
  readonly #limits: RetentionLimits;
  #bytes = 0;
  #entries = 0;
  #segmentEnd = LogIndex(0);
  #compactable = LogIndex(0);

  constructor(limits: RetentionLimits) {
    this.#limits = limits;
  }

  /** Entries up to here may be forgotten once they are in the durable state. 0: none. */
  get compactableIndex(): LogIndex {
    return this.#compactable;
  }

  applied(entry: Entry): void {
    this.#bytes += entry.payload.length;
    this.#entries += 1;
    const isFull =
      this.#bytes >= this.#limits.retainedBytes() || this.#entries >= this.#limits.retainedEntries;
    if (isFull) {
      this.#compactable = this.#segmentEnd;
      this.#segmentEnd = entry.index;
      this.#bytes = 0;
      this.#entries = 0;
    }
  }

  /** The log begins anew after a snapshot. */
  reset(): void {
    this.#bytes = 0;
    this.#entries = 0;
    this.#segmentEnd = LogIndex(0);
    this.#compactable = LogIndex(0);
  }
}

import { assert } from "../cluster/assert.ts";

/** One request that took long, and where its time went. */
export interface SlowRequest {
  /** When it ended, ISO 8601. */
  readonly at: string;
  readonly requestId: string;
  /** Null when the request was not traced. */
  readonly traceId: string | null;
  readonly method: string;
  /** The route's template: keys do not belong into logs. */
  readonly route: string;
  readonly code: number;
  readonly durationMs: number;
  /**
   * Milliseconds by stage, as in Server-Timing: `route` (waiting for a leader), `forward` (another node's work and the way there), `raft`
   * (from proposing to applied: replication, sync and apply), `read`.
   */
  readonly stages: Readonly<Record<string, number>>;
}

/**
 * The last requests that were slow, for GET /v1/debug/slow: what an operator asks first, and has without any tracing set up. A fixed
 * number of them; a request that is fast enough costs one comparison.
 */
export class SlowRequests {
  readonly thresholdMs: number;
  readonly #capacity: number;
  readonly #kept: SlowRequest[] = [];
  #next = 0;

  constructor(thresholdMs: number, capacity: number) {
    assert(thresholdMs >= 0, "thresholdMs must not be negative");
    assert(Number.isInteger(capacity), "capacity must be an integer");
    assert(capacity >= 1, "capacity must be at least 1");
    this.thresholdMs = thresholdMs;
    this.#capacity = capacity;
  }

  /** Keeps the request if it was slow; `describe` is called only then. */
  note(durationMs: number, describe: () => Omit<SlowRequest, "durationMs">): void {
    if (durationMs < this.thresholdMs) {
      return;
    }
    this.#kept[this.#next] = { ...describe(), durationMs };
    this.#next = (this.#next + 1) % this.#capacity;
  }

  /** Newest first. */
  list(): readonly SlowRequest[] {
    const newest = this.#kept.slice(0, this.#next).toReversed();
    return [...newest, ...this.#kept.slice(this.#next).toReversed()];
  }
}

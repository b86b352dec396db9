import type { NodeId, ShardId } from "../cluster/types.ts";
import type { Timers } from "./timers.ts";

/**
 * Lets requests wait for a shard to get a leader instead of failing: each waits until the leader changes, or a short while when no
 * change is heard of.
 */
export class LeaderWatch {
  readonly #timers: Timers;
  readonly #leaders = new Map<ShardId, NodeId>();
  readonly #waiting = new Map<ShardId, Set<() => void>>();

  constructor(timers: Timers) {
    this.#timers = timers;
  }

  /** The shard's leader as far as this node knows. */
  leader(shard: ShardId): NodeId | null {
    return this.#leaders.get(shard) ?? null;
  }

  /** News from the shard's own replica, or from another node's answer. */
  set(shard: ShardId, leader: NodeId | null): void {
    if (leader === null) {
      this.#leaders.delete(shard);
    } else {
      this.#leaders.set(shard, leader);
    }
    const waiting = this.#waiting.get(shard);
    if (leader !== null && waiting !== undefined) {
      this.#waiting.delete(shard);
      for (const wake of waiting) {
        wake();
      }
    }
  }

  /** Resolves at the next news of a leader, or after `timeoutMs`. */
  changed(shard: ShardId, timeoutMs: number): Promise<void> {
    return new Promise((resolve) => {
      let waiting = this.#waiting.get(shard);
      if (waiting === undefined) {
        waiting = new Set();
        this.#waiting.set(shard, waiting);
      }
      const wake = (): void => {
        timer.cancel();
        this.#waiting.get(shard)?.delete(wake);
        resolve();
      };
      const timer = this.#timers.after(timeoutMs, wake);
      waiting.add(wake);
    });
  }

  /** Wakes everybody. */
  stop(): void {
    for (const waiting of this.#waiting.values()) {
      for (const wake of [...waiting]) {
        wake();
      }
    }
    this.#waiting.clear();
  }
}

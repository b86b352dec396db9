import type { ShardId } from "../cluster/types.ts";
import type { ChangeEvent } from "../storage/commands.ts";

/** Changes of one applied entry. */
export interface ShardChanges {
  readonly shard: ShardId;
  readonly index: number;
  readonly events: readonly ChangeEvent[];
}

export type ChangeListener = (changes: ShardChanges) => void;

/** Hands what this node's replicas apply to whoever watches here. Synchronous: a listener sees changes in the order of apply. */
export class WatchHub {
  readonly #listeners = new Set<ChangeListener>();

  get listenerCount(): number {
    return this.#listeners.size;
  }

  /** Returns the function that ends it. */
  listen(listener: ChangeListener): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  publish(changes: ShardChanges): void {
    for (const listener of this.#listeners) {
      listener(changes);
    }
  }
}

import type { ShardId } from "../cluster/types.ts";
import type { ChangeEvent } from "../storage/commands.ts";
import type { WatchFilter } from "./watch-filter.ts";

/** Changes of one applied entry. */
export interface ShardChanges {
  readonly shard: ShardId;
  readonly index: number;
  readonly events: readonly ChangeEvent[];
}

/** Who wants to know when something happens to its keys. Called while an entry is applied: must be quick and must not throw. */
export interface ChangeSink {
  /** An entry has changed a key of the sink's filter. */
  onChange(shard: ShardId, index: number, event: ChangeEvent): void;
  /** The replica went on from a snapshot: what happened after `index`, and until the snapshot, was not told. */
  onReplaced(shard: ShardId, index: number): void;
}

type SinksByText = Map<string, Set<ChangeSink>>;

/**
 * Tells whoever watches here what this node's replicas apply, in the order of apply. A change finds its sinks by its key: one look-up
 * among the exact keys, and one for each length that a watched prefix has, however many watch.
 */
export class WatchHub {
  readonly #listeners = new Set<(changes: ShardChanges) => void>();
  readonly #sinks = new Set<ChangeSink>();
  readonly #keys: SinksByText = new Map();
  /** By length, then by text. */
  readonly #prefixes = new Map<number, SinksByText>();

  get sinkCount(): number {
    return this.#sinks.size;
  }

  /** Returns the function that ends it. A sink can be added once. */
  add(filter: WatchFilter, sink: ChangeSink): () => void {
    this.#sinks.add(sink);
    const text = textOf(filter.type === "key" ? filter.key : filter.prefix);
    const byText = filter.type === "key" ? this.#keys : this.#prefixesOf(text.length);
    const sinks = byText.get(text) ?? new Set();
    byText.set(text, sinks);
    sinks.add(sink);
    return () => {
      if (!this.#sinks.delete(sink)) {
        return;
      }
      sinks.delete(sink);
      if (sinks.size > 0) {
        return;
      }
      byText.delete(text);
      if (filter.type === "prefix" && byText.size === 0) {
        this.#prefixes.delete(text.length);
      }
    };
  }

  /** Hands everything to `listener`, entry by entry. Returns the function that ends it. */
  listen(listener: (changes: ShardChanges) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  publish(changes: ShardChanges): void {
    for (const listener of this.#listeners) {
      listener(changes);
    }
    const { shard, index, events } = changes;
    if (this.#sinks.size === 0) {
      return;
    }
    for (const event of events) {
      const key = textOf(event.key);
      tell(this.#keys.get(key), shard, index, event);
      for (const [length, byText] of this.#prefixes) {
        if (length <= key.length) {
          tell(byText.get(key.slice(0, length)), shard, index, event);
        }
      }
    }
  }

  replaced(shard: ShardId, index: number): void {
    for (const sink of this.#sinks) {
      sink.onReplaced(shard, index);
    }
  }

  #prefixesOf(length: number): SinksByText {
    const known = this.#prefixes.get(length);
    if (known !== undefined) {
      return known;
    }
    const made: SinksByText = new Map();
    this.#prefixes.set(length, made);
    return made;
  }
}

function tell(
  sinks: ReadonlySet<ChangeSink> | undefined,
  shard: ShardId,
  index: number,
  event: ChangeEvent,
): void {
  if (sinks !== undefined) {
    for (const sink of sinks) {
      sink.onChange(shard, index, event);
    }
  }
}

/** One UTF-16 unit per byte. */
function textOf(bytes: Uint8Array): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString("latin1");
}

import type { ShardId } from "../../cluster/types.ts";
import { InvariantViolation } from "../../cluster/assert.ts";
import type { ScanItem } from "../../storage/queries.ts";
import type { Consistency, KeyValueService, RequestContext } from "./service.ts";

/** The range, and how it is to be read. */
export interface MergedScanOptions {
  readonly service: KeyValueService;
  readonly start: Uint8Array;
  /** Null: to the last key. */
  readonly end: Uint8Array | null;
  readonly keysOnly: boolean;
  /** How many keys the reader wants, as far as it knows. */
  readonly limit: number;
  readonly bytesMax: number;
  readonly consistency: Consistency;
  /** Asked for each time a shard is asked. */
  readonly context: () => RequestContext;
}

/** One shard's part of the range: what was read of it, and where to read on. */
interface ShardPart {
  readonly shard: ShardId;
  items: readonly ScanItem[];
  at: number;
  start: Uint8Array;
  hasMore: boolean;
}

const chunkItemsMin = 8;
const chunkBytesMin = 64 * 1024;

/**
 * Keys of a range in byte order over all shards: a merge of one scan per shard, each read in chunks as it is used up. Each chunk is as
 * consistent as asked; the whole is not a snapshot.
 */
export class MergedScan {
  readonly #options: MergedScanOptions;
  readonly #chunkItems: number;
  readonly #chunkBytes: number;
  /** Parts with something to read, the one with the smallest key first; null until all have been asked. */
  #parts: ShardPart[] | null = null;

  constructor(options: MergedScanOptions) {
    this.#options = options;
    const shards = Math.max(1, options.service.shards().length);
    this.#chunkItems = Math.min(options.limit, chunkItemsMin + Math.ceil(options.limit / shards));
    this.#chunkBytes = Math.max(chunkBytesMin, Math.ceil(options.bytesMax / shards));
  }

  /** The next key without taking it; null at the end. */
  async peek(): Promise<ScanItem | null> {
    const [first] = await this.#filled();
    return first?.items[first.at] ?? null;
  }

  /** Takes what `peek` showed. */
  async take(): Promise<void> {
    const parts = await this.#filled();
    const first = parts.shift();
    if (first !== undefined) {
      first.at += 1;
      await this.#reinsert(parts, first);
    }
  }

  /** Leaves out all keys before `key`. */
  async skipTo(key: Uint8Array): Promise<void> {
    const parts = await this.#filled();
    this.#parts = [];
    for (const part of parts) {
      while (part.at < part.items.length && isBefore(part.items[part.at], key)) {
        part.at += 1;
      }
      if (part.at >= part.items.length && Buffer.compare(part.start, key) < 0) {
        part.start = key;
      }
    }
    await Promise.all(parts.map((part) => this.#refill(part)));
    this.#parts = sorted(parts);
  }

  async #filled(): Promise<ShardPart[]> {
    if (this.#parts === null) {
      const { service, start } = this.#options;
      const parts = service
        .shards()
        .map((shard): ShardPart => ({ shard, items: [], at: 0, start, hasMore: true }));
      await Promise.all(parts.map((part) => this.#refill(part)));
      this.#parts = sorted(parts);
    }
    return this.#parts;
  }

  async #reinsert(parts: ShardPart[], part: ShardPart): Promise<void> {
    await this.#refill(part);
    const item = part.items[part.at];
    if (item === undefined) {
      return;
    }
    let low = 0;
    let high = parts.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      const other = parts[middle];
      if (isBefore(other?.items[other.at], item.key)) {
        low = middle + 1;
      } else {
        high = middle;
      }
    }
    parts.splice(low, 0, part);
  }

  /** Reads on when the part's last chunk is used up. */
  async #refill(part: ShardPart): Promise<void> {
    if (part.at < part.items.length || !part.hasMore) {
      return;
    }
    const { service, end, keysOnly, consistency, context } = this.#options;
    if (end !== null && Buffer.compare(part.start, end) >= 0) {
      part.hasMore = false;
      return;
    }
    const { value } = await service.queryShard(
      part.shard,
      {
        type: "scan",
        start: part.start,
        end,
        limit: this.#chunkItems,
        bytesMax: this.#chunkBytes,
        keysOnly,
      },
      consistency,
      context(),
    );
    if (value.type !== "scan") {
      throw new InvariantViolation(`a scan was answered with ${value.type}`);
    }
    const last = value.items.at(-1);
    part.items = value.items;
    part.at = 0;
    part.hasMore = value.more;
    part.start = last === undefined ? part.start : keyAfter(last.key);
  }
}

function sorted(parts: readonly ShardPart[]): ShardPart[] {
  return parts
    .filter((part) => part.at < part.items.length)
    .sort((a, b) => compareItems(a.items[a.at], b.items[b.at]));
}

function compareItems(a: ScanItem | undefined, b: ScanItem | undefined): number {
  return a === undefined || b === undefined ? 0 : Buffer.compare(a.key, b.key);
}

function isBefore(item: ScanItem | undefined, key: Uint8Array): boolean {
  return item !== undefined && Buffer.compare(item.key, key) < 0;
}

/** The smallest key above `key`. */
export function keyAfter(key: Uint8Array): Uint8Array {
  return Buffer.concat([key, Buffer.from([0])]);
}

/** The smallest key above all that begin with `prefix`; null when there is none. */
export function prefixEnd(prefix: Uint8Array): Uint8Array | null {
  const end = Buffer.from(prefix);
  for (let at = end.length - 1; at >= 0; at--) {
    const byte = end[at] ?? 0;
    if (byte < 0xff) {
      end[at] = byte + 1;
      return end.subarray(0, at + 1);
    }
  }
  return null;
}
